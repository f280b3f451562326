"""Artifacts that tests add to a store."""

import hashlib
from pathlib import Path

from fitnets.composition import loading
from fitnets.store import files


def hashed(name: str) -> str:
    """A name that an artifact could have: 16 hexadecimal digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def add_run(root: Path, name: str, *words: str, **result) -> Path:
    """Add the directory of an unfinished run. Its teacher has checkpoints and is used by no other run.

    words: overrides of its configuration
    result: entries of its `result.json`"""
    directory = root / "run" / hashed(name)
    directory.mkdir()
    hashes = {"data": "d", "teacher": hashed(f"teacher of {name}"), "hint": None, "run": directory.name}
    files.write_json(directory / "result.json", {"hashes": hashes, **result})
    files.write_config(directory / "config.yaml", loading.load([*words, f"store={root}"]))
    (root / "teacher" / f".{hashes['teacher']}.checkpoints" / "teacher").mkdir(parents=True)
    return directory
