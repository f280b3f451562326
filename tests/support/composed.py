"""Hydra composes the same options only once in a process: it takes 0.15 s, and tests do it thousands of times.

Hydra composes in three steps: it lists the files that the chosen options need, merges them, and sets the values of the
command line. The results of the first two steps are remembered; the third is Hydra's own each time.
"""

import copy
import functools
from dataclasses import replace
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from support.places import ROOT

_SHIPPED = {"hydra.conf", "", str(ROOT / "conf")}


def remember(patch: pytest.MonkeyPatch) -> None:
    """Have Hydra remember lists of files and what they were merged to, unless files of a test may be among them."""
    real_list = config_loader_impl.create_defaults_list
    real_merge = ConfigLoaderImpl._compose_config_from_defaults_list
    lists: dict[Any, DefaultsList] = {}
    merged: dict[Any, DictConfig] = {}

    def list_files(
        repo: IConfigRepository, config_name: str | None, overrides_list: list[Override], **switches: bool
    ) -> DefaultsList:
        if not _is_shipped(repo):
            return real_list(repo, config_name, overrides_list, **switches)
        values = Overrides(repo, overrides_list).config_overrides
        choices = [override for override in overrides_list if all(override is not value for value in values)]
        key = (config_name, *(choice.input_line for choice in choices), *switches.items())
        if key not in lists:
            lists[key] = real_list(repo, config_name, choices, **switches)
        return replace(lists[key], config_overrides=values)

    @functools.wraps(real_merge)
    def merge(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        if not _is_shipped(repo):
            return real_merge(self, defaults, repo)
        key = str([vars(default) for default in defaults])
        if key not in merged:
            merged[key] = real_merge(self, defaults, repo)
        return copy.deepcopy(merged[key])

    patch.setattr(config_loader_impl, "create_defaults_list", list_files)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge)


def _is_shipped(repo: IConfigRepository) -> bool:
    return {source.path for source in repo.get_sources()} <= _SHIPPED
