"""Results on disk: artifacts in `store/{teacher,hint,run,data,cache}/<hash>`, beside them `digests` of files and the
studies of `sweeps`; files appear whole or not at all."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from fitnets.config import Config
from fitnets.config.options import absolute, plain
from fitnets.errors import ConfigError, DamagedError, LostLockError
from fitnets.store import locks, ownership
from fitnets.system import permissions

_WHOLE_NUMBERS = re.compile(r"\[\n *-?\d+(,\n *-?\d+)*\n *\]")
"""a list of them in indented JSON, which is written on one line; no text in JSON holds a line's end"""


def write(path: Path, content: bytes) -> None:
    """Write a whole file: a temporary name, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise _named(error, path) from None
    finally:
        partial.unlink(missing_ok=True)


def _named(error: OSError, path: Path) -> OSError:
    """The error, with the file that it is about: those of `write` name none."""
    if error.filename is None:
        error.filename = str(path)
    return error


def write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, allow_nan=False)
    write(path, (_WHOLE_NUMBERS.sub(lambda found: f"[{' '.join(found[0][1:-1].split())}]", text) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Raises DamagedError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except permissions.DAMAGE as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
    return content


def write_config(path: Path, config: Config) -> None:
    """The resolved configuration, its paths absolute; `options.restore` of its YAML gives the Config back."""
    write(path, yaml.safe_dump(plain(absolute(config, Path.cwd())), sort_keys=False).encode())


@contextmanager
def made_again(artifact: Path) -> Iterator[None]:
    """Around the reading of an artifact that the same command would make."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}: remove {artifact}, and it is made again") from error


def _sync(path: Path) -> None:
    """On the disk before anything gets the file's final name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def directory(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `final` when the block ends well. The first to finish wins: all fill it alike;
    replace: it takes the place of an earlier one."""
    partial = locks.temporary_path(final)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.iterdir():
            _sync(path)
        if replace:
            locks.remove(final)
        try:
            partial.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_writable(root: Path, key: str = "store=") -> None:
    """Raises ConfigError if nothing can be written below the root, which the user gave as this key. A store gets its
    marker."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".{uuid4().hex}"
        probe.touch()
        probe.unlink()
        if key == "store=":
            ownership.mark(root)
    except OSError as error:
        reason, way_out = error.strerror, ""
        if isinstance(error, PermissionError):
            reason, way_out = permissions.denied(error)
            way_out += ", or "
        raise ConfigError(f"{key}{root}: cannot write there ({reason}): {way_out}give {key}DIR") from error


def check_space(folder: Path, needed: int, what: str, way_out: str) -> None:
    """Raises ConfigError if the disk lacks room for so many bytes: a mapped file that outgrows it ends the process."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(
            f"{what} take {needed / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free: {way_out}"
        )


def allocate(path: Path) -> None:
    """Have the disk give all of a file's room now: a mapped file for which there is none later ends the process. Raises
    OSError where there is none now."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise _named(error, path) from None


@contextmanager
def replace_run(directory: Path) -> Iterator[Path]:
    """The run's directory, without what an earlier run wrote there. An earlier finished run is put aside, and comes
    back when the block fails; one whose result cannot be read is no loss. Entries that are not ours stay where they
    are."""
    earlier = locks.backup_path(directory)
    if _is_whole(directory):
        _remove_run(earlier, rescued_into=directory)
        directory.rename(earlier)
    _remove_run(directory)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory
    except LostLockError:  # all of it is another process's now
        raise
    except BaseException:
        if earlier.exists():
            _remove_run(directory, rescued_into=earlier)
            earlier.rename(directory)
        raise
    _remove_run(earlier, rescued_into=directory)


def _remove_run(directory: Path, rescued_into: Path | None = None) -> None:
    """Remove a run's directory. What a user has put there moves into the other one, or stays."""
    strangers = ownership.strangers(directory, "run") if directory.is_dir() else []
    if rescued_into is not None:
        for stranger in strangers:
            stranger.rename(locks.unused_name(rescued_into / stranger.name))
        strangers = []
    if strangers:
        ownership.remove_ours(directory, "run")
    else:
        locks.remove(directory)


def is_finished(directory: Path) -> bool:
    """Whether a run directory holds a whole run. Raises DamagedError, with the way out, where it does not tell."""
    path = directory / "result.json"
    if not path.exists():
        return False
    with made_again(directory):
        result = read_json(path)
        if "status" not in result:
            raise DamagedError(f"{path} tells no status")
    return bool(result["status"] == "finished")


def _is_whole(directory: Path) -> bool:
    try:
        return is_finished(directory)
    except DamagedError:
        return False


class MetricsFile:
    """`metrics.jsonl`: one object an epoch, appended and synced as it comes."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Raises ValueError for a number that is not finite."""
        line = json.dumps(row, allow_nan=False) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _named(error, self.path) from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Raises DamagedError."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except permissions.DAMAGE as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
