"""A run that is killed at any moment resumes and ends with the same bits."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.experiment import pipeline, run_log
from fitnets.store.files import read_metrics
from fitnets.training import checkpoints
from fitnets.training.state import TrainingState
from fitnets.training.teacher_cache import TeacherCache
from support.processes import start
from support.runs import TINY, interrupted, outcome

# three stages and retraining, dropout in the teacher, augmentation, a checkpoint every 20 ms
RUN = (
    *TINY,
    "schedule.teacher.epochs=100",
    "schedule.teacher.dropout={input: 0.2, hidden: 0.5}",
    "schedule.hint.epochs=80",
    "schedule.student.epochs=100",
    "schedule.student.dropout.hidden=0.1",
    "schedule.student.augmentation={flip: true, pad: 1}",
    "schedule.retrain_student=true",
    "engine.checkpoint_seconds=0.02",
)


def killed(store: Path, kills: int, generator: random.Random) -> int:
    """Start the run repeatedly and SIGKILL it at random moments, until it ends by itself or was killed `kills` times;
    in the latter case start it once more and let it end. Returns the number of kills."""
    for number in range(kills):
        process = start(store, *RUN)
        if generator.random() < 0.8:  # kill it while it trains; else at any moment, also during start-up
            while "epoch" not in process.log.read_text() and process.poll() is None:
                time.sleep(0.05)
        try:
            process.wait(generator.uniform(0, 3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            assert process.returncode == 0, process.log.read_text()
            return number
    final = start(store, *RUN)
    assert final.wait(300) == 0, final.log.read_text()
    return kills


@pytest.mark.soak
def test_a_run_killed_at_100_random_moments_ends_like_one_that_was_not(tmp_path):
    kills = 100
    seed = random.randrange(10**6)
    print(f"seed of the moments: {seed}")  # pytest shows it if the test fails
    generator = random.Random(seed)
    whole = start(tmp_path / "whole", *RUN)
    assert whole.wait(300) == 0, whole.log.read_text()
    expected = outcome(tmp_path / "whole")
    rounds = 0
    while kills > 0:  # if a run ended before all kills were used, start another one
        store = tmp_path / f"killed{rounds}"
        kills -= killed(store, kills, generator)
        assert outcome(store) == expected
        assert not list(store.glob("*/.*"))  # no checkpoints, locks, half-made folders
        rounds += 1
    logs = "".join(path.read_text() for path in tmp_path.glob("killed*.log"))
    assert logs.count("stage resumes from a checkpoint") >= 5


class DamagedCheckpoints:
    """A folder with two checkpoints to damage, and the messages of loading them."""

    def __init__(self, folder: Path):
        self.messages: list[str] = []
        self.checkpoints = checkpoints.Checkpoints(folder, every_s=1, say=self.messages.append, check=lambda: None)
        for number in range(4):
            tensors = {"weights/conv1/weight": torch.full((7, 3), float(number)), "random/cpu": torch.get_rng_state()}
            self.checkpoints.save(tensors, {"epoch": number})
        self.older, self.newer = sorted(folder.iterdir())


class TestCheckpointFiles:
    def test_the_last_two_are_kept_and_the_newest_is_loaded(self, tmp_path):
        damaged = DamagedCheckpoints(tmp_path)
        tensors, facts = damaged.checkpoints.load()
        assert (facts, tensors["weights/conv1/weight"].unique().tolist()) == ({"epoch": 3}, [3.0])
        assert damaged.messages == []

    @pytest.mark.parametrize("kind", ["flip", "truncate"])
    def test_a_damaged_checkpoint_is_never_loaded_and_the_one_before_is_kept(self, tmp_path, kind):
        generator = random.Random(0)
        for number in range(50 if kind == "flip" else 10):
            damaged = DamagedCheckpoints(tmp_path / str(number))
            content = bytearray(damaged.newer.read_bytes())
            if kind == "flip":
                content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            else:
                del content[number * len(content) // 10 :]
            damaged.newer.write_bytes(content)
            _, facts = damaged.checkpoints.load()
            assert facts == {"epoch": 2}
            assert damaged.messages == [f"{damaged.newer} is damaged: resuming from the checkpoint before it"]
            assert damaged.older.exists()

    def test_two_damaged_checkpoints_load_as_none(self, tmp_path):
        damaged = DamagedCheckpoints(tmp_path)
        for path in (damaged.older, damaged.newer):
            path.write_bytes(b"")
        assert damaged.checkpoints.load() is None
        assert len(damaged.messages) == 2

    def test_a_full_disk_leaves_the_older_checkpoints(self, tmp_path, monkeypatch):
        damaged = DamagedCheckpoints(tmp_path)

        def full(*_positional):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            damaged.checkpoints.save({"a": torch.zeros(3)}, {"epoch": 4})
        monkeypatch.undo()
        assert damaged.checkpoints.load()[1] == {"epoch": 3}


def test_another_number_of_threads_is_refused_inside_a_stage(tmp_path, monkeypatch):
    command = interrupted(tmp_path, monkeypatch)
    with pytest.raises(
        ConfigError,
        match=r"started with engine.device=cpu engine.threads=1 .* resuming it with engine.device=cpu engine.threads=2",
    ):
        pipeline.run(loading.load([*command, "engine.threads=2"]))
    retrain = pipeline.run(loading.load([*command, "engine.threads=2", "rerun=true"]))
    assert retrain["status"] == "finished"


def test_a_damaged_checkpoint_is_reported_and_the_run_ends_with_the_same_result(tmp_path, monkeypatch, capfd):
    command = interrupted(tmp_path, monkeypatch)
    newest = max((tmp_path / "store").glob("run/.*.checkpoints/student/*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-1])
    capfd.readouterr()
    pipeline.run(loading.load(command))
    assert f"{newest} is damaged: resuming from the checkpoint before it" in capfd.readouterr().out.replace("\n", "")
    other = tmp_path / "other"
    pipeline.run(loading.load([*command, f"store={other}"]))
    assert outcome(tmp_path / "store") == outcome(other)


class TestSecondsOfAStage:
    def test_those_of_a_resumed_stage_count_all_processes(self, tmp_path, monkeypatch):
        real, steps = run_log.EpochObserver.on_step, []

        def slow(self):
            real(self)
            steps.append(self)
            if len(steps) == 21:  # in the student's stage
                time.sleep(0.5)

        with monkeypatch.context() as patched:
            patched.setattr(run_log.EpochObserver, "on_step", slow)
            command = interrupted(tmp_path, monkeypatch)
        started = time.perf_counter()
        result = pipeline.run(loading.load(command))
        wall_s = time.perf_counter() - started
        (*_, row) = read_metrics(tmp_path / "store" / "run" / result["hashes"]["run"] / "metrics.jsonl")
        assert row["timing"]["validation_seconds"] < 0.5 < row["timing"]["seconds"]
        assert row["timing"]["seconds"] < result["timing"]["stage_seconds"]["student"]
        assert result["timing"]["run_seconds"] > wall_s

    def test_those_of_the_teachers_outputs_are_told_apart(self, tmp_path, monkeypatch, capsys):
        """Tables are made before an epoch's updates: their time is the stage's, and not the epoch's."""
        real = TeacherCache._make

        def slow(self, *arguments):
            time.sleep(0.3)
            real(self, *arguments)

        monkeypatch.setattr(TeacherCache, "_make", slow)
        words = [*TINY, f"store={tmp_path}", "schedule.student.augmentation.pad=1", "schedule.student.epochs=3"]
        result = pipeline.run(loading.load([*words, "method=kd", "schedule.equal_epochs=false"]), terminal=Terminal())
        rows = read_metrics(tmp_path / "run" / result["hashes"]["run"] / "metrics.jsonl")
        timings = [row["timing"] for row in rows if row["stage"] == "student"]
        assert all(timing["teacher_seconds"] > 0.3 > timing["seconds"] for timing in timings)
        of_stage = result["timing"]["teacher_seconds"]["student"]
        assert of_stage == pytest.approx(sum(timing["teacher_seconds"] for timing in timings))
        assert of_stage < result["timing"]["stage_seconds"]["student"]
        assert result["timing"]["teacher_seconds"]["teacher"] == 0
        assert re.search(r"student epoch +3/3 .* s, after 0\.\d s for the teacher's outputs", capsys.readouterr().out)

    def test_a_checkpoint_of_an_older_version_has_none_and_is_resumed(self, tmp_path, monkeypatch):
        real = TrainingState.facts
        with monkeypatch.context() as patched:
            patched.setattr(
                TrainingState, "facts", lambda self: {k: v for k, v in real(self).items() if k != "elapsed_s"}
            )
            command = interrupted(tmp_path, monkeypatch)
        pipeline.run(loading.load(command))
        pipeline.run(loading.load([*command, f"store={tmp_path / 'other'}"]))
        assert outcome(tmp_path / "store") == outcome(tmp_path / "other")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_a_resumed_run_ends_like_one_that_was_not_stopped(tmp_path, monkeypatch, precision):
    command = interrupted(tmp_path, monkeypatch, "engine.device=cuda", f"engine.precision={precision}")
    pipeline.run(loading.load(command))
    pipeline.run(loading.load([*command, f"store={tmp_path / 'other'}"]))
    assert outcome(tmp_path / "store") == outcome(tmp_path / "other")
