"""Finds the Parquet files of a split. Every shard must be there once and whole, with no other file among them."""

import re
from collections.abc import Iterator
from pathlib import Path

from fitnets.data.reading.encoded_image import disguise
from fitnets.errors import ConfigError, printable

_SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]{16})?\.parquet")
"""the part of a file name after the split; the hub used to add a digest"""
_MAGIC = b"PAR1"
_SHOWN = 4
"""largest number of file names in a message"""


def of_split(folder: Path, split: str, subset: str | None, repository: str) -> list[Path]:
    """The files of a split, in order. They lie in the folder, in its sub-folder named after the subset, or, as in a
    download of the whole repository, in the only sub-folder that has such files.

    folder: value of dataset.path.
    repository: name for the message.

    Raises ConfigError if a shard is missing, duplicated, or no whole Parquet file."""
    pattern = f"{split}-*.parquet"
    if not folder.is_dir():
        raise ConfigError(f"dataset.path={folder}: no such folder: give the one that holds {pattern}")
    place = folder / subset if subset and (folder / subset).is_dir() else folder
    files = sorted(place.glob(pattern)) or sorted(place.glob(f"*/{pattern}"))
    if len({file.parent for file in files}) != 1:
        names = [str(file.relative_to(folder)) for file in files] or sorted(entry.name for entry in folder.iterdir())
        raise ConfigError(
            f"dataset.path={folder}: need one folder with {pattern} and it holds "
            f"{', '.join(map(printable, names[:_SHOWN])) or 'nothing'}: give the folder with the Parquet files of "
            f"{repository}"
        )
    _check_names(files, split)
    _check_contents(files)
    return files


def is_numbered(file: Path, split: str) -> bool:
    """True if the name of the file ends in its shard number and the number of shards."""
    return _SHARD.fullmatch(file.name.removeprefix(split)) is not None


def _check_names(files: list[Path], split: str) -> None:
    """Raise ConfigError unless every shard NNNNN-of-MMMMM is there once. If no file has such a name, all are accepted,
    because the number of shards is then unknown."""
    matches = {file: _SHARD.fullmatch(file.name.removeprefix(split)) for file in files}
    if not any(matches.values()) and not any(re.search(r"\d-of-\d", file.name) for file in files):
        return
    wrong = [file.name for file, match in matches.items() if match is None]
    shards = [(int(match[1]), int(match[2]), file.name) for file, match in matches.items() if match is not None]
    problem = next(_problems(split, wrong, shards), None)
    if problem is not None:
        raise ConfigError(f"dataset.path={files[0].parent}: {problem}")


def _problems(split: str, wrong: list[str], shards: list[tuple[int, int, str]]) -> Iterator[str]:
    """Yield the problems with the file names.

    wrong: names without a shard number.
    shards: (shard number, number of shards, name) of every other file."""
    if wrong:
        yield (
            f"{_some(wrong)}: not the name of a shard of the {split} split ({split}-NNNNN-of-MMMMM.parquet): put it "
            "into another folder"
        )
    totals = sorted({total for _, total, _ in shards})
    if len(totals) > 1:
        first = [next(name for _, stated, name in shards if stated == total) for total in totals]
        yield f"{_some(first)}: shards of several versions of the {split} split: keep those of one in this folder"
    numbers = [number for number, *_ in shards]
    twice = [name for number, _, name in shards if numbers.count(number) > 1]
    if twice:
        yield f"{_some(twice)}: the same shard of the {split} split more than once: keep one of them in this folder"
    total = totals[0]
    missing = [f"{split}-{number:05}-of-{total:05}.parquet" for number in range(total) if number not in numbers]
    beyond = [name for number, _, name in shards if number >= total]
    if missing:
        yield (
            f"{len(missing)} of {total} shards of the {split} split missing: {_some(missing)}"
            f"{f' (and {_some(beyond)} is one too many)' * bool(beyond)}: download them into this folder"
        )


def _check_contents(files: list[Path]) -> None:
    """Raise one ConfigError for all files that are no whole Parquet files."""
    broken = [f"{printable(file.name)} ({reason})" for file in files if (reason := _damage(file))]
    if broken:
        raise ConfigError(
            f"dataset.path={files[0].parent}: cannot read {'; '.join(broken[:_SHOWN])}"
            f"{f'; and {len(broken) - _SHOWN} more' * (len(broken) > _SHOWN)}: download again what is wrong"
        )


def _damage(file: Path) -> str | None:
    """Why a file is no whole Parquet file, by its first and last bytes; None if it is one."""
    if not file.exists():
        return "a broken link"
    if not file.is_file():
        return "not a regular file"
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
            opened.seek(-min(len(_MAGIC), file.stat().st_size), 2)
            tail = opened.read()
    except OSError as error:
        return error.strerror or str(error)
    if head.startswith(_MAGIC):
        return None if tail == _MAGIC and file.stat().st_size >= 12 else "truncated: its end is missing"
    return disguise(head) or "no Parquet file"


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
