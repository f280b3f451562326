"""Seeded mistakes (`mistakes.py`). Each gives at most six lines without a traceback, never succeeds with another value
than the typed one, and writes no file outside of a store. The suite tries some of them; `make soak` tries 300."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fitnets import cli
from fitnets.composition import entry_point
from fitnets.config import Config
from fitnets.store import earlier_runs
from fitnets.sweeper import job
from support.mistakes import Mistake, make

IN_THE_SUITE, IN_ALL = 40, 300


@pytest.mark.parametrize(
    "number", [*range(IN_THE_SUITE), *(pytest.param(n, marks=pytest.mark.soak) for n in range(IN_THE_SUITE, IN_ALL))]
)
def test_a_mistake_is_reported_or_harmless(number, earlier_run, tmp_path, monkeypatch, capfd):
    jobs: list[Config] = []
    monkeypatch.setattr(job, "run", jobs.append)  # nothing is trained
    here, files = tmp_path / "here", tmp_path / "files"
    here.mkdir()
    files.mkdir()
    mistake = make(number, earlier_run, files)
    mistake.makes()
    monkeypatch.chdir(here)
    earlier_runs.find_network.cache_clear()
    before = _tree(tmp_path)

    code, out, err = _called(mistake, monkeypatch, capfd)

    context = f"{mistake.kind}: {mistake.words}\n{err}"
    assert "Traceback" not in err + out, context
    assert len([line for line in err.splitlines() if line.strip()]) <= 6, context
    assert code in (0, 1, 2), context
    assert bool(code) == bool(err.strip()), context
    if mistake.must_fail:
        assert code, context
    assert not _outside(_tree(tmp_path) ^ before), context
    if code:
        return
    if mistake.key is not None:
        _check_text(mistake, jobs[-1])
    if mistake.program == "fitnets" and mistake.words[0] == "eval":
        reference = json.loads((earlier_run / "result.json").read_text())
        assert json.loads(out)["accuracy"] == pytest.approx(reference["student"]["test_accuracy"]), context


def _called(mistake: Mistake, monkeypatch: Any, capfd: Any) -> tuple[int, str, str]:
    import run

    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr("sys.argv", [mistake.program, *mistake.words])
    capfd.readouterr()
    try:
        code = cli.main() if mistake.program == "fitnets" else entry_point.command_line(run.main)
    except SystemExit as error:  # of argparse
        code = int(error.code or 0)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def _tree(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def _outside(paths: set[Path]) -> list[Path]:
    """Files that belong to no store."""
    return sorted(path for path in paths if "store" not in path.parts)


def _check_text(mistake: Mistake, config: Config) -> None:
    """The key has the text that was typed, or what Hydra's own notation in it stands for."""
    assert mistake.key is not None
    value: Any = config
    for part in mistake.key.split("."):
        value = getattr(value, part)
    has_notation = mistake.text[:1] in ("'", '"') or "\\" in mistake.text or "${" in mistake.text
    if not has_notation and mistake.text != "null":
        assert value in (mistake.text, os.path.expanduser(mistake.text))
