"""A run that is killed at any of its writes resumes and ends with the same bits."""

import functools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fitnets.composition import loading
from fitnets.config import Config
from fitnets.console.terminal import Terminal
from fitnets.experiment import pipeline
from fitnets.store import inventory, locks
from support import crashes
from support.processes import in_fork
from support.runs import TINY, outcome

# all stages, a table of the teacher's outputs, retraining, dropout, augmentation, and a checkpoint after every update
RUN = (
    *TINY,
    *(f"schedule.{stage}.max_steps=2" for stage in ("teacher", "hint", "student")),
    "schedule.teacher.dropout={input: 0.2, hidden: 0.5}",
    "schedule.student.augmentation={flip: true, pad: 1}",
    "schedule.retrain_student=true",
    "engine.checkpoint_seconds=1e-9",
    "dataset.validation_images=200",
)


# terms with a memory bank, its constants, learnt variances and two embeddings; the teacher is not killed again
TERMS = (
    *TINY,
    *(f"schedule.{stage}.max_steps=2" for stage in ("teacher", "hint", "student")),
    "method=contrastive_kd",
    "+method.stages.student.terms.variational={}",
    "engine.checkpoint_seconds=1e-9",
    "dataset.validation_images=200",
)


@functools.cache
def config(words: tuple[str, ...]) -> Config:
    return loading.load([*words])


def run(store: Path, words: tuple[str, ...] = RUN) -> None:
    pipeline.run(replace(config(words), store=str(store)), terminal=Terminal(quiet=True))


def run_recorded(store: Path, states: Path) -> None:
    crashes.record(store, states)
    run(store)


def terms_recorded(store: Path, states: Path) -> None:
    crashes.record(store, states, "run")
    run(store, TERMS)


def run_killed(store: Path, number: int) -> None:
    crashes.kill(store, number)
    run(store)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A finished store, and what kills at each of its writes would have left."""
    root = tmp_path_factory.mktemp("crashes")
    assert in_fork(run_recorded, root / "store", root / "states", log=root / "log") == 0, (root / "log").read_text()
    return root / "store", sorted((root / "states").iterdir())


def contents(store: Path) -> dict[str, str | bytes]:
    """The files of a store. Names have no random part, and JSON and YAML files no content: they hold times."""
    return {
        re.sub(r"[0-9a-f]{32}", "RANDOM", path.relative_to(store).as_posix()): path.read_bytes()
        if path.suffix in (".npy", ".safetensors")
        else b""
        for path in store.rglob("*")
        if path.is_file()
    }


def test_every_write_of_a_run_is_seen(recorded):
    _, states = recorded
    kinds = {path.relative_to(state).parts[0] for state in states for path in state.iterdir()}
    assert kinds >= {"data", "teacher", "hint", "run"}
    assert len(states) > 100


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_killed_process_leaves_what_was_recorded(recorded, tmp_path, share):
    states = [path for path in recorded[1] if path.suffix != ".torn"]
    state = states[int(share * len(states))]
    assert in_fork(run_killed, tmp_path / "store", int(state.name), log=tmp_path / "log") == -9
    assert contents(tmp_path / "store") == contents(state)


@pytest.mark.usefixtures("_unmeasured")
@pytest.mark.parametrize("part", range(4))
def test_a_run_killed_at_any_write_ends_like_one_that_was_not(recorded, tmp_path, monkeypatch, part):
    monkeypatch.setattr(locks, "_UNSIGNED_S", 0.05)
    monkeypatch.setattr(locks, "_LOOK_S", 0.02)
    monkeypatch.setattr(locks, "_POLL_S", 0.01)
    store, states = recorded
    expected = outcome(store)
    for state in states[part::4]:
        resumed = Path(shutil.copytree(state, tmp_path / state.name, symlinks=True))
        run(resumed)
        assert outcome(resumed) == expected, state
        for left in inventory.unneeded(resumed):  # `fitnets clean`
            assert left.remove(), left
        assert not list(resumed.glob("*/.*")), state  # no checkpoints, locks, half-made folders
        shutil.rmtree(resumed)
    assert json.loads((store / "run" / expected[0] / "result.json").read_text())["status"] == "finished"


@pytest.mark.usefixtures("_unmeasured")
def test_a_run_with_terms_that_remember_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_UNSIGNED_S", 0.05)
    monkeypatch.setattr(locks, "_LOOK_S", 0.02)
    monkeypatch.setattr(locks, "_POLL_S", 0.01)
    log = tmp_path / "log"
    assert in_fork(terms_recorded, tmp_path / "store", tmp_path / "states", log=log) == 0, log.read_text()
    states = [path for path in sorted((tmp_path / "states").iterdir()) if list(path.glob("run/.*.checkpoints/*/*"))]
    assert len(states) > 5
    for state in states:
        run(state, TERMS)
        assert outcome(state) == outcome(tmp_path / "store"), state
