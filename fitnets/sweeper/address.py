"""The name of a study, and the address of its storage, which is independent of the current folder.

`sweeps/NAME/study.json` in the store keeps the address, so that one study does not silently become two.
"""

import os
from pathlib import Path
from uuid import uuid4

import optuna

from fitnets.errors import ConfigError, without_passwords
from fitnets.paths import expanded
from fitnets.store import files
from fitnets.sweeper import storage

_FORBIDDEN = '/\\:*?"<>|'
_MAX_CHARACTERS = 120
"""longest name, of at most twice as many bytes: a folder's name may have 255 bytes, a W&B name 128 characters"""
_ID = "id-"
"""prefix of the study's user attributes that identify it. Workers that start at the same time may add one each"""


def check_name(name: str) -> None:
    """Raise ConfigError for a study's name that is no plain folder name."""
    wrong = None
    if not name.strip() or name != name.strip():
        wrong = "it is empty, or begins or ends with a space"
    elif name.startswith("."):
        wrong = "it begins with a dot"
    elif any(letter in _FORBIDDEN or not letter.isprintable() for letter in name):
        wrong = f"it contains one of {_FORBIDDEN} or a character that cannot be printed"
    elif len(name) > _MAX_CHARACTERS or len(os.fsencode(name)) > 2 * _MAX_CHARACTERS:
        wrong = f"it is longer than {_MAX_CHARACTERS} characters"
    if wrong is not None:
        shown = name if len(name) <= _MAX_CHARACTERS else f"{name[:20]}... ({len(name)} characters)"
        raise ConfigError(
            f"hydra.sweeper.study_name={shown!r}: {wrong}, and a folder of the store is named after the study: give a "
            f"plain name, for example hydra.sweeper.study_name={_plain(name)}"
        )


def _plain(name: str) -> str:
    words = "".join(letter if letter.isalnum() or letter in "-_." else " " for letter in name).split()
    return "-".join(words).strip(".-")[:40] or "mine"


# --- addresses ---


def absolute(address: str, folder: Path) -> str:
    """The address with its file name made absolute, relative to the folder.

    address: path of a journal, or URL of a database; URLs of servers stay as they are

    Raises ConfigError for a database in memory, which no second worker could see.
    """
    if "://" not in address:
        return str(_from(folder, address))
    url = storage.sqlite_url(address)
    if url is None:
        return address
    file = url.database or ""
    if not file or ":memory:" in file or url.query.get("mode") == "memory":
        raise ConfigError(
            f"hydra.sweeper.storage={address}: a database in memory ends with its process: give sqlite:///FILE, or "
            "leave the key out"
        )
    prefix = "file:" if file.startswith("file:") else ""
    return url.set(database=prefix + str(_from(folder, file.removeprefix(prefix)))).render_as_string(False)


def _from(folder: Path, name: str) -> Path:
    return (folder / expanded(name)).resolve()


# --- study.json ---


def read(record: Path) -> tuple[str, str]:
    """(name, address) from a `study.json`. A journal that was moved with the store gets its new address.

    record: path of the `study.json`
    """
    content = files.read_json(record)
    name, stored = str(content["name"]), str(content["storage"])
    address = _from_here(stored, record, Path.cwd())
    if address is not None and "://" not in stored and not Path(address).exists():
        moved = record.parent / Path(address).name
        return name, str(moved) if moved.exists() else address
    return name, address or stored


def _folders(record: Path, started_in: Path) -> list[Path]:
    """Folders that a relative address of an earlier version may refer to: the command's, the store's, the study's."""
    return [started_in, record.parents[2].parent, record.parent]


def check(record: Path, name: str, address: str, folder: Path) -> str | None:
    """Raise ConfigError if the study of `study.json` is in another storage than this one.

    record: path of the `study.json`
    address: the absolute address that the command gives
    folder: where the command was started

    Returns a line for the user, or None.
    """
    try:
        content = files.read_json(record)
        earlier, identity = str(content["storage"]), content.get("id")
    except (OSError, ValueError, KeyError, TypeError):  # it is missing or damaged, and will be written again
        return None
    if earlier == without_passwords(address) or _is_same_file(earlier, address, record, folder):
        return _lost(name, address)
    if _holds(address, name, record, earlier, identity):
        return None
    if _lost(name, earlier):
        return _lost(name, earlier)
    from_here = _from_here(earlier, record, folder)
    way_back = "start the command in the folder where the study was started"
    if from_here:
        way_back = f"give 'hydra.sweeper.storage=\"{from_here}\"'"
    relative = "" if from_here else " (a relative path that does not exist from here)"
    raise ConfigError(
        f"study {name} of this store lives in {earlier}{relative}, not in {without_passwords(address)}\n"
        f"{way_back} to resume it, or another hydra.sweeper.study_name=NAME for a new one"
    )


def _lost(name: str, address: str) -> str | None:
    """A line for the user about a study whose file, given by an absolute path, is missing or empty; else None."""
    file = storage.file_of(address)
    if file is None or not file.is_absolute() or (file.is_file() and file.stat().st_size):
        return None
    state = "is empty" if file.exists() else "is gone"
    return f"{file} {state}: study {name} starts over; runs that the store holds are not trained again"


def _is_same_file(earlier: str, address: str, record: Path, folder: Path) -> bool:
    """Return whether both addresses are the same file, however its URL is written."""
    earlier_file, file = storage.file_of(earlier), storage.file_of(address)
    if earlier_file is None or file is None or ("://" in earlier) != ("://" in address):
        return False
    if earlier_file.is_absolute():
        return file == earlier_file.resolve()
    return file.exists() and file in [(start / earlier_file).resolve() for start in _folders(record, folder)]


def _holds(address: str, name: str, record: Path, earlier: str, identity: str | None) -> bool:
    """Return whether the storage at this address holds the study of `study.json`.

    A storage gets a new address if its file is moved or copied, and a server may have several addresses. A study of an
    earlier version has no identity. Its storage is a journal in the study's own folder, which moved with the store, or
    a file with the name of the earlier relative address.
    """
    file = storage.file_of(address)
    if file is not None and not file.is_file():
        return False
    try:
        study = storage.look_up(address, name)
    except ConfigError:
        return False
    if identity is not None:
        return identity in study.user_attrs
    if file is None:
        return False
    if file.parent == record.parent.resolve():
        return True
    earlier_file = storage.file_of(earlier)
    return earlier_file is not None and not earlier_file.is_absolute() and earlier_file.name == file.name


def _from_here(earlier: str, record: Path, folder: Path) -> str | None:
    """The earlier address made absolute; None for a relative one whose file is not found."""
    file = storage.file_of(earlier)
    if file is None or file.is_absolute():
        return earlier
    return next((absolute(earlier, start) for start in _folders(record, folder) if (start / file).exists()), None)


def write_record(record: Path, study: optuna.Study, address: str) -> None:
    """Write the study's name, address and identity to `study.json`.

    record: path of the `study.json`
    address: the absolute address
    """
    identities = sorted(key for key in study.user_attrs if key.startswith(_ID))
    if not identities:
        identities = [f"{_ID}{uuid4().hex[:12]}"]
        study.set_user_attr(identities[0], True)
    record.parent.mkdir(parents=True, exist_ok=True)
    content = {"name": study.study_name, "storage": without_passwords(address), "id": identities[0]}
    files.write_json(record, content)
