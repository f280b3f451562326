"""Lists the runs of a store with their status, and the artifacts that no run needs. Imports no PyTorch or Hydra."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from fitnets.config import Config, short_names
from fitnets.config.options import plain
from fitnets.errors import ConfigError, DamagedError
from fitnets.store import earlier_runs, files, layout, locks, ownership
from fitnets.store.layout import StoreLayout
from fitnets.system import permissions


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run directory. A value that the run does not have is None.

    status: finished, running, failed, diverged, pruned, damaged; killed or stopped (the same command resumes it);
        unreadable (this user lacks a permission)
    started: date and time, ISO 8601
    seconds: duration of the run
    dataset, teacher, student: the names of the options
    data, teacher_name, student_name: short names that distinguish similar options, see `short_names`
    valid_accuracy, test_accuracy: accuracy of the student, a fraction
    error: the error that ended the run
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
    """Raise ConfigError if the folder is no store."""
    if not root.is_dir() or not ownership.is_store(root):
        raise ConfigError(f"{root}: no store: give the folder that runs use as store=DIR (by default outputs)")


def runs(root: Path) -> list[StoredRun]:
    """The runs of a store, the oldest first."""
    directories = list(ownership.artifacts_of(StoreLayout(root).folder("run")))
    configs = [_config(directory) for directory in directories]
    names = zip(
        short_names.datasets([(None, None) if config is None else _dataset_and_path(config) for config in configs]),
        short_names.networks([None if config is None else plain(config.teacher) for config in configs]),
        short_names.networks([None if config is None else plain(config.student) for config in configs]),
        strict=True,
    )
    stored = map(_stored_run, directories, configs, names)
    return sorted(stored, key=lambda run: datetime.fromisoformat(run.started))


def _stored_run(directory: Path, config: Config | None, names: tuple[str | None, str | None, str | None]) -> StoredRun:
    """Read a run. Its status is `unreadable` if this user lacks a permission.

    names: short names of the data set, the teacher and the student"""
    try:
        return _readable_run(directory, config, names)
    except PermissionError as error:
        unknown = [
            field.name for field in fields(StoredRun) if field.name not in ("directory", "status", "started", "error")
        ]
        return StoredRun(
            directory=str(directory),
            status=UNREADABLE,
            started=_modified(directory),
            error=permissions.explain(error),
            **dict.fromkeys(unknown),
        )


def _readable_run(
    directory: Path, config: Config | None, names: tuple[str | None, str | None, str | None]
) -> StoredRun:
    result = _read(directory / layout.RESULT)
    student, timing = result.get("student", {}), result.get("timing", {})
    dataset, path = (None, None) if config is None else _dataset_and_path(config)
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


def _dataset_and_path(config: Config) -> tuple[str, str | None]:
    """The data set's option name, and the path of its files if it has one."""
    path = getattr(config.dataset, "path", None)
    return config.dataset.name, None if path is None else str(path)


def _started(directory: Path) -> str:
    """The time at which the run began. For runs of earlier versions, which lack a record of it, the time of the
    configuration file is taken."""
    recorded = _read(directory / layout.ENVIRONMENT).get("started_at")
    with suppress(ValueError):
        return datetime.fromisoformat(str(recorded)).astimezone().isoformat(timespec="seconds")
    path = directory / layout.CONFIG
    return _modified(path if path.exists() else directory)


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="seconds")


def _status_of(directory: Path) -> str:
    try:
        return _status(directory, _read(directory / layout.RESULT).get("status"))
    except PermissionError:
        return UNREADABLE


def _status(directory: Path, recorded: str | None) -> str:
    """The status as recorded. A killed run is still recorded as running, but no process holds its lock."""
    if recorded == "running" and not locks.is_locked(directory):
        return "killed"
    return recorded or "damaged"


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON file; empty if it is missing or damaged."""
    try:
        return files.read_json(path)
    except DamagedError:
        return {}


def _config(directory: Path) -> Config | None:
    """Read the run's configuration; None if that fails."""
    try:
        return earlier_runs.read_config(directory / layout.CONFIG)
    except (ConfigError, PermissionError):
        return None


# --- artifacts that no run needs ---


@dataclass(frozen=True, slots=True)
class Removable:
    """An artifact that no run needs, or hidden entries that dead processes left beside an artifact.

    artifact: its folder
    whole: True: the artifact and the entries beside it can be removed; False: only the entries
    reason: why no run needs it
    """

    artifact: Path
    whole: bool
    reason: str

    @property
    def kept_because(self) -> str | None:
        """The reason to keep the artifact, such as an entry that fitnets did not make. None if it can be removed."""
        if self.whole and (reason := ownership.reason_to_keep(self.artifact, self.kind)):
            return reason
        for path in _left_over(self.artifact):
            if not ownership.is_left_over(path, self.kind):
                return f"{path.name} beside it holds files that fitnets did not write"
        return None

    @property
    def kind(self) -> str:
        """`run`, `teacher` and so on. An export belongs to its run."""
        folder = self.artifact.parent.name
        return folder if folder in layout.KINDS else "run"

    @property
    def size(self) -> int:
        """Size in bytes."""
        folders = [*_left_over(self.artifact), *([self.artifact] if self.whole else [])]
        paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
        return sum(path.lstat().st_size for path in paths if path.is_file())

    def remove(self) -> bool:
        """Remove the artifact or the entries beside it. While a process makes it, remove nothing and return False."""
        return locks.discard(self.artifact, left_over_alone=not self.whole)


def unneeded(root: Path, *, unfinished: bool = False, data: bool = False) -> list[Removable]:
    """Find what no run of the store needs: teachers and first stages that no run uses, cached outputs of such teachers,
    and hidden entries of dead processes. Artifacts that a living process makes are not listed.

    unfinished: also list runs that did not finish, and artifacts that only they need
    data: also list decoded images and cached teacher outputs, which are made again when needed

    Raises ConfigError if the record of a run is damaged, PermissionError if this user may not read it."""
    store = StoreLayout(root)
    directories = [*ownership.artifacts_of(store.folder("run")), *_backups(store.folder("run"))]
    staying = ("finished", "running", UNREADABLE)
    leaving = [path for path in directories if unfinished and _status_of(path) not in staying]
    needed = _needed([path for path in directories if path not in leaving])
    whole = [Removable(path, True, "it did not finish") for path in leaving]
    whole += [
        Removable(path, True, "no run of this store needs it")
        for kind in ("hint", "teacher")
        for path in ownership.artifacts_of(store.folder(kind))
        if _short_path(path) not in needed
    ]
    whole += _unneeded_caches(store, needed, data=data)
    if data:
        decoded = ownership.artifacts_of(store.folder("data"))
        whole += [Removable(path, True, "it is decoded again when needed") for path in decoded]
    left_over = _left_by_dead_processes(store, needed, [removable.artifact for removable in whole])
    return [removable for removable in (*whole, *left_over) if not locks.is_locked(removable.artifact)]


def _unneeded_caches(store: StoreLayout, needed: set[str], *, data: bool) -> Iterator[Removable]:
    """Cached outputs of teachers that no run needs; with `data`, all cached outputs."""
    for path in ownership.artifacts_of(store.folder("cache")):
        if f"teacher/{_read(path / layout.META).get('teacher')}" not in needed:
            yield Removable(path, True, "no run needs its teacher")
        elif data:
            yield Removable(path, True, "it is computed again when needed")


def _left_by_dead_processes(store: StoreLayout, needed: set[str], whole: list[Path]) -> Iterator[Removable]:
    """Half-made folders, locks, and checkpoints, except checkpoints from which a run will resume.

    whole: artifacts that are removed together with the entries beside them"""
    folders = [*map(store.folder, layout.KINDS), *ownership.artifacts_of(store.folder("run"))]
    left_over = ("partial", "checkpoints", "lock")
    for folder in folders:
        for artifact in sorted({artifact for artifact, _ in ownership.beside(folder, left_over)}):
            will_resume = _short_path(artifact) in needed and not _is_made(artifact)
            if artifact not in whole and artifact.parent not in whole and not will_resume:
                yield Removable(artifact, False, "a process that died left files beside it")


def _backups(folder: Path) -> list[Path]:
    """Finished runs in backups of processes that died."""
    return [path for _, path in ownership.beside(folder, ("earlier",))]


def _short_path(artifact: Path) -> str:
    """The path within the store, such as `run/<hash>`."""
    return f"{artifact.parent.name}/{artifact.name}"


def _needed(runs: list[Path]) -> set[str]:
    """The runs themselves, the artifacts they are made of, and the earlier runs that their configurations name."""
    needed = set()
    for path in runs:
        hashes = _read(path / layout.RESULT).get("hashes")
        folders = earlier_runs.teacher_folders(path / layout.CONFIG)
        if hashes is None or folders is None:
            raise ConfigError(
                f"{path}: its result.json or config.yaml is damaged, and they name the artifacts to keep: "
                "restore the file, or remove this run"
            )
        needed |= {f"{kind}/{hashes[kind]}" for kind in ("run", "hint", "teacher")} | {_short_path(path)}
        needed |= {_short_path(folder) for folder in folders}
    return needed


def _left_over(artifact: Path) -> list[Path]:
    """Half-made folders and checkpoints beside an artifact."""
    return [path for owner, path in ownership.beside(artifact.parent) if owner == artifact]


def _is_made(artifact: Path) -> bool:
    """Return whether the artifact exists; a run counts only if it is finished."""
    if artifact.parent.name != "run":
        return artifact.exists()
    return bool(_read(artifact / layout.RESULT).get("status") == "finished")
