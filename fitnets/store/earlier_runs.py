"""Finds trained networks of earlier runs by folder or hash, and reads them without Hydra or PyTorch."""

import re
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fitnets.config import Architecture, Config, CustomNet, EarlierRunTeacher, Ensemble, NoTeacher, RunTeacher, Teacher
from fitnets.config.options import absolute, restore
from fitnets.errors import ConfigError, DamagedError
from fitnets.paths import expanded
from fitnets.store import files, layout, ownership
from fitnets.store.layout import StoreLayout
from fitnets.system import permissions


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A trained network on disk.

    net: its architecture
    weights: its weights file
    config: configuration of the run that trained it
    of_run: True for the student of a run, False for a teacher
    """

    net: Architecture
    weights: Path
    config: Config
    is_student: bool

    @property
    def was_retrained(self) -> bool:
        """Return whether the network's final training used the validation images too."""
        schedule = self.config.schedule
        return schedule.retrain_student if self.is_student else schedule.retrain_teacher

    @property
    def record(self) -> Path:
        """The JSON file with the results of the network's training."""
        return self.weights.parent / (layout.RESULT if self.is_student else layout.TEACHER_RECORD)

    def read_record(self) -> dict[str, Any]:
        """Read the results of the network's training; empty if they cannot be read."""
        try:
            return files.read_json(self.record)
        except (OSError, DamagedError):
            return {}

    def data_digest(self) -> str:
        """Digest of the images that the network was trained on. Raises ConfigError if its record lacks the digest."""
        try:
            digest: str = files.read_json(self.record)["hashes"]["data"]
        except (DamagedError, KeyError, TypeError) as error:
            reason = error.__cause__ or f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"{self.record} does not say which images its network was trained on ({reason}): give another run"
            ) from error
        return digest


_HASH = re.compile(r"((?:.*/)?(?:run|teacher)/)?([0-9a-fA-F]{1,16}|(?=\w*\d)\w{1,16})")
"""A hash or its first digits, alone or after a folder of runs or teachers. It also matches words with a digit, so that
a mistyped hash is reported as an unknown hash."""
_SHORTEST = 4
"""fewest digits of a hash that are accepted"""
_LISTED = 8
"""most hashes that a message lists"""


def locate(name: str, root: Path, key: str) -> str:
    """Find the folder of a run or a trained teacher by its path or its hash.

    Returns `name` unchanged if it is an existing path, or cannot be a hash.

    name: DIR, HASH, the first 4 or more digits of a hash, or one of these after `run/` or `teacher/`
    root: folder of the store
    key: configuration key, for messages

    Raises ConfigError if no artifact, or more than one, has such a hash."""
    match = _HASH.fullmatch(name.rstrip("/"))
    if match is None or expanded(name).exists():
        return name
    parent, digits = match[1], match[2].lower()
    folders = [StoreLayout(root).folder("run"), StoreLayout(root).folder("teacher")]
    if parent is not None:
        folder = expanded(parent)
        folders = [folder if folder.is_dir() else root / folder.name]
    artifacts = sorted(path for folder in folders for path in ownership.artifacts_of(folder))
    matching = [path for path in artifacts if path.name.startswith(digits)]
    if len(matching) == 1 and len(digits) >= _SHORTEST:
        return str(matching[0].resolve())
    place = root if len(folders) > 1 else folders[0]
    if not matching:
        raise ConfigError(
            f"{key}={name}: no such folder, and no hash in {place} begins with it{_near(digits, artifacts)}: give a "
            "folder or a hash that `fitnets runs` shows, and store=DIR for another store"
        )
    listed = ", ".join(_short_path(path) for path in matching[:_LISTED])
    more = f" and {len(matching) - _LISTED} more" if len(matching) > _LISTED else ""
    if len(digits) < _SHORTEST:
        raise ConfigError(f"{key}={name}: give at least {_SHORTEST} digits of the hash: {listed}{more} in {place}")
    raise ConfigError(f"{key}={name}: several hashes begin with it: {listed}{more} in {place}: give more digits")


def _short_path(artifact: Path) -> str:
    """`run/HASH` or `teacher/HASH`."""
    return f"{artifact.parent.name}/{artifact.name}"


def _near(digits: str, artifacts: list[Path]) -> str:
    """A remark for the message: up to three hashes whose first digits are similar."""
    similarity = {
        path: SequenceMatcher(None, digits, path.name[: len(digits)], autojunk=False).ratio() for path in artifacts
    }
    close = sorted((path for path in artifacts if similarity[path] >= 0.5), key=lambda path: -similarity[path])[:3]
    return f" (near it: {', '.join(map(_short_path, close))})" if close else ""


@cache
def find_network(directory: str, key: str) -> StoredNetwork:
    """The trained network in a `run/<hash>` or `teacher/<hash>` folder.

    If the network is custom, its configuration names code to import: using somebody else's folder executes that code.

    key: configuration key, for messages

    Raises ConfigError if there is no finished network."""
    folder = expanded(directory)
    for side, record in (("student", layout.RESULT), ("teacher", layout.TEACHER_RECORD)):
        weights = folder / layout.weights_file(side)
        if not (weights.is_file() and (folder / record).is_file() and (folder / layout.CONFIG).is_file()):
            continue
        try:
            status = files.read_json(folder / record).get("status", "finished")
        except DamagedError as error:
            reason = error.__cause__ or error
            raise ConfigError(f"{key}={directory}: {record} cannot be read ({reason}): give another run") from error
        if status != "finished":
            raise ConfigError(f"{key}={directory}: this run did not finish: give a finished one")
        config = absolute(read_config(folder / layout.CONFIG), _started_in(folder))
        net = getattr(config, side)
        if isinstance(net, CustomNet):
            net = replace(net, weights=None)  # its option names the initial weights
        return StoredNetwork(net, weights, config, side == "student")
    raise ConfigError(
        f"{key}={directory}: no trained network there: give the run/<hash> or teacher/<hash> folder of an earlier run"
    )


def _started_in(folder: Path) -> Path:
    """The folder in which a run was started, to resolve relative paths in configurations of earlier versions. The
    current folder if `environment.json` has no record of it."""
    try:
        return Path(files.read_json(folder / layout.ENVIRONMENT)["folder"])
    except (OSError, DamagedError, KeyError, TypeError):
        return Path.cwd()


def read_config(path: Path) -> Config:
    """Read a run's `config.yaml`. Raises ConfigError if it holds no configuration of this version."""
    try:
        config = restore(yaml.load(path.read_text(encoding="utf-8"), files.YAML_LOADER))
        if not isinstance(config, Config):
            raise TypeError("it holds no Config")
    except (*permissions.DAMAGE, yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is not a configuration that this version can read ({error})") from error
    return config


def teacher_folders(config: Path) -> list[Path] | None:
    """Folders of the earlier runs that the teacher in a `config.yaml` is made of, whatever version wrote it. None if
    the file cannot be read."""
    try:
        teacher = yaml.load(config.read_text(encoding="utf-8"), files.YAML_LOADER)["teacher"]
        return [Path(folder) for folder in (teacher.get("members") or [teacher.get("path")]) if folder]
    except (*permissions.DAMAGE, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return None


def members(teacher: EarlierRunTeacher) -> dict[str, StoredNetwork]:
    """The stored networks that a teacher is made of, by folder."""
    match teacher:
        case RunTeacher(path=path):
            return {path: find_network(path, "teacher.path")}
        case Ensemble():
            return {path: find_network(path, "teacher.members") for path in teacher.members}


def architecture(teacher: Teacher) -> Architecture | None:
    """The network whose layers can be hint layers; None for teacher=none."""
    match teacher:
        case RunTeacher(path=path) | Ensemble(hint_member=path):
            return members(teacher)[path].net
        case NoTeacher():
            return None
        case _:
            return teacher
