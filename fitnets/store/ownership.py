"""Decides which entries of a store fitnets made itself. Only these are ever removed.

A store has a marker file with a random name. An artifact is ours if its name is a hash (16 hexadecimal digits) and all
of its files have names that we write. If an artifact holds one foreign entry or a link, all of it stays.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from fitnets.errors import DamagedError
from fitnets.store import files, layout
from fitnets.store.layout import StoreLayout


def _any_of(*names: str) -> str:
    """A pattern that matches these names."""
    return "|".join(re.escape(name) for name in names)


_STAGE_NAME = re.compile(r"[a-z_]+")
_WANDB_NAME = re.compile(
    r"(offline-)?run-\w+-\w+|latest-run|debug(-\w+)*\.log|settings|cache|data|config|" + _any_of(layout.MIRRORED_FRONT)
)
_EXPORT_NAME = re.compile(
    r"student(-int8)?\.(onnx|pt2)|student\.onnx\.data|" + _any_of(layout.EXPORT_RECORD, layout.CARD)
)
_IN_FOLDER = {layout.EXPORT: _EXPORT_NAME, layout.TENSORBOARD: re.compile(r"events\.out\.tfevents\..+")}
_REQUIRED = {  # kind: an artifact has at least one of these files
    "run": {layout.RESULT, layout.CONFIG},
    "teacher": {layout.TEACHER_WEIGHTS},
    "hint": {layout.HINT_WEIGHTS},
    "data": {layout.META, layout.FITTED},
    "cache": {layout.META},
}
_OF_TRAINING = _any_of(layout.CONFIG, layout.ENVIRONMENT, layout.METRICS)
_FILES = {  # kind: names of all its files
    "run": re.compile(_any_of(layout.RESULT, layout.STUDENT_WEIGHTS, layout.WANDB_ID) + "|" + _OF_TRAINING),
    "teacher": re.compile(_any_of(layout.TEACHER_WEIGHTS, layout.TEACHER_RECORD) + "|" + _OF_TRAINING),
    "hint": re.compile(r"\w+\.safetensors|" + _any_of(layout.HINT_RECORD) + "|" + _OF_TRAINING),
    "data": re.compile(_any_of(layout.IMAGES, layout.ROWS, layout.LABELS, layout.META, layout.FITTED, layout.DECODING)),
    "cache": re.compile(_any_of(layout.TEACHER_OUTPUTS, layout.META)),
}


# --- stores ---


def mark(root: Path) -> None:
    """Write the marker of a store that has none. If several processes do so at once, the first marker stays."""
    path = StoreLayout(root).marker
    if path.exists():
        return
    content = {"store": uuid4().hex, "about": "results of fitnets; `fitnets clean` removes what no run here needs"}
    partial = layout.temporary_file(path)
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    try:
        os.link(partial, path)  # never replaces another process's marker, as renaming would
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def marker(root: Path) -> str | None:
    """The random name of a store; None if it has no readable marker."""
    try:
        return str(files.read_json(StoreLayout(root).marker)["store"])
    except (DamagedError, KeyError):
        return None


def is_store(root: Path) -> bool:
    """Return whether the folder has a marker or an artifact of ours. Stores of earlier versions have no marker."""
    return marker(root) is not None or any(
        reason_to_keep(path, kind) is None
        for kind in layout.KINDS
        for path in artifacts_of(StoreLayout(root).folder(kind))
    )


# --- artifacts ---


def artifacts_of(folder: Path) -> Iterator[Path]:
    """The entries of a folder such as `run` or `teacher` that are named like artifacts, in no particular order.

    A folder that is a link belongs to another store and yields nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if layout.HASH_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield path


def beside(folder: Path, kinds: tuple[str, ...] = ("partial", "checkpoints")) -> Iterator[tuple[Path, Path]]:
    """(artifact, hidden entry) for each hidden entry of these kinds that processes left beside artifacts."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        match = layout.HIDDEN_NAME.fullmatch(path.name)
        if match and match[2].split("-")[0] in kinds and not path.is_symlink():
            yield path.with_name(match[1]), path


def reason_to_keep(artifact: Path, kind: str) -> str | None:
    """The reason why an artifact of this kind has to stay; None if all of it is ours.

    It stays if it holds a foreign entry, or none of the files that make it an artifact."""
    try:
        names = {entry.name for entry in artifact.iterdir()}
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not names & _REQUIRED[kind]:
        return "it has none of the files that fitnets writes"
    return next((f"it holds {entry.name}, which is not ours" for entry in foreign_entries(artifact, kind)), None)


def foreign_entries(artifact: Path, kind: str) -> list[Path]:
    """The entries of an artifact that are not ours, sorted."""
    return [entry for entry in sorted(artifact.iterdir()) if not _is_ours(entry, kind)]


def is_left_over(path: Path, kind: str) -> bool:
    """Return whether all of a half-made folder or a folder of checkpoints is ours."""
    if path.is_symlink() or not path.is_dir():
        return False
    if path.name.endswith(".checkpoints"):
        return all(_is_stage(stage) for stage in path.iterdir())
    return all(
        _is_ours(entry, kind) or (entry.is_file() and not entry.is_symlink() and ".export." in path.name)
        for entry in path.iterdir()
    )


def is_export(folder: Path) -> bool:
    """Return whether `fitnets export` wrote all files of the folder."""
    return all(_is_file(entry, _EXPORT_NAME) for entry in folder.iterdir())


def is_mirrored_front(folder: Path) -> bool:
    """Return whether all of a study's `wandb` folder belongs to the W&B run of its front."""
    return (folder / layout.MIRRORED_FRONT).is_file() and not folder.is_symlink() and _is_wandb(folder)


def remove_ours(artifact: Path, kind: str) -> None:
    """Remove the entries of an artifact that are ours, and then the folder itself if it is empty."""
    for entry in artifact.iterdir():
        if not _is_ours(entry, kind):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if not any(artifact.iterdir()):
        artifact.rmdir()


def _is_ours(entry: Path, kind: str) -> bool:
    """Return whether fitnets made this entry of an artifact. Only runs contain folders, and the hidden entries of
    an export."""
    if _is_file(entry, _FILES[kind]):
        return True
    if kind != "run" or entry.is_symlink():
        return False
    is_hidden = layout.HIDDEN_NAME.fullmatch(entry.name) is not None
    if not entry.is_dir():
        return is_hidden and entry.is_file()
    match entry.name:
        case layout.WANDB:
            return _is_wandb(entry)
        case layout.EXPORT | layout.TENSORBOARD:
            return all(_is_file(path, _IN_FOLDER[entry.name]) for path in entry.iterdir())
        case _:
            return is_hidden and is_left_over(entry, kind)


def _is_file(entry: Path, names: re.Pattern[str]) -> bool:
    """Return whether the entry is a file of such a name, or the temporary file of a killed process."""
    is_named = names.fullmatch(entry.name) or layout.TEMPORARY_FILE_NAME.fullmatch(entry.name)
    return bool(is_named) and entry.is_file() and not entry.is_symlink()


def _is_stage(folder: Path) -> bool:
    """Return whether the folder holds the checkpoints of a training stage."""
    is_named = _STAGE_NAME.fullmatch(folder.name) is not None and folder.is_dir() and not folder.is_symlink()
    return is_named and all(_is_file(entry, layout.CHECKPOINT_NAME) for entry in folder.iterdir())


def _is_wandb(folder: Path) -> bool:
    return all(_WANDB_NAME.fullmatch(path.name) for path in folder.iterdir())
