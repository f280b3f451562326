"""Where a study lives: its name, and an address that means the same from every folder. `sweeps/NAME/study.json` in the
store keeps the address, so that one study does not silently become two."""

import os
from pathlib import Path
from uuid import uuid4

import optuna

from fitnets.errors import ConfigError, without_passwords
from fitnets.paths import expanded
from fitnets.store import files
from fitnets.sweeper import storage

_FORBIDDEN = '/\\:*?"<>|'
_LONGEST = 120
"""characters, and bytes of UTF-8 twice as many: a folder's name may have 255, and W&B takes 128 characters"""
_ID = "id-"
"""A user attribute of a study that begins so holds a random name. Workers that begin together may add one each."""


def check_name(name: str) -> None:
    """Raise ConfigError for a study's name that is no plain name of a folder."""
    wrong = None
    if not name.strip() or name != name.strip():
        wrong = "it is empty, or begins or ends with a space"
    elif name.startswith("."):
        wrong = "it begins with a dot"
    elif any(letter in _FORBIDDEN or not letter.isprintable() for letter in name):
        wrong = f"it contains one of {_FORBIDDEN} or a character that cannot be printed"
    elif len(name) > _LONGEST or len(os.fsencode(name)) > 2 * _LONGEST:
        wrong = f"it is longer than {_LONGEST} characters"
    if wrong is not None:
        shown = name if len(name) <= _LONGEST else f"{name[:20]}... ({len(name)} characters)"
        raise ConfigError(
            f"hydra.sweeper.study_name={shown!r}: {wrong}, and a folder of the store is named after the study: give a "
            f"plain name, for example hydra.sweeper.study_name={_plain(name)}"
        )


def _plain(name: str) -> str:
    words = "".join(letter if letter.isalnum() or letter in "-_." else " " for letter in name).split()
    return "-".join(words).strip(".-")[:40] or "mine"


# --- addresses ---


def absolute(place: str, folder: Path) -> str:
    """A journal's path or a data base's URL with a relative file name taken from the folder. Raises ConfigError for a
    data base in memory, which no second worker could see."""
    if "://" not in place:
        return str(_from(folder, place))
    url = storage.sqlite_url(place)
    if url is None:
        return place
    file = url.database or ""
    if not file or ":memory:" in file or url.query.get("mode") == "memory":
        raise ConfigError(
            f"hydra.sweeper.storage={place}: a data base in memory ends with its process: give sqlite:///FILE, or "
            "leave the key out"
        )
    prefix = "file:" if file.startswith("file:") else ""
    return url.set(database=prefix + str(_from(folder, file.removeprefix(prefix)))).render_as_string(False)


def _from(folder: Path, name: str) -> Path:
    return (folder / expanded(name)).resolve()


# --- study.json ---


def read(record: Path) -> tuple[str, str]:
    """(name, storage) of a `study.json`. A storage file that moved together with the store is found."""
    told = files.read_json(record)
    name, place = str(told["name"]), str(told["storage"])
    known = _from_here(place, record, Path.cwd())
    if known is not None and "://" not in place and not Path(known).exists():  # moved together with the store
        moved = record.parent / Path(known).name
        return name, str(moved) if moved.exists() else known
    return name, known or place


def _folders(record: Path, started_in: Path) -> list[Path]:
    """Where a relative address of earlier versions may have been meant: the folder of the command, and of the store."""
    return [started_in, record.parents[2].parent, record.parent]


def check(record: Path, name: str, place: str, folder: Path) -> str | None:
    """Raise ConfigError if `study.json` has the study live elsewhere than in this absolute storage.

    folder: where the command was started. Returns what the user should read, if anything."""
    try:
        told = files.read_json(record)
        earlier, identity = str(told["storage"]), told.get("id")
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is torn: it is written anew
        return None
    if earlier == without_passwords(place) or _is_same_file(earlier, place, record, folder):
        return _lost(name, place)
    if _holds(place, name, record, earlier, identity):
        return None
    if _lost(name, earlier):
        return _lost(name, earlier)
    known = _from_here(earlier, record, folder)
    go_on = f"give 'hydra.sweeper.storage=\"{known}\"'" if known else "start the command in the folder where it began"
    relative = "" if known else " (relative, and not found from here)"
    raise ConfigError(
        f"study {name} of this store lives in {earlier}{relative}, not in {without_passwords(place)}\n"
        f"{go_on} to go on with it, or another hydra.sweeper.study_name=NAME for a new one"
    )


def _lost(name: str, place: str) -> str | None:
    """A line about a study whose absolute file is missing or empty."""
    file = storage.file_of(place)
    if file is None or not file.is_absolute() or (file.is_file() and file.stat().st_size):
        return None
    what = "is empty" if file.exists() else "is gone"
    return f"{file} {what}: study {name} begins anew; what the store has trained is found again"


def _is_same_file(earlier: str, place: str, record: Path, folder: Path) -> bool:
    """Whether both are the same file, however its URL is written."""
    theirs, ours = storage.file_of(earlier), storage.file_of(place)
    if theirs is None or ours is None or ("://" in earlier) != ("://" in place):
        return False
    if theirs.is_absolute():
        return ours == theirs.resolve()
    return ours.exists() and ours in [(start / theirs).resolve() for start in _folders(record, folder)]


def _holds(place: str, name: str, record: Path, earlier: str, identity: str | None) -> bool:
    """Whether that study is in this storage: it was moved or copied, or a server has several addresses.

    Studies of earlier versions have no identity: a journal in the study's own folder came there with the store, and a
    relative address means a file of the same name."""
    file = storage.file_of(place)
    if file is not None and not file.is_file():
        return False
    try:
        study = storage.look_up(place, name)
    except ConfigError:
        return False
    if identity is not None:
        return identity in study.user_attrs
    theirs = storage.file_of(earlier)
    is_own = file is not None and file.parent == record.parent.resolve()
    is_relative = theirs is not None and not theirs.is_absolute()
    return is_own or (is_relative and file is not None and theirs is not None and theirs.name == file.name)


def _from_here(earlier: str, record: Path, folder: Path) -> str | None:
    """An earlier address as it works from every folder; None for a relative one whose file is not found."""
    file = storage.file_of(earlier)
    if file is None or file.is_absolute():
        return earlier
    return next((absolute(earlier, start) for start in _folders(record, folder) if (start / file).exists()), None)


def leave(record: Path, study: optuna.Study, place: str) -> None:
    """Write `study.json`. place: the absolute address."""
    identities = sorted(key for key in study.user_attrs if key.startswith(_ID))
    if not identities:
        identities = [f"{_ID}{uuid4().hex[:12]}"]
        study.set_user_attr(identities[0], True)
    record.parent.mkdir(parents=True, exist_ok=True)
    content = {"name": study.study_name, "storage": without_passwords(place), "id": identities[0]}
    files.write_json(record, content)
