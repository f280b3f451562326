"""The only module that uses private names of Hydra and OmegaConf.

`tests/composition/test_hydra_internals.py` checks that these names exist and behave as this project needs. After an
upgrade of Hydra, run that test first.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigSource

TESTED_WITH = "hydra-core==1.4.0rc3 omegaconf==2.4.1rc1"
"""as in constraints.txt"""

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


def register_targets(sweeper: type[Any], targets: Iterable[str]) -> None:
    """Let each `_target_` stand for a sweeper."""
    Plugins.instance().class_name_to_class |= dict.fromkeys(targets, sweeper)


def table_of(override: Override) -> dict[Any, Any] | None:
    """The value of an override that is a table, with its quotes (`QuotedString`); None for other values."""
    return override._value if isinstance(override._value, dict) else None


def text_of_table(override: Override, table: dict[Any, Any]) -> str:
    """The text of another table as the value of an override."""
    return replace(override, _value=table).get_value_element_as_str()


def outcome(done: JobReturn) -> Any:
    """What a job returned or raised. The public property raises an error, after printing it."""
    return done._return_value


def node_of(config: Any, key: Any) -> Any:
    """The node at a key of a DictConfig or ListConfig. Interpolations stay unresolved."""
    return config._get_node(key)


def raw_value(config: Any, key: Any) -> Any:
    """The value at a key of a DictConfig or ListConfig. Interpolations stay unresolved."""
    return config._get_node(key)._value()
