"""Short names that tell the data sets, teachers and students of a store apart, from the runs' configurations."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from fitnets.config import short_names
from fitnets.store import layout

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def add(results: list[dict[str, Any]], directories: list[Path]) -> None:
    """Give each result its `names`: of the data set and of the teacher, and of a custom student what tells it from
    others as its options. A configuration is read once for all runs of the same data, teacher or student."""
    read = _Configs(directories)
    for result in results:
        result["names"] = {}
    data = _groups(results, lambda result: (result.get("dataset"), _hash(result, "data")))
    datasets = [(results[rows[0]].get("dataset"), read(rows[0], "dataset").get("path")) for rows in data]
    for rows, name in zip(data, short_names.datasets(datasets), strict=True):
        for row in rows:
            results[row]["names"]["data"] = name
    teachers = _groups(results, lambda result: (_name(result, "teacher"), _hash(result, "teacher_setting")))
    found = short_names.networks([_network(results, rows[0], "teacher", read) for rows in teachers])
    for rows, name in zip(teachers, found, strict=True):
        for row in rows:
            results[row]["names"]["teacher"] = name
    custom = [rows for rows in _groups(results, _custom_student) if _custom_student(results[rows[0]])]
    found = short_names.networks([_network(results, rows[0], "student", read) for rows in custom])
    for rows, name in zip(custom, found, strict=True):
        for row in rows:
            student = results[row]["student"]
            student["options"] = str(name).removeprefix(student["name"]).strip() or None


class _Configs:
    """Parts of the runs' `config.yaml`; an empty one where it cannot be read."""

    def __init__(self, directories: list[Path]):
        self.directories = directories
        self.known: dict[int, dict[str, Any]] = {}

    def __call__(self, row: int, part: str) -> dict[str, Any]:
        if row not in self.known:
            self.known[row] = _read(self.directories[row] / layout.CONFIG)
        found = self.known[row].get(part)
        return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8", errors="replace"), _LOADER)
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _groups(results: list[dict[str, Any]], key: Callable[[dict[str, Any]], Any]) -> Iterable[list[int]]:
    """The rows that have a key in common, in the order in which the keys come."""
    groups: dict[str, list[int]] = {}
    for row, result in enumerate(results):
        groups.setdefault(repr(key(result)), []).append(row)
    return list(groups.values())


def _hash(result: dict[str, Any], name: str) -> Any:
    hashes = result.get("hashes")
    return hashes.get(name) if isinstance(hashes, dict) else None


def _name(result: dict[str, Any], side: str) -> str | None:
    found = result.get(side)
    return str(found["name"]) if isinstance(found, dict) and found.get("name") is not None else None


def _custom_student(result: dict[str, Any]) -> tuple[str, Any] | None:
    """(name, setting) of a student that is called by an import path; None of others."""
    name = _name(result, "student")
    return (name, _hash(result, "setting")) if name is not None and ("." in name or name == "custom") else None


def _network(results: list[dict[str, Any]], row: int, side: str, read: _Configs) -> dict[str, Any] | None:
    """As the configuration has it, or as much as the result says."""
    name = _name(results[row], side)
    if name is None:
        return None
    options = results[row][side].get("options")
    return {"options": options if isinstance(options, dict) else {}} | read(row, side) | {"name": name}
