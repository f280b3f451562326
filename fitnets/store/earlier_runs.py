"""Networks of earlier runs, as teachers: found by their folder or hash, read without Hydra or PyTorch."""

import json
import re
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fitnets.config import Architecture, Config, CustomNet, EarlierRunTeacher, Ensemble, NoTeacher, RunTeacher, Teacher
from fitnets.config.options import absolute, restore
from fitnets.errors import ConfigError
from fitnets.paths import expanded
from fitnets.store import ownership
from fitnets.system import permissions


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A trained network on disk. config: of the run that trained it."""

    net: Architecture
    weights: Path
    config: Config
    of_run: bool
    """a run's student, or a teacher"""

    @property
    def was_retrained(self) -> bool:
        """Whether its final training had the validation images too."""
        schedule = self.config.schedule
        return schedule.retrain_student if self.of_run else schedule.retrain_teacher

    @property
    def record(self) -> Path:
        """The file that says what the training came to."""
        return self.weights.parent / ("result.json" if self.of_run else "teacher.json")

    def recorded(self) -> dict[str, Any]:
        """The content of that file; empty where it cannot be read."""
        try:
            content = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def data_digest(self) -> str:
        """Of the images that it was trained on. Raises ConfigError where its folder does not tell."""
        path = self.record
        try:
            digest: str = json.loads(path.read_text(encoding="utf-8"))["hashes"]["data"]
        except (*permissions.DAMAGE, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} does not tell which images its network was trained on ({type(error).__name__}: {error}): give "
                "another run"
            ) from error
        return digest


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""the one in C, where PyYAML has it: seven times as fast"""
_HASH = re.compile(r"((?:.*/)?(?:run|teacher)/)?([0-9a-fA-F]{1,16}|(?=\w*\d)\w{1,16})")
"""a hash or its first digits, mistyped ones too, alone or below a folder of runs or teachers"""
_SHORTEST = 4
_LISTED = 8


def locate(given: str, root: Path, key: str) -> str:
    """The folder of a run or a trained teacher: the given one, if it exists, else the one in the store whose hash is
    given or begins so. What can be neither is returned as it is.

    given: DIR, HASH, the first 4 or more digits of one, or either of these after `run/` or `teacher/`
    root: of the store
    key: of the configuration, for messages

    Raises ConfigError where no artifact, or more than one, has such a hash."""
    named = _HASH.fullmatch(given.rstrip("/"))
    if named is None or expanded(given).exists():
        return given
    parent, begin = named[1], named[2].lower()
    folders = [root / "run", root / "teacher"]
    if parent is not None:
        own = expanded(parent)
        folders = [own if own.is_dir() else root / own.name]
    known = sorted(path for folder in folders for path in ownership.artifacts_of(folder))
    found = [path for path in known if path.name.startswith(begin)]
    if len(found) == 1 and len(begin) >= _SHORTEST:
        return str(found[0].resolve())
    place = root if len(folders) > 1 else folders[0]
    if not found:
        raise ConfigError(
            f"{key}={given}: no such folder, and no hash in {place} begins so{_near(begin, known)}: give a folder or a "
            "hash that `fitnets runs` shows, and store=DIR for another store"
        )
    listed = ", ".join(f"{path.parent.name}/{path.name}" for path in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    if len(begin) < _SHORTEST:
        raise ConfigError(f"{key}={given}: give at least {_SHORTEST} digits of the hash: {listed}{more} in {place}")
    raise ConfigError(f"{key}={given}: several hashes begin so: {listed}{more} in {place}: give more of it")


def _near(begin: str, known: list[Path]) -> str:
    """Hashes whose beginnings are like the given one, in words."""
    likeness = {path: SequenceMatcher(None, begin, path.name[: len(begin)], autojunk=False).ratio() for path in known}
    close = sorted((path for path in known if likeness[path] >= 0.5), key=lambda path: -likeness[path])[:3]
    return f" (near it: {', '.join(f'{path.parent.name}/{path.name}' for path in close)})" if close else ""


@cache
def find_network(directory: str, key: str) -> StoredNetwork:
    """What a `run/<hash>` or `teacher/<hash>` folder holds. key: of the configuration, for messages.

    Where its network is custom, its configuration names what will be imported: a folder of somebody else is a program.

    Raises ConfigError where there is no finished network."""
    folder = expanded(directory)
    for side, told in (("student", "result.json"), ("teacher", "teacher.json")):
        weights = folder / f"{side}.safetensors"
        if not (weights.is_file() and (folder / told).is_file() and (folder / "config.yaml").is_file()):
            continue
        try:
            status = json.loads((folder / told).read_text(encoding="utf-8")).get("status", "finished")
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{key}={directory}: {told} cannot be read ({error}): give another run") from error
        if status != "finished":
            raise ConfigError(f"{key}={directory}: that run did not finish: give another one")
        config = absolute(read_config(folder / "config.yaml"), _started_in(folder))
        net = getattr(config, side)
        if isinstance(net, CustomNet):
            net = replace(net, weights=None)  # those that its training began with
        return StoredNetwork(net, weights, config, side == "student")
    raise ConfigError(
        f"{key}={directory}: no trained network there: give the run/<hash> or teacher/<hash> folder of an earlier run"
    )


def _started_in(folder: Path) -> Path:
    """The folder that the relative paths of an earlier version's run are taken from; the present one if none is
    known."""
    try:
        return Path(json.loads((folder / "environment.json").read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return Path.cwd()


def read_config(path: Path) -> Config:
    """The configuration that a run left. Raises ConfigError where it cannot be read."""
    try:
        config = restore(yaml.load(path.read_text(encoding="utf-8"), _Loader))
        if not isinstance(config, Config):
            raise TypeError("it holds no Config")
    except (*permissions.DAMAGE, yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is not a configuration that this version can read ({error})") from error
    return config


def teacher_folders(config: Path) -> list[Path] | None:
    """Of the earlier runs that a `config.yaml`, of any version, has its teacher consist of. None: it cannot be read."""
    try:
        teacher = yaml.safe_load(config.read_text(encoding="utf-8"))["teacher"]
        return [Path(folder) for folder in (teacher.get("members") or [teacher.get("path")]) if folder]
    except (*permissions.DAMAGE, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return None


def members(teacher: EarlierRunTeacher) -> dict[str, StoredNetwork]:
    """The stored networks that a teacher is made of, by their folders."""
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
