"""Options of the user's own: YAML files in the folders of `--config-dir` and `hydra.searchpath`.

Hydra looks an option up in the shipped folder first, and reads YAML's `0.10` as a number. Once `install` was called, a
user's file takes the place of a shipped one of the same name, and its text keys keep the text (`overrides`).
"""

from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, ListConfig, OmegaConf

from fitnets.composition import overrides
from fitnets.config import former_keys
from fitnets.errors import ConfigError

_PRIMARY = "config"
_NULL = "tag:yaml.org,2002:null"
_hydras = ConfigRepository.initialize_sources


def install() -> None:
    """Have Hydra prefer the user's files. Calling it again changes nothing."""
    ConfigRepository.initialize_sources = _initialize_sources  # type: ignore[assignment, method-assign]


def _initialize_sources(repository: ConfigRepository, config_search_path: ConfigSearchPath) -> None:
    _hydras(repository, config_search_path)
    sources = [_OwnFiles(source) if _is_own_folder(source) else source for source in repository.sources]
    repository.sources = sorted(sources, key=_rank)


def _is_own(source: ConfigSource) -> bool:
    return source.provider == "command-line" or source.provider.startswith("hydra.searchpath")


def _is_own_folder(source: ConfigSource) -> bool:
    return _is_own(source) and type(source) is FileConfigSource


def _rank(source: ConfigSource) -> int:
    """Hydra's own options, the user's, then the shipped ones in their order."""
    return 0 if source.provider == "hydra" else 1 if _is_own(source) else 2


class _OwnFiles(FileConfigSource):
    """A folder of the user's options."""

    def __init__(self, source: ConfigSource):
        super().__init__(source.provider, source.path)

    def is_group(self, config_path: str) -> bool:
        """A folder that is called `store` or `test` makes no group of that key."""
        return super().is_group(config_path) and not overrides.is_value(config_path)

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        try:
            with path.open(encoding="utf-8") as file:
                node = yaml.compose(file, Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        if node is not None and not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: an option is a table of keys and values, `key: value` in each line")
        _check_defaults(path, config_path, node)
        result = super().load_config(config_path)
        if node is not None:
            package = _package(config_path, result)
            _keep_text(node, result.config, package, path)
            _use_current_keys(result, package, path)
        return result


def _use_current_keys(result: ConfigResult, package: str, path: Path) -> None:
    """Replace former names of keys in a file by their present names."""
    raw: Any = OmegaConf.to_container(result.config, resolve=False)
    current = former_keys.current_tree(raw, package, f"{path}: ")
    if current != raw:
        result.config = OmegaConf.create(current)


def _package(config_path: str, result: ConfigResult) -> str:
    """The dotted key below which the file's keys are."""
    group = config_path.rpartition("/")[0].replace("/", ".")
    package = result.header.get("package")
    if package is None:
        return group
    return package.replace("_global_", "").replace("_group_", group).strip(".")


def _check_defaults(path: Path, config_path: str, node: yaml.MappingNode | None) -> None:
    """Raises ConfigError where a file would replace what it is made from."""
    named = _defaults(node)
    name = config_path.rpartition("/")[2].removesuffix(".yaml")
    if name in named:
        raise ConfigError(
            f"{path} has {name} in its defaults, and that is the file itself: give it another name to change the "
            f"shipped {config_path}"
        )
    if config_path == _PRIMARY and not any("fitnets/Config" in entry for entry in named):
        raise ConfigError(
            f"{path}: the name is taken by the shipped config.yaml, which it would replace: call it mine.yaml, let it "
            "begin with `defaults: [config, _self_]`, and give --config-name mine"
        )


def _defaults(node: yaml.MappingNode | None) -> list[str]:
    """Entries of a defaults list that name a file of the same folder, or an absolute one."""
    for key, value in node.value if node is not None else []:
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
            return [str(entry.value).partition("@")[0] for entry in value.value if isinstance(entry, yaml.ScalarNode)]
    return []


def _keep_text(node: yaml.Node, config: Any, key: str, path: Path) -> None:
    """Put the text as it is in the file at every text key of what was loaded. key: of the node."""
    if isinstance(node, yaml.MappingNode) and isinstance(config, DictConfig):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode):
                _keep_entry(value, config, name.value, f"{key}.{name.value}" if key else name.value, path)
    elif isinstance(node, yaml.SequenceNode) and isinstance(config, ListConfig):
        for index, value in enumerate(node.value):
            _keep_entry(value, config, index, f"{key}.{index}", path)


def _keep_entry(node: yaml.Node, config: Any, name: Any, key: str, path: Path) -> None:
    if not isinstance(node, yaml.ScalarNode):
        if name in config if isinstance(config, DictConfig) else True:
            _keep_text(node, config._get_node(name), key, path)
        return
    if isinstance(config, DictConfig) and name not in config:
        return
    if key.startswith(f"{overrides.PARAMS}."):
        param = key.removeprefix(f"{overrides.PARAMS}.")
        value = "null" if node.tag == _NULL else node.value
        config[name] = overrides.as_typed(f"{param}={value}").partition("=")[2]
        return
    text = overrides.text_of(key)
    if text is None or text.is_group or text.is_list or node.tag == _NULL:
        return
    if text.is_path:
        overrides.check_path(f"{path}: {key}", node.value, text)
    kept = overrides.at_home(node.value) if text.is_path else node.value
    if kept != config._get_node(name)._value():
        config[name] = kept
