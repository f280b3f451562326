"""Hydra composes the same words only once in a process: composing takes 0.2 s, and tests do it thousands of times.

The store is another one in each test. It is put into a copy of what was composed for the first store.
"""

import copy
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.utils import JobRuntime
from omegaconf import Container, DictConfig, OmegaConf, flag_override

from support.places import ROOT

_STORE = re.compile(r"store=([\w/.-]+)")


def once(real: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Return a replacement of `ConfigLoaderImpl._load_configuration_impl`, which is `real`."""
    known: dict[Any, tuple[DictConfig, str]] = {}

    @functools.wraps(real)
    def compose(self: ConfigLoaderImpl, **given: Any) -> DictConfig:
        stores = [match[1] for word in given["overrides"] if (match := _STORE.fullmatch(word))]
        if len(stores) != 1 or given["activate_config_repository"] or _may_change(self, given["overrides"]):
            return real(self, **given)
        (store,) = stores
        words = ["store=" if _STORE.fullmatch(word) else word for word in given["overrides"]]
        switches = {name: value for name, value in given.items() if name not in ("overrides", "parsed_overrides")}
        key = (*words, str(switches), JobRuntime.instance().get("name"))
        if key not in known:
            known[key] = real(self, **given), store
        composed, earlier = known[key]
        composed = copy.deepcopy(composed)
        if store != earlier:
            _replace(composed, earlier, store)
        return composed

    return compose


def _may_change(loader: ConfigLoaderImpl, words: list[str]) -> bool:
    """Return whether files in a folder of the test are among those that Hydra reads."""
    places = {source.path for source in loader.config_search_path.get_path()}
    return not places <= {"pkg://hydra.conf", str(ROOT / "conf"), "structured://"} or any(
        word.startswith("hydra.searchpath") for word in words
    )


def _replace(config: DictConfig, earlier: str, later: str) -> None:
    for parent, key, text in list(_texts(config, OmegaConf.to_container(config, resolve=False))):
        if earlier in text:
            with flag_override(parent, ["readonly", "struct"], False):
                parent[key] = text.replace(earlier, later)


def _texts(node: Any, plain: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield (container, key, text) for each text that is no interpolation."""
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
        if isinstance(value, dict | list) and isinstance(inner := node._get_node(key), Container):
            yield from _texts(inner, value)
        elif isinstance(value, str) and "${" not in value:
            yield node, key, value
