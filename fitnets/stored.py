"""Networks of earlier runs, as teachers: found by their folder, read without Hydra or PyTorch."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from fitnets.config import Architecture, Config, CustomNet, EarlierRuns, Ensemble, RunTeacher, Teacher
from fitnets.options import ConfigError, absolute, restore
from fitnets.places import expanded


@dataclass(frozen=True, slots=True)
class Stored:
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

    def data_digest(self) -> str:
        """Of the images that it was trained on. Raises ConfigError where its folder does not tell."""
        path = self.weights.parent / ("result.json" if self.of_run else "teacher.json")
        try:
            digest: str = json.loads(path.read_text())["hashes"]["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} does not tell which images its network was trained on ({type(error).__name__}: {error}): give "
                "another run"
            ) from error
        return digest


@cache
def find(directory: str, key: str) -> Stored:
    """What a `run/<hash>` or `teacher/<hash>` folder holds. key: of the configuration, for messages.

    Where its network is custom, its configuration names what will be imported: a folder of somebody else is a program.

    Raises ConfigError where there is no finished network."""
    folder = expanded(directory)
    for side, told in (("student", "result.json"), ("teacher", "teacher.json")):
        weights = folder / f"{side}.safetensors"
        if not (weights.is_file() and (folder / told).is_file() and (folder / "config.yaml").is_file()):
            continue
        try:
            status = json.loads((folder / told).read_text()).get("status", "finished")
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{key}={directory}: {told} cannot be read ({error}): give another run") from error
        if status != "finished":
            raise ConfigError(f"{key}={directory}: that run did not finish: give another one")
        config = absolute(read_config(folder / "config.yaml"), _started_in(folder))
        net = getattr(config, side)
        if isinstance(net, CustomNet):
            net = replace(net, weights=None)  # those that its training began with
        return Stored(net, weights, config, side == "student")
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
        config = restore(yaml.safe_load(path.read_text(encoding="utf-8")))
        if not isinstance(config, Config):
            raise TypeError("it holds no Config")
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is not a configuration that this version can read ({error})") from error
    return config


def teacher_folders(config: Path) -> list[Path] | None:
    """Of the earlier runs that a `config.yaml`, of any version, has its teacher consist of. None: it cannot be read."""
    try:
        teacher = yaml.safe_load(config.read_text(encoding="utf-8"))["teacher"]
        return [Path(folder) for folder in (teacher.get("members") or [teacher.get("path")]) if folder]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return None


def members(teacher: EarlierRuns) -> dict[str, Stored]:
    """The stored networks that a teacher is made of, by their folders."""
    match teacher:
        case RunTeacher(path=path):
            return {path: find(path, "teacher.path")}
        case Ensemble():
            return {path: find(path, "teacher.members") for path in teacher.members}


def architecture(teacher: Teacher) -> Architecture:
    """The network whose layers can be hint layers."""
    match teacher:
        case RunTeacher(path=path) | Ensemble(hint_member=path):
            return members(teacher)[path].net
        case _:
            return teacher
