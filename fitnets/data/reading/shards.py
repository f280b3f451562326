"""The Parquet files of one split: every shard once, each of them whole; whatever else has such a name is refused."""

import re
from collections.abc import Iterator
from pathlib import Path

from fitnets.data.reading.encoded_image import disguise
from fitnets.errors import ConfigError, printable

_SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]{16})?\.parquet")
"""what follows the name of the split; the hub added a digest in former years"""
_MAGIC = b"PAR1"
_SHOWN = 4


def of_split(given: Path, split: str, subset: str | None, repository: str) -> list[Path]:
    """The split's files in the folder, in its sub-folder named like the subset, or in the one sub-folder that has them
    (as in a download of the repository), in order.

    Raises ConfigError where a shard is missing, there twice, or no whole Parquet file."""
    pattern = f"{split}-*.parquet"
    if not given.is_dir():
        raise ConfigError(f"dataset.path={given}: no such folder: give the one that holds {pattern}")
    place = given / subset if subset and (given / subset).is_dir() else given
    files = sorted(place.glob(pattern)) or sorted(place.glob(f"*/{pattern}"))
    if len({file.parent for file in files}) != 1:
        found = [str(file.relative_to(given)) for file in files] or sorted(entry.name for entry in given.iterdir())
        raise ConfigError(
            f"dataset.path={given}: need one folder with {pattern} and it holds "
            f"{', '.join(map(printable, found[:_SHOWN])) or 'nothing'}: give the folder with the Parquet files of "
            f"{repository}"
        )
    _check_names(files, split)
    _check_contents(files)
    return files


def is_numbered(file: Path, split: str) -> bool:
    """Whether its name says which shard of how many it is."""
    return _SHARD.fullmatch(file.name.removeprefix(split)) is not None


def _check_names(files: list[Path], split: str) -> None:
    """Raises ConfigError if not every shard of NNNNN-of-MMMMM is there once. Files of which none is named so are taken
    as they are: nothing says how many there should be."""
    named = {file: _SHARD.fullmatch(file.name.removeprefix(split)) for file in files}
    if not any(named.values()) and not any(re.search(r"\d-of-\d", file.name) for file in files):
        return
    wrong = [file.name for file, match in named.items() if match is None]
    shards = [(int(match[1]), int(match[2]), file.name) for file, match in named.items() if match is not None]
    problem = next(_problems(split, wrong, shards), None)
    if problem is not None:
        raise ConfigError(f"dataset.path={files[0].parent}: {problem}")


def _problems(split: str, wrong: list[str], shards: list[tuple[int, int, str]]) -> Iterator[str]:
    if wrong:
        yield (
            f"{_some(wrong)}: no shard of the {split} split is called so ({split}-NNNNN-of-MMMMM.parquet): put it into "
            "another folder"
        )
    totals = sorted({total for _, total, _ in shards})
    if len(totals) > 1:
        first = [next(name for _, of, name in shards if of == total) for total in totals]
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
    """Raises ConfigError for every file that is no whole Parquet file."""
    broken = [f"{printable(file.name)} ({reason})" for file in files if (reason := _why_not(file))]
    if broken:
        raise ConfigError(
            f"dataset.path={files[0].parent}: cannot read {'; '.join(broken[:_SHOWN])}"
            f"{f'; and {len(broken) - _SHOWN} more' * (len(broken) > _SHOWN)}: download again what is wrong"
        )


def _why_not(file: Path) -> str | None:
    """Why a file is no whole Parquet file, from its first and last bytes."""
    if not file.exists():
        return "a link that leads nowhere"
    if not file.is_file():
        return "no regular file"
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
