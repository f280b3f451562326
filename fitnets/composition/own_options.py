"""YAML files of the user, in the folders of `--config-dir` and `hydra.searchpath`.

Hydra looks an option up in the shipped folder first, and reads YAML's `0.10` as a number. After `install` a user's file
replaces a shipped one of the same name, its text keys keep their text (see `overrides`), and its keys may have names of
earlier versions (see `fitnets.config.former_keys`).
"""

from pathlib import Path
from typing import Any

import yaml
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, ListConfig, OmegaConf

from fitnets.composition import hydra_internals, overrides, text_keys
from fitnets.composition.hydra_internals import FileConfigSource, node_of, raw_value
from fitnets.config import former_keys
from fitnets.errors import ConfigError

_PRIMARY = "config"
_NULL = "tag:yaml.org,2002:null"


def install() -> None:
    """Have Hydra prefer the user's files. Calling it again changes nothing."""
    hydra_internals.arrange_sources(_arranged)


def _arranged(sources: list[ConfigSource]) -> list[ConfigSource]:
    """Hydra's own options first, then the user's, then the shipped ones in their order."""
    sources = [_UserFiles(source) if _is_user_folder(source) else source for source in sources]
    return sorted(sources, key=lambda source: 0 if source.provider == "hydra" else 1 if _is_users(source) else 2)


def _is_users(source: ConfigSource) -> bool:
    return source.provider == "command-line" or source.provider.startswith("hydra.searchpath")


def _is_user_folder(source: ConfigSource) -> bool:
    return _is_users(source) and type(source) is FileConfigSource


class _UserFiles(FileConfigSource):
    """A folder of the user's options."""

    def __init__(self, source: ConfigSource):
        super().__init__(source.provider, source.path)

    def is_group(self, config_path: str) -> bool:
        """A folder with the name of a plain key, such as `store` or `test`, makes no group of that key."""
        return super().is_group(config_path) and not text_keys.is_value(config_path)

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        node = _read(path)
        _check_defaults(path, config_path, node)
        result = super().load_config(config_path)
        if node is not None:
            package = _package(config_path, result)
            _keep_text(node, result.config, package, path)
            _use_current_keys(result, package, path)
        return result


def _read(path: Path) -> yaml.MappingNode | None:
    """The YAML tree of a file, with its text as written; None for an empty file. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as file:
            node = yaml.compose(file, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: an option is a table of keys and values, `key: value` in each line")
    return node


def _package(config_path: str, result: ConfigResult) -> str:
    """The dotted key below which the keys of a file belong."""
    group = config_path.rpartition("/")[0].replace("/", ".")
    package = result.header.get("package")
    if package is None:
        return group
    return package.replace("_global_", "").replace("_group_", group).strip(".")


def _check_defaults(path: Path, config_path: str, node: yaml.MappingNode | None) -> None:
    """Raise ConfigError if a file replaces the shipped file that it builds on."""
    names = _defaults(node)
    name = config_path.rpartition("/")[2].removesuffix(".yaml")
    if name in names:
        raise ConfigError(
            f"{path} has {name} in its defaults, and that is the file itself: give it another name to change the "
            f"shipped {config_path}"
        )
    if config_path == _PRIMARY and not any("fitnets/Config" in entry for entry in names):
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


# --- text and former names ---


def _keep_text(node: yaml.Node, config: Any, key: str, path: Path) -> None:
    """Give every text key of a loaded file the text that the file has. key: dotted key of the node."""
    if isinstance(node, yaml.MappingNode) and isinstance(config, DictConfig):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in config:
                _keep_entry(value, config, name.value, f"{key}.{name.value}" if key else name.value, path)
    elif isinstance(node, yaml.SequenceNode) and isinstance(config, ListConfig):
        for index, value in enumerate(node.value):
            _keep_entry(value, config, index, f"{key}.{index}", path)


def _keep_entry(node: yaml.Node, config: Any, name: Any, key: str, path: Path) -> None:
    if not isinstance(node, yaml.ScalarNode):
        _keep_text(node, node_of(config, name), key, path)
        return
    if key.startswith(f"{text_keys.PARAMS}."):
        param = key.removeprefix(f"{text_keys.PARAMS}.")
        value = "null" if node.tag == _NULL else node.value
        config[name] = overrides.as_typed(f"{param}={value}").partition("=")[2]
        return
    text = text_keys.text_of(key)
    if text is None or text.is_group or text.is_list or node.tag == _NULL:
        return
    if text.is_path:
        overrides.check_path(f"{path}: {key}", node.value, text)
    kept = overrides.at_home(node.value) if text.is_path else node.value
    if kept != raw_value(config, name):
        config[name] = kept


def _use_current_keys(result: ConfigResult, package: str, path: Path) -> None:
    """Replace former names of keys and values in a file by their present names."""
    raw: Any = OmegaConf.to_container(result.config, resolve=False)
    current = former_keys.current_tree(raw, package, f"{path}: ")
    if current != raw:
        result.config = OmegaConf.create(current)
