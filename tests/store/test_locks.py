"""An artifact is trained once: later commands load it, and processes at the same time wait for it."""

import os
import signal
import time
from contextlib import nullcontext

import pytest

from fitnets.errors import DivergedError
from fitnets.store import locks
from fitnets.training import loop
from support.processes import start, wait_for
from support.runs import LONG, TINY, runs, without_timing


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The names of the trained stages: one entry for each epoch."""
    names: list[str] = []
    real = loop.fit

    def spy(objective, *positional, **named):
        fitted = real(objective, *positional, **named)
        names.extend([objective.name] * fitted.epochs)
        return fitted

    monkeypatch.setattr("fitnets.experiment.pipeline.fit", spy)
    return names


class TestTheSameCommandAgain:
    def test_returns_the_stored_result_without_training(self, command, tmp_path, trained):
        assert command(*TINY).code == 0
        (directory,) = (tmp_path / "store" / "run").iterdir()
        before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}
        trained.clear()
        again = command(*TINY)
        assert (again.code, trained) == (0, [])
        assert f"found, nothing was trained (rerun=true trains it again); files in {directory}" in again.out
        assert "validation accuracy" in again.out
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()} == before

    def test_rerun_trains_stage_1_and_the_student(self, command, trained_store, trained):
        ((_, first),) = runs(trained_store).items()
        assert command(*TINY, "rerun=true").code == 0
        assert trained == ["hint", "student"]
        ((_, second),) = runs(trained_store).items()
        assert without_timing(first) == without_timing(second)

    def test_adds_missing_test_measures_to_a_run(self, command, tmp_path, trained):
        assert command(*TINY, "test=false").code == 0
        trained.clear()
        finished = command(*TINY)
        assert (finished.code, trained) == (0, [])
        assert "test accuracy" in finished.out
        assert command(*TINY, store=tmp_path / "other").code == 0
        ((_, added),), ((_, direct),) = (runs(tmp_path / name).items() for name in ("store", "other"))
        assert without_timing(added) == without_timing(direct)

    def test_trains_a_diverged_stage_again(self, command, tmp_path, trained):
        diverging = (*TINY, "schedule.student.optimizer.lr=1e30", "schedule.student.epochs=3")
        assert command(*diverging).code == 1
        trained.clear()
        assert command(*diverging).code == 1
        assert trained == []  # the diverging stage never ends; the teacher and stage 1 are loaded


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["schedule.kd.weight=2"], ["student"]),
        (["schedule.student.epochs=2"], ["student"] * 2),
        (["method=kd"], ["student"] * 2),  # the epochs of both stages
        (["schedule.hint.epochs=2"], ["hint"] * 2 + ["student"]),
        (["regressor=fc"], ["hint", "student"]),
        (["student.width=5"], ["hint", "student"]),
        (["seed=1"], ["hint", "student"]),
        (["tracker=wandb"], []),
        (["engine.threads=1"], []),
        (["teacher.seed=1"], ["teacher", "hint", "student"]),
    ],
    ids=lambda words: " ".join(words[:1]),
)
@pytest.mark.usefixtures("trained_store")
def test_a_change_trains_only_the_stages_it_affects(command, trained, words, again):
    finished = command(*TINY, *words)
    assert finished.code == 0, finished.err
    assert trained == again


@pytest.mark.parametrize("kind", ["teacher", "hint"])
def test_damaged_metrics_raise_with_the_way_out(command, trained_store, kind):
    (directory,) = (trained_store / kind).iterdir()
    path = directory / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    finished = command(*TINY, "schedule.student.epochs=2")
    assert finished.code == 1
    assert finished.err.startswith(f"{path} cannot be read")
    assert finished.err.endswith(f"remove {directory}, and it is made again\n")


def test_stage_1_is_stored_with_its_regressor(earlier_run):
    (directory,) = (earlier_run.parents[1] / "hint").iterdir()
    assert {path.name for path in directory.iterdir()} == {
        "config.yaml", "environment.json", "hint.json", "hint.safetensors", "metrics.jsonl", "regressor.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("error", [None, RuntimeError, DivergedError])
def test_a_lock_is_released_at_the_end_of_its_block(tmp_path, monkeypatch, error):
    monkeypatch.setattr(locks, "_wait", lambda lease: pytest.fail("this process waits for itself"))
    directory = tmp_path / "teacher" / "hash"
    for _ in range(2):
        with pytest.raises(error) if error else nullcontext(), locks.locked(directory, "the teacher", print):
            assert locks.is_locked(directory)
            if error:
                raise error("in the block")
        assert not locks.is_locked(directory)


def test_one_of_two_processes_trains_the_teacher_and_the_other_says_for_which_it_waits(tmp_path):
    processes = [start(tmp_path / "store", *LONG, f"method={method}") for method in ("kd", "backprop")]
    codes = [process.wait(120) for process in processes]
    outputs = [process.log.read_text() for process in processes]
    assert codes == [0, 0], outputs
    assert sorted("teacher epoch" in text for text in outputs) == [False, True]
    trainer = processes["teacher epoch" not in outputs[0]]
    waiting = outputs["teacher epoch" in outputs[0]]
    assert f"waiting for process {trainer.pid} on " in waiting
    assert "which makes the teacher" in waiting
    assert len(runs(tmp_path / "store")) == 2


def test_one_of_two_equal_commands_trains_and_the_other_loads(tmp_path):
    processes = [start(tmp_path / "store", *LONG) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    outputs = [process.log.read_text() for process in processes]
    assert sorted("student epoch" in text for text in outputs) == [False, True]
    assert sorted("found, nothing was trained" in text for text in outputs) == [False, True]


def test_a_waiting_process_takes_over_when_the_training_process_is_killed(tmp_path):
    root, words = tmp_path / "store", (*TINY, "schedule.teacher.epochs=300")
    first = start(root, *words, "method=kd")
    wait_for(first, "teacher epoch")
    second = start(root, *words, "method=backprop")
    wait_for(second, f"waiting for process {first.pid}")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert [path.name for path in (root / "teacher").iterdir() if ".partial-" in path.name]
    assert second.wait(120) == 0, second.log.read_text()
    assert "teacher epoch 300/300" in second.log.read_text()
    assert len(list((root / "teacher").iterdir())) == 1  # nothing that the dead process made is left
    again = start(root, *words, "method=kd")
    assert again.wait(120) == 0, again.log.read_text()
    assert "teacher epoch" not in again.log.read_text()


def test_a_lock_of_another_host_without_a_sign_of_life_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 1.0)
    directory, messages = tmp_path / "teacher" / "hash", []
    with locks.locked(directory, "the teacher", messages.append):
        lock_file = directory.with_name(".hash.lock")
        record = lock_file.read_text()
    lock_file.write_text(record.replace(f"host={os.uname().nodename}", "host=elsewhere"))
    started = time.monotonic()
    with locks.locked(directory, "the teacher", messages.append):
        assert 0.9 < time.monotonic() - started < 10
    assert len(messages) == 1
    assert "on elsewhere, which makes the teacher" in messages[0]
