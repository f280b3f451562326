"""The whole of `run.py` in several processes: what it leaves, and what happens if one of them fails or is stopped."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from support import rank_hooks, studies
from support.groups import run, start
from support.runs import TINY, outcome, runs

TRACKED = tuple(word for word in TINY if word != "tracker=none")
LONG = (*TINY, "schedule.teacher.epochs=20", "schedule.teacher.dropout={input: 0.2, hidden: 0.5}")


def paths(store: Path) -> set[str]:
    """The paths of a store without the hashes of tables, which depend on a teacher's last digits."""
    found = (path.relative_to(store) for path in store.rglob("*") if path.is_file())
    names = {path.as_posix() for path in found if path.parts[0] not in ("cache", "digests")}
    return {name.split("offline-run-")[0] for name in names}


def tensors(store: Path) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {}
    for path in store.glob("[rht]*/*/*.safetensors"):
        with safe_open(path, "pt") as file:
            found[path.name] = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return found


def test_two_processes_leave_what_one_leaves_and_process_0_alone_writes(tmp_path):
    words = (*TRACKED, "engine.precision=bf16", "schedule.retrain_student=true", "hydra.mode=RUN")
    one, two = tmp_path / "one", tmp_path / "two"
    run(1, one, *words)
    first, second = run(2, two, *words, hook="audit")
    assert second.splitlines()[-1] == "imported:"
    assert paths(one) == paths(two)
    assert tensors(one) == tensors(two)
    assert len(list(two.glob("run/*/wandb/offline-run-*"))) == 1
    ((hash_of_one, alone),), ((hash_of_two, together),) = runs(one).items(), runs(two).items()
    assert hash_of_one == hash_of_two
    assert together["status"] == "finished"
    assert alone["stages"].keys() == together["stages"].keys()
    environment = json.loads((two / "run" / hash_of_two / "environment.json").read_text())
    assert environment["processes"] == 2
    assert "found, nothing was trained" in run(2, two, *words)[0]
    assert not list(two.glob("*/.*"))  # no locks, checkpoints or half-made folders


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run of two processes that nothing interrupted."""
    store = tmp_path_factory.mktemp("whole") / "store"
    run(2, store, *LONG)
    return store


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            "fail",
            "rank 1 of 2 on {host}: ValueError: made up (rank_hooks.py, line {line}): the same command resumes from "
            "the last checkpoint",
        ),
        ("die", "rank 1 of 2 on {host} has died without a message: the same command resumes from the last checkpoint"),
    ],
)
def test_a_process_that_fails_or_dies_ends_the_run_which_resumes(tmp_path, whole, hook, message):
    words = (*LONG, "engine.checkpoint_seconds=0.01")
    first, second = start(2, tmp_path / "store", *words, hook=hook)
    assert first.wait(60) == 1
    assert second.wait(60) in (1, -signal.SIGKILL)
    expected = message.format(host=os.uname().nodename, line=rank_hooks.fail.__code__.co_firstlineno + 1)
    assert first.log.read_text().splitlines()[-1] == expected
    assert "Traceback" not in first.log.read_text() + second.log.read_text()
    ((_, result),) = runs(tmp_path / "store").items()
    assert (result["status"], result["error"]) == ("failed", expected)
    refused = start(1, tmp_path / "store", *words)[0]
    assert refused.wait(60) == 1
    assert "processes=2" in refused.log.read_text()
    assert "resuming it with processes=1" in refused.log.read_text()
    assert "the teacher stage resumes from a checkpoint" in run(2, tmp_path / "store", *words)[0]
    assert outcome(tmp_path / "store") == outcome(whole)


def test_the_others_leave_when_process_0_has_died(tmp_path):
    first, second = start(2, tmp_path / "store", *LONG, hook="die first")
    assert first.wait(60) == -signal.SIGKILL
    assert second.wait(60) == 1


def test_sigterm_writes_one_checkpoint_and_three_processes_resume_with_the_same_bits(tmp_path):
    stopped = start(3, tmp_path / "store", *LONG, hook="stop")
    assert [process.wait(60) for process in stopped] == [143, 143, 143]
    assert "stopped by SIGTERM: the same command resumes" in stopped[0].log.read_text()
    assert [process.log.read_text() for process in stopped[1:]] == ["", ""]
    assert len(list((tmp_path / "store").glob("teacher/.*.checkpoints/*/*"))) == 1
    run(3, tmp_path / "store", *LONG)
    run(3, tmp_path / "whole", *LONG)
    assert outcome(tmp_path / "store") == outcome(tmp_path / "whole")


def test_a_mistake_is_told_by_process_0_alone(tmp_path):
    first, second = start(2, tmp_path / "store", *TINY, "schedule.student.batch_size=1")
    assert [first.wait(60), second.wait(60)] == [1, 1]
    assert first.log.read_text() == ("schedule.student.batch_size=1 is less than the 2 processes: give at least 2\n")
    assert second.log.read_text() == ""


def test_a_study_goes_on_after_one_process_of_a_worker_has_died(tmp_path):
    words = (*studies.STUDY, *studies.SMALL_SPACE, "hydra.sweeper.n_trials=2")
    first, second = start(2, tmp_path / "store", *words, hook="die")
    assert [first.wait(60), second.wait(60)] == [1, -signal.SIGKILL]
    assert "has died without a message" in first.log.read_text()
    run(2, tmp_path / "store", *words)
    study = studies.opened(tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log")
    states = [trial.state.name for trial in study.trials if "stopped" not in trial.user_attrs]
    assert states == ["COMPLETE", "COMPLETE"]
    assert len(runs(tmp_path / "store")) == 2


@pytest.mark.soak
def test_runs_killed_at_random_moments_end_with_the_bits_of_one_that_was_not(tmp_path, whole):
    generator = random.Random(0)
    store, words = tmp_path / "store", (*LONG, "engine.checkpoint_seconds=0.02")
    kills = 0
    for _ in range(10):
        started = start(2, store, *words)
        time.sleep(generator.uniform(0, 3))
        victim = generator.choice(started)
        if victim.poll() is not None:
            break
        victim.send_signal(signal.SIGKILL)
        kills += 1
        if 0 in [process.wait(60) for process in started]:  # the other one had nothing left to do
            break
    run(2, store, *words)
    assert kills
    assert outcome(store) == outcome(whole)


def test_a_job_of_two_processes_is_one_worker_of_a_study(tmp_path):
    words = (
        *studies.STUDY,
        *studies.SMALL_SPACE,
        "hydra.sweeper.n_trials=2",
    )
    logs = run(2, tmp_path / "store", *words, hook="audit")
    assert logs[1].splitlines()[-1] == "imported:"
    assert logs[0].count("(2 of 2)") == 1
    assert len(runs(tmp_path / "store")) == 2
