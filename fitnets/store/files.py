"""Files that are complete or absent: JSON, YAML and metrics. The project's one JSON reader and one atomic writer."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fitnets.config import Config
from fitnets.config.options import absolute, plain
from fitnets.errors import ConfigError, DamagedError
from fitnets.store import layout
from fitnets.system import permissions

_INTEGER_LIST = re.compile(r"\[\n *-?\d+(,\n *-?\d+)*\n *\]")
"""A list of integers in indented JSON. It cannot match inside a string: JSON escapes line breaks there."""
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's loader in C, if it is there: it is seven times as fast"""
_YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""PyYAML's dumper in C, if it is there: it is four times as fast, and writes the same text"""


def write(path: Path, content: bytes) -> None:
    """Write a whole file: under a temporary name, synced to the disk, then renamed. Its folder is made if needed.

    Raises an OSError that names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = layout.temporary_file(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise _with_path(error, path) from None
    finally:
        partial.unlink(missing_ok=True)


def _with_path(error: OSError, path: Path) -> OSError:
    """Add the path to an error that has none, as errors of writing and syncing have."""
    if error.filename is None:
        error.filename = str(path)
    return error


# --- JSON and YAML ---


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as indented JSON, with each list of integers on one line.

    Raises ValueError for a number that is not finite."""
    text = json.dumps(value, indent=2, allow_nan=False)
    text = _INTEGER_LIST.sub(lambda numbers: f"[{' '.join(numbers[0][1:-1].split())}]", text)
    write(path, f"{text}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises DamagedError if the file is missing, or holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except permissions.DAMAGE as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
    return content


def write_config(path: Path, config: Config) -> None:
    """Write the resolved configuration as YAML, with absolute paths. `options.restore` turns its content into a Config
    again."""
    write(path, as_yaml(absolute(config, Path.cwd())))


def as_yaml(config: Config) -> bytes:
    """The content of `config.yaml`."""
    return bytes(yaml.dump(plain(config), Dumper=_YAML_DUMPER, sort_keys=False).encode())


@contextmanager
def advise_removal(artifact: Path) -> Iterator[None]:
    """Add to a DamagedError of the block that removing the artifact helps: the same command then makes it again."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}: remove {artifact}, and it is made again") from error


# --- metrics ---


class MetricsFile:
    """A run's `metrics.jsonl`: one JSON object a line and an epoch. Each line is appended and synced at once."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Append a row. Raises ValueError for a number that is not finite."""
        line = json.dumps(row, allow_nan=False) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _with_path(error, self.path) from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a `metrics.jsonl`. Raises DamagedError if the file cannot be read."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except permissions.DAMAGE as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error


# --- room on the disk ---


def check_space(folder: Path, needed: int, what: str, way_out: str) -> None:
    """Raise ConfigError if the folder's disk has no room for a memory-mapped file: if the disk becomes full later, the
    system kills the process.

    needed: bytes
    what: the content of the file, for the message
    way_out: what the user can do, for the message"""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(
            f"{what} take {needed / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free: {way_out}"
        )


def allocate(path: Path) -> None:
    """Reserve the disk space of a whole file now, because a memory-mapped file that finds a full disk later kills the
    process. Raises OSError if there is too little space."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise _with_path(error, path) from None
