"""What a store holds: its runs and their status, and what none of them needs. Read without PyTorch and Hydra."""

import json
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from fitnets.config import Config, short_names
from fitnets.config.options import plain
from fitnets.errors import ConfigError
from fitnets.store import earlier_runs, locks, ownership
from fitnets.system import permissions


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run directory. A value that the run does not have is None.

    status: finished, running, killed or stopped (the same command goes on), failed, diverged, pruned, damaged, or
        unreadable where this user lacks a permission
    started: date and time, ISO 8601
    seconds: that the run took
    dataset, teacher, student: the names of the options
    data, teacher_name, student_name: short names that tell alike options apart, see `naming`
    valid_accuracy, test_accuracy: of the student, fractions
    error: what ended it
    """

    directory: str
    status: str
    started: str
    seconds: float | None
    dataset: str | None
    dataset_path: str | None
    data: str | None
    method: str | None
    schedule: str | None
    teacher: str | None
    teacher_name: str | None
    student: str | None
    student_name: str | None
    seed: int | None
    valid_accuracy: float | None
    test_accuracy: float | None
    error: str | None


UNREADABLE = "unreadable"


def check_store(root: Path) -> None:
    """Raises ConfigError if there is no store."""
    if not root.is_dir() or not ownership.is_store(root):
        raise ConfigError(f"{root}: no store: give the folder that runs were given as store= (by default outputs)")


def runs(root: Path) -> list[StoredRun]:
    """The runs of a store, the oldest first."""
    directories = list(ownership.artifacts_of(root / "run"))
    configs = [_config(directory) for directory in directories]
    names = zip(
        short_names.datasets([(None, None) if config is None else _place(config) for config in configs]),
        short_names.networks([None if config is None else plain(config.teacher) for config in configs]),
        short_names.networks([None if config is None else plain(config.student) for config in configs]),
        strict=True,
    )
    found = map(_run, directories, configs, names)
    return sorted(found, key=lambda run: datetime.fromisoformat(run.started))


def _run(directory: Path, config: Config | None, names: tuple[str | None, str | None, str | None]) -> StoredRun:
    """A run, also one that this user may not read. names: of data set, teacher and student."""
    try:
        return _readable(directory, config, names)
    except PermissionError as error:
        unknown = [
            field.name for field in fields(StoredRun) if field.name not in ("directory", "status", "started", "error")
        ]
        return StoredRun(
            directory=str(directory),
            status=UNREADABLE,
            started=_modified(directory),
            error=permissions.explained(error),
            **dict.fromkeys(unknown),
        )


def _readable(directory: Path, config: Config | None, names: tuple[str | None, str | None, str | None]) -> StoredRun:
    """Raises PermissionError."""
    result = _read(directory / "result.json")
    student, timing = result.get("student", {}), result.get("timing", {})
    dataset, path = (None, None) if config is None else _place(config)
    return StoredRun(
        directory=str(directory),
        status=_status(directory, result.get("status")),
        started=_started(directory),
        seconds=timing.get("run_seconds"),
        dataset=dataset,
        dataset_path=path,
        method=None if config is None else config.method.name,
        schedule=None if config is None else config.schedule.name,
        teacher=None if config is None else config.teacher.name,
        student=None if config is None else config.student.name,
        seed=None if config is None else config.seed,
        valid_accuracy=student.get("valid_accuracy"),
        test_accuracy=student.get("test_accuracy"),
        error=result.get("error"),
        **dict(zip(("data", "teacher_name", "student_name"), names, strict=True)),
    )


def _place(config: Config) -> tuple[str, str | None]:
    """The option of the data set, and the path of its files where it has one."""
    path = getattr(config.dataset, "path", None)
    return config.dataset.name, None if path is None else str(path)


def _started(directory: Path) -> str:
    """When the run began. Of a run that an earlier version made, the time of its configuration file."""
    told = _read(directory / "environment.json").get("started_at")
    with suppress(ValueError):
        return datetime.fromisoformat(str(told)).astimezone().isoformat(timespec="seconds")
    path = directory / "config.yaml"
    return _modified(path if path.exists() else directory)


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="seconds")


def _status_of(directory: Path) -> str:
    try:
        return _status(directory, _read(directory / "result.json").get("status"))
    except PermissionError:
        return UNREADABLE


def _status(directory: Path, told: str | None) -> str:
    """A run that was killed could not say so: it is told as running, and nobody makes it."""
    if told == "running" and not locks.is_locked(directory):
        return "killed"
    return told or "damaged"


def _read(path: Path) -> dict[str, Any]:
    """Nothing where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except permissions.DAMAGE:
        return {}
    return content if isinstance(content, dict) else {}


def _config(directory: Path) -> Config | None:
    """None where it cannot be read."""
    try:
        return earlier_runs.read_config(directory / "config.yaml")
    except (ConfigError, PermissionError):
        return None


# --- what nothing needs ---


@dataclass(frozen=True, slots=True)
class Removable:
    """An artifact that can go (whole), or what dead processes left beside it. reason: why nothing needs it."""

    artifact: Path
    whole: bool
    reason: str

    @property
    def kept_because(self) -> str | None:
        """Why it has to stay although no run needs it: it holds what is not ours. None: it can go."""
        if self.whole and (why := ownership.stranger(self.artifact, self.kind)):
            return why
        for path in _left_over(self.artifact):
            if not ownership.is_left_over(path, self.kind):
                return f"{path.name} beside it holds what is not ours"
        return None

    @property
    def kind(self) -> str:
        """`run`, `teacher` and the like; an export is part of its run."""
        folder = self.artifact.parent.name
        return folder if folder in ownership.KINDS else "run"

    @property
    def size(self) -> int:
        """In bytes."""
        paths = [*_left_over(self.artifact), *([self.artifact] if self.whole else [])]
        files = [file for path in paths for file in (path, *path.rglob("*"))]
        return sum(file.lstat().st_size for file in files if file.is_file())

    def remove(self) -> bool:
        """False where a process makes it now: then it stays."""
        return locks.discard(self.artifact, left_over_alone=not self.whole)


def unneeded(root: Path, *, unfinished: bool = False, data: bool = False) -> list[Removable]:
    """What no run of the store needs: teachers and first stages that none of them is made of, and what dead processes
    left. Raises ConfigError where a run does not say what it needs, PermissionError where it cannot be read.

    unfinished: also runs that did not finish, and what they alone need; data: also decoded images and teachers'
    answers, which are made again when needed. What a living process makes is left alone."""
    directories = [*ownership.artifacts_of(root / "run"), *_earlier(root / "run")]
    staying = ("finished", "running", UNREADABLE)
    leaving = [path for path in directories if unfinished and _status_of(path) not in staying]
    needed = _needed([path for path in directories if path not in leaving])
    found = [Removable(path, True, "it did not finish") for path in leaving]
    for kind in ("hint", "teacher"):
        reason = "no run of this store needs it"
        artifacts_of_kind = ownership.artifacts_of(root / kind)
        found += [Removable(path, True, reason) for path in artifacts_of_kind if _key(path) not in needed]
    tables = {
        path: f"teacher/{_read(path / 'meta.json').get('teacher')}" for path in ownership.artifacts_of(root / "cache")
    }
    found += [Removable(path, True, "no run needs its teacher") for path in tables if tables[path] not in needed]
    if data:
        decoded = ownership.artifacts_of(root / "data")
        found += [Removable(path, True, "it is decoded again when needed") for path in decoded]
        known = [removable.artifact for removable in found]
        found += [Removable(path, True, "it is computed again when needed") for path in tables if path not in known]
    whole = [removable.artifact for removable in found]
    folders = [*(root / kind for kind in ownership.KINDS), *ownership.artifacts_of(root / "run")]
    for folder in folders:
        beside = sorted({artifact for artifact, _ in ownership.beside(folder)})
        found += [
            Removable(path, False, "a process that died left files beside it")
            for path in beside
            if path not in whole and path.parent not in whole and not (_key(path) in needed and not _is_made(path))
        ]
    return [removable for removable in found if not locks.is_locked(removable.artifact)]


def _earlier(folder: Path) -> list[Path]:
    """Finished runs that were put aside by processes that died."""
    return [path for _, path in ownership.beside(folder, ("earlier",))]


def _key(artifact: Path) -> str:
    """`run/<hash>`: the same from wherever it is looked at."""
    return f"{artifact.parent.name}/{artifact.name}"


def _needed(runs: list[Path]) -> set[str]:
    """The artifacts that these runs are made of, or that their configurations name."""
    needed = set()
    for path in runs:
        hashes, folders = _read(path / "result.json").get("hashes"), earlier_runs.teacher_folders(path / "config.yaml")
        if hashes is None or folders is None:
            raise ConfigError(
                f"{path} does not say which artifacts it needs: its result.json or config.yaml is damaged"
            )
        needed |= {f"{kind}/{hashes[kind]}" for kind in ("run", "hint", "teacher")} | {_key(path)}
        needed |= {_key(folder) for folder in folders}
    return needed


def _left_over(artifact: Path) -> list[Path]:
    """Half-made folders and checkpoints beside an artifact."""
    return [path for of, path in ownership.beside(artifact.parent) if of == artifact]


def _is_made(artifact: Path) -> bool:
    if artifact.parent.name != "run":
        return artifact.exists()
    return bool(_read(artifact / "result.json").get("status") == "finished")
