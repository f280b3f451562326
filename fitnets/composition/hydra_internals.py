"""The only module that uses private names of Hydra and OmegaConf.

`tests/composition/test_hydra_internals.py` checks that these names exist and behave as this project needs. After an
upgrade of Hydra, run that test first.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime
from hydra.plugins.config_source import ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.version import VersionBase
from omegaconf import DictConfig, flag_override

TESTED_WITH = "hydra-core==1.4.0rc3 omegaconf==2.4.1rc1"
"""the versions in constraints.txt"""

try:
    from hydra._internal.config_repository import ConfigRepository
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra._internal.core_plugins.file_config_source import FileConfigSource
except ImportError as error:
    raise ImportError(f"this version of Hydra is not supported ({error}): pip install {TESTED_WITH}") from error

__all__ = ["BasicLauncher", "BasicSweeper", "FileConfigSource"]

Arrange = Callable[[list[ConfigSource]], list[ConfigSource]]
"""Returns the sources of configuration in the order in which Hydra looks an option up."""

_initialize_sources = ConfigRepository.initialize_sources


def arrange_sources(arrange: Arrange) -> None:
    """Have Hydra use the sources that `arrange` returns. A second call replaces the first."""

    def initialize_sources(repository: ConfigRepository, config_search_path: ConfigSearchPath) -> None:
        _initialize_sources(repository, config_search_path)
        repository.sources = arrange(repository.sources)

    ConfigRepository.initialize_sources = initialize_sources  # type: ignore[assignment, method-assign]


_current_names: dict[str, str] = {}
_instantiate = Plugins._instantiate


def rename_sweepers(current: Mapping[str, str]) -> None:
    """Have Hydra run a sweeper by its current name where `hydra.sweeper._target_` has a former one.

    Registering the class under its former name fails, because Hydra compares the two names before it runs the class.
    Changing the configuration also fails, because Hydra compares it with the configuration of every job.

    current: current `_target_` by former `_target_`
    """
    _current_names.update(current)
    Plugins._instantiate = _instantiate_renamed  # type: ignore[assignment, method-assign]


def _instantiate_renamed(plugins: Plugins, config: DictConfig) -> Plugin:
    current = _current_names.get(config.get("_target_"))
    if current is not None:
        config = config.copy()
        with flag_override(config, ["readonly", "struct"], False):
            config._target_ = current
    return _instantiate(plugins, config)


def runs_jobs_in_this_process(launcher: Launcher) -> bool:
    return isinstance(launcher, BasicLauncher)


def table_of(override: Override) -> dict[Any, Any] | None:
    """The value of an override if it is a table, with its quoted texts as `QuotedString`; None for other values."""
    return override._value if isinstance(override._value, dict) else None


def text_of_table(override: Override, table: dict[Any, Any]) -> str:
    """The text of an override's value after a table replaces the value."""
    return replace(override, _value=table).get_value_element_as_str()


def outcome(done: JobReturn) -> Any:
    """Return what a job returned or raised. The public property prints an error and raises it."""
    return done._return_value


def node_of(config: Any, key: Any) -> Any:
    """The node at a key of a DictConfig or ListConfig. Interpolations stay unresolved."""
    return config._get_node(key)


def raw_value(config: Any, key: Any) -> Any:
    """The value at a key of a DictConfig or ListConfig. Interpolations stay unresolved."""
    return config._get_node(key)._value()


_GLOBALS = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
"""Hydra keeps one object of each of these classes for the whole process."""


@contextmanager
def apart_from_host() -> Iterator[None]:
    """Give the block a Hydra of its own. Afterwards the objects of a program that uses Hydra itself are in place again.

    `initialize` refuses to nest, and leaves the name of its own job in JobRuntime."""
    instances: dict[Any, Any] = Singleton._instances
    kept = {kind: instances.pop(kind) for kind in _GLOBALS if kind in instances}
    try:
        yield
    finally:
        for kind in _GLOBALS:
            instances.pop(kind, None)
        instances.update(kept)
