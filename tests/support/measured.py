"""Sorts the test files, longest first, and measures with `--measure` where the time of the suite goes.

A worker of pytest-xdist takes one file after the other, so that what a file sets up is set up once. The files go out in
the order of `durations.json`, the longest first: at the end, no worker waits long for the other.
"""

import functools
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from fitnets.experiment import pipeline
from support.places import ROOT
from support.processes import Started

_DURATIONS = ROOT / "tests" / "durations.json"
_README = ROOT / "tests" / "README.md"
_HEADING = "## Where the time goes"
_KINDS: dict[str, list[tuple[object, str]]] = {
    "waiting for processes": [(Started, "wait"), (subprocess.Popen, "wait"), (subprocess.Popen, "communicate")],
    "composing": [(ConfigLoaderImpl, "load_configuration")],
    "training": [(pipeline, "fit")],
    "exporting": [(torch.onnx, "export")],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", action="store_true", help="write durations.json and the table in tests/README.md")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("measure"):
        config.pluginmanager.register(_Stopwatch(), "stopwatch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files, longest first. A file that was not measured yet goes first."""
    seconds = json.loads(_DURATIONS.read_text()) if _DURATIONS.exists() else {}
    items.sort(key=lambda item: -seconds.get(_file(item.nodeid), float("inf")))


def _file(nodeid: str) -> str:
    return nodeid.split("::")[0]


class _Stopwatch:
    """Measures each test where it runs, and adds the measurements up in the process that started the workers."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()  # seconds of the test that runs, by kind of work
        self._files: dict[str, Counter[str]] = {}
        for kind, functions in _KINDS.items():
            for owner, name in functions:
                setattr(owner, name, self._timed(kind, getattr(owner, name)))

    def _timed(self, kind: str, function: Callable) -> Callable:
        depth = 0

        @functools.wraps(function)
        def timed(*arguments: object, **options: object) -> object:
            nonlocal depth
            depth += 1
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                depth -= 1
                if depth == 0:
                    self._spent[kind] += time.perf_counter() - start

        return timed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        self._spent.clear()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if call.when == "teardown":
            report.user_properties.append(("spent", dict(self._spent)))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        of_file = self._files.setdefault(_file(report.nodeid), Counter())
        of_file["seconds"] += report.duration
        if report.when == "teardown":
            of_file["tests"] += 1
            of_file.update(dict(report.user_properties).get("spent", {}))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            _DURATIONS.write_text(_as_json(self._files))
            before, _, _ = _README.read_text().partition(_HEADING)
            _README.write_text(f"{before}{_HEADING}\n\n{_table(self._files)}")


def _as_json(files: dict[str, Counter[str]]) -> str:
    ordered = sorted(files, key=lambda name: -files[name]["seconds"])
    return json.dumps({name: round(files[name]["seconds"], 1) for name in ordered}, indent=1) + "\n"


def _table(files: dict[str, Counter[str]]) -> str:
    """Return a table in Markdown: the folders, the sum, and the ten longest files."""
    folders: dict[str, Counter[str]] = {}
    for name, spent in files.items():
        folders.setdefault(str(Path(name).parent.relative_to("tests")), Counter()).update(spent)
    everything = sum(files.values(), Counter())
    rows = [
        "Seconds of all workers together, written by `make test ARGS=--measure`. What the last columns do not have is",
        "other work of the test process itself.",
        "",
        "| | tests | s | " + " | ".join(f"{kind}, s" for kind in _KINDS) + " |",
        "|---" * (3 + len(_KINDS)) + "|",
    ]

    def add(name: str, spent: Counter[str]) -> None:
        numbers = [f"{spent['tests']:.0f}", *(f"{spent[kind]:.1f}" for kind in ("seconds", *_KINDS))]
        rows.append(f"| {name} | " + " | ".join(numbers) + " |")

    for name in sorted(folders, key=lambda name: -folders[name]["seconds"]):
        add("the other files" if name == "." else f"`{name}/`", folders[name])
    add("**all**", everything)
    for name in sorted(files, key=lambda name: -files[name]["seconds"])[:10]:
        add(f"`{Path(name).relative_to('tests')}`", files[name])
    return "\n".join(rows) + "\n"
