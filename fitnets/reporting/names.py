"""Short names for the data sets, teachers and students of a store, different where their configurations differ."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from fitnets.config import short_names
from fitnets.store import files


def add(results: list[dict[str, Any]], directories: list[Path]) -> None:
    """Add short names to each result.

    `names` gets the names of the data set and of the teacher. A custom student gets the options that distinguish it
    from other custom students. A configuration is read only once for all runs of the same data, teacher or student.

    results: contents of `result.json`, changed in place
    directories: the folder of each result, in the same order
    """
    read = _Configs(directories)
    for result in results:
        result["names"] = {}
    data = _groups(results, lambda result: (result.get("dataset"), _hash(result, "data")))
    datasets = [(results[rows[0]].get("dataset"), read(rows[0], "dataset").get("path")) for rows in data]
    for rows, name in zip(data, short_names.datasets(datasets), strict=True):
        for row in rows:
            results[row]["names"]["data"] = name
    teachers = _groups(results, lambda result: (_name(result, "teacher"), _hash(result, "teacher_setting")))
    teacher_names = short_names.networks([_network(results, rows[0], "teacher", read) for rows in teachers])
    for rows, name in zip(teachers, teacher_names, strict=True):
        for row in rows:
            results[row]["names"]["teacher"] = name
    custom = [rows for rows in _groups(results, _custom_student) if _custom_student(results[rows[0]])]
    student_names = short_names.networks([_network(results, rows[0], "student", read) for rows in custom])
    for rows, name in zip(custom, student_names, strict=True):
        for row in rows:
            student = results[row]["student"]
            student["options"] = str(name).removeprefix(student["name"]).strip() or None


class _Configs:
    """Sections of the runs' `config.yaml` files. A section that cannot be read is empty."""

    def __init__(self, directories: list[Path]):
        self.directories = directories
        self.loaded: dict[int, dict[str, Any]] = {}

    def __call__(self, row: int, section: str) -> dict[str, Any]:
        if row not in self.loaded:
            self.loaded[row] = _read(self.directories[row] / "config.yaml")
        content = self.loaded[row].get(section)
        return content if isinstance(content, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8", errors="replace"), files.YAML_LOADER)
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _groups(results: list[dict[str, Any]], key: Callable[[dict[str, Any]], Any]) -> Iterable[list[int]]:
    """Group the indices of the results by key, in the order in which the keys first occur."""
    groups: dict[str, list[int]] = {}
    for row, result in enumerate(results):
        groups.setdefault(repr(key(result)), []).append(row)
    return list(groups.values())


def _hash(result: dict[str, Any], name: str) -> Any:
    hashes = result.get("hashes")
    return hashes.get(name) if isinstance(hashes, dict) else None


def _name(result: dict[str, Any], side: str) -> str | None:
    network = result.get(side)
    return str(network["name"]) if isinstance(network, dict) and network.get("name") is not None else None


def _custom_student(result: dict[str, Any]) -> tuple[str, Any] | None:
    """Name and setting hash of a student that is named by an import path; None for built-in students."""
    name = _name(result, "student")
    return (name, _hash(result, "setting")) if name is not None and ("." in name or name == "custom") else None


def _network(results: list[dict[str, Any]], row: int, side: str, read: _Configs) -> dict[str, Any] | None:
    """The network's section of the configuration, or the name and options in the result if it cannot be read."""
    name = _name(results[row], side)
    if name is None:
        return None
    options = results[row][side].get("options")
    return {"options": options if isinstance(options, dict) else {}} | read(row, side) | {"name": name}
