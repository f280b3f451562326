"""What in a store is ours. Nothing else is ever removed, and nobody else's file goes with what is.

A store has a marker file with a random name of its own. An artifact is ours by its name (16 hexadecimal digits) and by
its files: one foreign entry in it, or a link, and it stays.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from fitnets.system import permissions

KINDS = ("run", "hint", "teacher", "data", "cache")
MARKER = ".fitnets-store.json"
_HASH = re.compile(r"[0-9a-f]{16}")
_BESIDE = re.compile(r"\.([0-9a-f]{16}|export)\.(partial-[0-9a-f]{32}|checkpoints|lock|earlier)")
_UNFINISHED_FILE = re.compile(r"\.[\w.-]+\.[0-9a-f]{32}")
"""what `store.write` leaves when it is killed"""
_CHECKPOINT = re.compile(r"\d{8}\.checkpoint")
_STAGE = re.compile(r"[a-z_]+")
_WANDB = re.compile(r"(offline-)?run-\w+-\w+|latest-run|debug(-\w+)*\.log|told\.json|settings|cache|data|config")
_EXPORT = re.compile(r"student(-int8)?\.(onnx|pt2)|student\.onnx\.data|export\.json|card\.md")
_TRAINED = r"config\.yaml|environment\.json|metrics\.jsonl"
_FILES = {  # kind: (files of which one must be there, pattern of all its files)
    "run": ({"result.json", "config.yaml"}, re.compile(rf"result\.json|student\.safetensors|wandb\.json|{_TRAINED}")),
    "teacher": ({"teacher.safetensors"}, re.compile(rf"teacher\.(safetensors|json)|{_TRAINED}")),
    "hint": ({"hint.safetensors"}, re.compile(rf"\w+\.safetensors|hint\.json|{_TRAINED}")),
    "data": ({"meta.json", "fitted.safetensors"}, re.compile(r"(images|labels)\.npy|meta\.json|fitted\.safetensors")),
    "cache": ({"meta.json"}, re.compile(r"answers\.npy|meta\.json")),
}


# --- stores ---


def mark(root: Path) -> None:
    """Write the marker of a store that has none. Several processes may do so at once: the first one wins."""
    path = root / MARKER
    if path.exists():
        return
    content = {"store": uuid4().hex, "about": "results of fitnets; `fitnets clean` removes what no run here needs"}
    partial = path.with_name(f"{MARKER}.{uuid4().hex}")
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    try:
        os.link(partial, path)  # unlike a renaming, this never replaces another process's marker
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def marker(root: Path) -> str | None:
    """The random name of a store; None where it has no readable marker."""
    try:
        return str(json.loads((root / MARKER).read_text(encoding="utf-8"))["store"])
    except (*permissions.DAMAGE, KeyError, TypeError):
        return None


def is_store(root: Path) -> bool:
    """Whether the folder has a marker or, as a store of earlier versions, an artifact of ours."""
    return marker(root) is not None or any(
        stranger(path, kind) is None for kind in KINDS for path in artifacts_of(root / kind)
    )


# --- artifacts ---


def artifacts_of(folder: Path) -> Iterator[Path]:
    """Entries of `run`, `teacher` and the like that are called as artifacts are, in no order. A folder that is a link
    belongs to another store, and has none."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if _HASH.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield path


def beside(folder: Path, kinds: tuple[str, ...] = ("partial", "checkpoints")) -> Iterator[tuple[Path, Path]]:
    """(artifact, what a process left beside it) for the entries of a folder that are called so."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        named = _BESIDE.fullmatch(path.name)
        if named and named[2].split("-")[0] in kinds and not path.is_symlink():
            yield path.with_name(named[1]), path


def stranger(artifact: Path, kind: str) -> str | None:
    """Why an artifact of this kind must stay: the first entry in it that is not ours, or that it lacks what makes it an
    artifact. None: all of it is ours."""
    required, _ = _FILES[kind]
    try:
        names = {entry.name for entry in artifact.iterdir()}
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not names & required:
        return "it has none of the files that make it ours"
    return next((f"it holds {entry.name}, which is not ours" for entry in strangers(artifact, kind)), None)


def strangers(artifact: Path, kind: str) -> list[Path]:
    """Entries of an artifact that are not ours."""
    return [entry for entry in sorted(artifact.iterdir()) if not _is_ours(entry, kind)]


def is_left_over(path: Path, kind: str) -> bool:
    """Whether all of a half-made or checkpoint folder is ours."""
    if path.is_symlink() or not path.is_dir():
        return False
    if path.name.endswith(".checkpoints"):
        return all(_is_stage(stage) for stage in path.iterdir())
    return all(
        _is_ours(entry, kind) or (entry.is_file() and not entry.is_symlink() and ".export." in path.name)
        for entry in path.iterdir()
    )


def is_export(folder: Path) -> bool:
    """Whether all of an exported folder was written by an export."""
    return all(_is_file(entry, _EXPORT) for entry in folder.iterdir())


def is_mirrored_front(folder: Path) -> bool:
    """Whether all of a `wandb` folder is what a study wrote of its front."""
    return (folder / "told.json").is_file() and not folder.is_symlink() and _is_wandb(folder)


def _is_wandb(folder: Path) -> bool:
    return all(_WANDB.fullmatch(path.name) for path in folder.iterdir())


def _is_ours(entry: Path, kind: str) -> bool:
    if _is_file(entry, _FILES[kind][1]):
        return True
    if kind != "run" or entry.is_symlink() or not entry.is_dir():
        return kind == "run" and bool(_BESIDE.fullmatch(entry.name)) and entry.is_file() and not entry.is_symlink()
    match entry.name:
        case "wandb":
            return _is_wandb(entry)
        case "export":
            return is_export(entry)
        case _:
            return bool(_BESIDE.fullmatch(entry.name)) and is_left_over(entry, kind)


def _is_file(entry: Path, names: re.Pattern[str]) -> bool:
    is_named = names.fullmatch(entry.name) or _UNFINISHED_FILE.fullmatch(entry.name)
    return bool(is_named) and entry.is_file() and not entry.is_symlink()


def _is_stage(folder: Path) -> bool:
    is_named = _STAGE.fullmatch(folder.name) is not None and folder.is_dir() and not folder.is_symlink()
    return is_named and all(_is_file(entry, _CHECKPOINT) for entry in folder.iterdir())


def remove_ours(artifact: Path, kind: str) -> None:
    """Remove what is ours in an artifact, and the folder itself if nothing else is in it."""
    for entry in artifact.iterdir():
        if not _is_ours(entry, kind):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if not any(artifact.iterdir()):
        artifact.rmdir()
