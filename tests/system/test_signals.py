"""Tests of stop signals, and of full memory and disks: no result is lost, and the message is short."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fitnets.console.terminal import Terminal
from fitnets.errors import DivergedError, LostLockError, PrunedError
from fitnets.experiment import pipeline
from fitnets.signals import Stopped, delay_signals, raise_signals
from fitnets.store import files
from fitnets.system import resources
from fitnets.training import loop
from fitnets.training.stages import Stage
from fitnets.training.state import TrainingState
from support.places import ROOT
from support.processes import start, wait_for
from support.runs import LONG, TINY, outcome, runs


def held_work(*, signals: int, error: Exception | None = None) -> list[str]:
    """Send this process signals while they are delayed; return which blocks ended, and the exception."""
    done = []
    try:
        with raise_signals():
            with delay_signals():
                for _ in range(signals):
                    signal.raise_signal(signal.SIGINT)
                if error is not None:
                    raise error
                done.append("held")
            done.append("after")
    except (Stopped, ValueError) as ended:
        done.append(type(ended).__name__)
    return done


class TestStopSignals:
    def test_a_signal_stops_only_a_block_that_listens(self):
        before = signal.getsignal(signal.SIGTERM)
        with raise_signals(), pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert stopped.value.exit_code == 143
        assert signal.getsignal(signal.SIGTERM) == before

    def test_a_first_signal_waits_for_the_end_of_the_held_block(self):
        done = held_work(signals=1)
        assert done == ["held", "Stopped"]
        with raise_signals(), delay_signals():
            pass  # a signal raises Stopped only once

    def test_a_second_signal_does_not_wait(self):
        assert held_work(signals=2) == ["Stopped"]

    @pytest.mark.parametrize("again", [delay_signals, raise_signals])
    def test_after_an_error_the_pending_signal_stops_the_next_block_once(self, again):
        assert held_work(signals=1, error=ValueError("wrong")) == ["ValueError"]
        with pytest.raises(Stopped, match="SIGINT"), again():
            pytest.fail("was not stopped")
        with raise_signals(), delay_signals():
            pass

    def test_a_second_signal_after_an_error_does_not_wait_for_the_next_block(self):
        with raise_signals():
            assert held_work(signals=1, error=ValueError("wrong")) == ["ValueError"]
            with pytest.raises(Stopped):
                signal.raise_signal(signal.SIGTERM)
        with raise_signals(), delay_signals():
            pass

    def test_other_threads_receive_no_signals(self):
        def work():
            with raise_signals(), delay_signals():
                done.append(True)

        done = []
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert done == [True]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a long run that nothing interrupted."""
    store = tmp_path_factory.mktemp("whole") / "store"
    assert start(store, *LONG).wait(120) == 0
    return store


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_writes_a_checkpoint_and_resumes_from_it(tmp_path, whole, number, code):
    process = start(tmp_path / "store", *LONG)  # with the default half minute between checkpoints
    wait_for(process, "teacher epoch  20/60")
    process.send_signal(number)
    assert process.wait(30) == code
    said = process.log.read_text()
    assert f"stopped by {number.name}: the same command resumes from the last checkpoint" in said
    assert "Traceback" not in said
    (directory,) = (tmp_path / "store" / "run").glob("[!.]*")
    assert files.read_json(directory / "result.json")["status"] == "stopped"
    assert not list((tmp_path / "store" / "teacher").glob(".*.partial-*"))
    again = start(tmp_path / "store", *LONG)
    assert again.wait(120) == 0
    place = again.log.read_text().split("the teacher stage resumes from a checkpoint, at epoch ")[1]
    assert int(place.split(",")[0]) > 20
    assert outcome(tmp_path / "store") == outcome(whole)


@pytest.mark.parametrize("place", ["an update", "the end of an epoch"])
def test_a_second_signal_interrupts_a_step_and_the_run_resumes_from_the_last_checkpoint(
    tmp_path, tiny, monkeypatch, place
):
    """No checkpoint has the half-done step that the second signal leaves."""
    owner, name = {
        "an update": (TrainingState, "finish_batch"),
        "the end of an epoch": (TrainingState, "finish_epoch"),
    }[place]
    real, calls = getattr(owner, name), []

    def torn(self, *positional):
        calls.append(True)
        if len(calls) == (9 if place == "an update" else 2):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return real(self, *positional)

    words = ["schedule.teacher.epochs=2", "engine.checkpoint_seconds=0.0001"]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, torn)
        with pytest.raises(Stopped):
            pipeline.run(tiny(*words, f"store={tmp_path / 'store'}"))
    pipeline.run(tiny(*words, f"store={tmp_path / 'store'}"))
    pipeline.run(tiny(*words, f"store={tmp_path / 'whole'}"))
    assert outcome(tmp_path / "store") == outcome(tmp_path / "whole")


def test_a_signal_interrupts_validation(tmp_path, tiny, monkeypatch, capfd):
    def validate(*_positional):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("was not stopped")

    with monkeypatch.context() as patched:
        patched.setattr(Stage, "validate", validate)
        with pytest.raises(Stopped):
            pipeline.run(
                tiny(f"store={tmp_path / 'store'}"), terminal=Terminal(quiet=True)
            )  # a quiet run estimates no times
    capfd.readouterr()
    pipeline.run(tiny(f"store={tmp_path / 'store'}"))
    assert "the teacher stage resumes from a checkpoint" in capfd.readouterr().out
    pipeline.run(tiny(f"store={tmp_path / 'whole'}"))
    assert outcome(tmp_path / "store") == outcome(tmp_path / "whole")


def test_a_signal_before_an_error_stops_the_next_run(tmp_path, tiny):
    """A study, for example, continues after a pruned trial."""

    def on_epoch(_row):
        signal.raise_signal(signal.SIGTERM)
        raise PrunedError("pruned")

    with raise_signals():
        with pytest.raises(PrunedError):
            pipeline.run(tiny(f"store={tmp_path}"), on_epoch=on_epoch)
        with pytest.raises(Stopped, match="SIGTERM"):
            pipeline.run(tiny(f"store={tmp_path}"))
    assert pipeline.run(tiny(f"store={tmp_path}"))["status"] == "finished"


class TestMemory:
    def test_a_network_that_exceeds_memory_gives_two_lines(self, command, tmp_path):
        finished = command(*TINY, "student.width=300000")
        assert finished.code == 1
        assert finished.err.startswith("out of memory: ")
        assert "give a smaller schedule.STAGE.batch_size" in finished.err
        assert len(finished.err.splitlines()) == 2

    def test_full_memory_in_training_leaves_a_failed_run_and_no_partial_files(self, command, tmp_path, monkeypatch):
        real, calls = Stage.step, []

        def too_much(stage, *positional):
            calls.append(stage.name)
            return real(stage, *positional) if calls.count("hint") < 8 else torch.empty(10**15)

        with monkeypatch.context() as patched:
            patched.setattr(Stage, "step", too_much)
            finished = command(*TINY)
        assert finished.code == 1
        assert finished.err.startswith("out of memory: ")
        ((_, result),) = runs(tmp_path / "store").items()
        assert result["status"] == "failed"
        assert not list((tmp_path / "store").glob("*/.*.partial-*"))
        assert command(*TINY).code == 0

    def test_other_errors_are_raised_unchanged(self, tmp_path):
        for error in (RuntimeError("shape"), OSError(13, "denied")):
            with pytest.raises(type(error), match=str(error.args[-1])), resources.short_errors(tmp_path):
                raise error


FULL_DISK = """
unshare -rm true || exit 77
exec unshare -rm bash -c '
mount -t tmpfs -o size=24m none {disk} || exit 77
{run} store={disk}/store > {disk}.first 2>&1 &
until grep -q "student epoch   3" {disk}.first; do sleep 0.05; kill -0 $! || exit 78; done
cat /dev/zero > {disk}/filler 2> /dev/null
wait $!; echo code $? >> {disk}.first
ls -a {disk}/store/run > {disk}.left
rm {disk}/filler
{run} store={disk}/store > {disk}.second 2>&1 || exit 79
cp -r {disk}/store {disk}.store
'
"""


def test_a_full_disk_loses_no_checkpoint_and_the_run_resumes_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    words = (*TINY, "schedule.student.epochs=20", "engine.checkpoint_seconds=0.01", "engine.threads=1")
    command = " ".join([sys.executable, str(ROOT / "run.py"), *(f'"{word}"' for word in words)])
    script = FULL_DISK.format(disk=disk, run=command)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"a small disk cannot be mounted on this machine: {done.stderr}")
    first = Path(f"{disk}.first").read_text()
    assert done.returncode == 0, first + done.stderr
    assert "no room left on the disk of store=" in first
    assert first.endswith("code 1\n")
    assert "Traceback" not in first
    left = Path(f"{disk}.left").read_text().split()
    assert any(name.endswith(".checkpoints") for name in left)
    assert not any(".partial-" in name for name in left)
    assert "the student stage resumes from a checkpoint" in Path(f"{disk}.second").read_text()
    whole = start(tmp_path / "whole", *words)
    assert whole.wait(120) == 0
    assert outcome(tmp_path / "disk.store") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("method", ["hints", "kd"])
@pytest.mark.parametrize("ending", ["nothing more", "SIGTERM", "divergence"])
def test_a_process_whose_lock_was_taken_over_writes_nothing_more(tmp_path, tiny, monkeypatch, method, ending):
    """After a long suspension, for example, the locks name another process, which has started the same run."""
    words = (f"store={tmp_path}", f"method={method}")
    pipeline.run(tiny(*words))
    real, steps = loop._step, []

    def step(state, *positional):
        real(state, *positional)
        steps.append(True)
        if len(steps) == 8:  # steps of the student
            taken.extend(take_over(tmp_path))
            if ending == "SIGTERM":
                signal.raise_signal(signal.SIGTERM)
            if ending == "divergence":
                raise DivergedError("not finite")

    taken: list[dict] = []
    monkeypatch.setattr(loop, "_step", step)
    with pytest.raises(LostLockError, match=r"process 1 on .* took over while this process was suspended"):
        pipeline.run(tiny(*words, "rerun=true"))
    (expected,), actual = taken, contents(tmp_path)
    assert {name for name in expected | actual if expected.get(name) != actual.get(name)} == set()


def take_over(root: Path) -> list[dict]:
    """Let another process take the locks and start the same run; return [the content of the store then]."""
    for path in root.glob("*/.*.lock"):
        theirs = path.with_suffix(".theirs")
        theirs.write_text(path.read_text().replace(str(os.getpid()), "1", 1))
        theirs.rename(path)
    (run,) = (root / "run").glob("[!.]*")
    shutil.rmtree(run)
    run.mkdir()
    files.write_json(run / "result.json", {"status": "running", "of": "the other process"})
    for path in root.glob("*/.*.checkpoints/*"):
        (path / "of the other process").touch()
    return [contents(root)]


def contents(root: Path) -> dict[str, bytes]:
    """Return the files of the store by name, without the partial folders, which belong to this process alone."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".partial-" not in str(path)
    }
