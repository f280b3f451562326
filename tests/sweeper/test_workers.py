"""Studies survive dead workers, failing jobs and damaged storage."""

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
import torch
from conftest import ROOT, shell
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool
from studies import DIED_TWICE, STUDY, begin, ends, opened, params_of

from fitnets.config import measures
from fitnets.errors import ConfigError
from fitnets.store.directories import is_finished
from fitnets.sweeper import journal, storage, trials


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a running PostgreSQL server, from Debian's packages."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    as_user = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    port = str(random.randrange(20_000, 30_000))
    run = {"cwd": folder, "check": True, "capture_output": True}
    (password := folder / "password").write_text("secret")
    password.chmod(0o644)
    initdb = [*as_user, str(binaries[-1] / "initdb"), "-D", f"{folder}/data", "-U", "fitnets", "-A", "scram-sha-256"]
    subprocess.run([*initdb, f"--pwfile={password}"], **run)
    pg_ctl = [*as_user, str(binaries[-1] / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
    subprocess.run([*pg_ctl, "-o", f"-p {port} -k {folder} -c listen_addresses=127.0.0.1", "start"], **run)
    yield f"postgresql://fitnets:secret@127.0.0.1:{port}/postgres"
    subprocess.run([*pg_ctl, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "postgres"])
def test_three_workers_killed_at_random_lose_nothing_and_repeat_nothing(tmp_path, kind, request):
    n_trials, kills, store = 16, 6, tmp_path / "store"
    words = [
        *STUDY,
        f"hydra.sweeper.n_trials={n_trials}",
        "engine.checkpoint_seconds=0.05",
        "schedule.student.epochs=20",
    ]
    address: Path | str = store / "sweeps" / "depth_width-digits" / "study.log"
    if kind == "postgres":
        address = request.getfixturevalue("postgres")
        words.append(f"hydra.sweeper.storage={address}")
    seed = random.randrange(10**6)
    print(f"seed of the kills: {seed}")
    generator = random.Random(seed)
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    workers = [begin(store, log, *words) for log in logs]
    for _ in range(kills):
        time.sleep(generator.uniform(2, 7))
        number = generator.randrange(3)
        workers[number].send_signal(signal.SIGKILL)
        workers[number].wait()
        workers[number] = begin(store, logs[number], *words)
    codes = [worker.wait(240) for worker in workers]
    output = "".join(log.read_text() for log in logs)
    assert codes == [0, 0, 0], output
    study = opened(address)
    counted = trials.counted(study.trials)
    failed = [trial for trial in counted if trial.state != TrialState.COMPLETE]
    assert {trials.reason(trial) for trial in failed} <= {DIED_TWICE}, output
    assert 2 * len(failed) <= kills  # a trial fails only after two kills
    assert len(counted) == n_trials, ends(study)
    assert not [trial for trial in study.trials if not trial.state.is_finished()]
    assert len({str(trial.params) for trial in counted}) == n_trials
    for trial in counted:
        if trial not in failed:
            (run,) = trial.user_attrs["runs"]
            assert params_of(store / "run" / run) == trial.params
            assert is_finished(store / "run" / run)
            assert output.count(f"trial {trial.number} (") <= 1  # the worker may be killed before it prints the line
    proposed = [trial.params for trial in counted]
    assert all(params_of(run) in proposed for run in (store / "run").glob("[!.]*"))  # every run belongs to a trial
    assert len(list((store / "run").glob("[!.]*"))) <= n_trials  # nothing was trained twice
    assert len(list((store / "teacher").glob("[!.]*"))) == 1
    assert failed or not list(store.glob("*/.*"))


# --- how a job's outcome ends its trial ---

FAILING_JOBS = """
import os, signal, sys
sys.path.insert(0, {root!r})
import run
from fitnets.composition import entry_point
from fitnets.experiment import pipeline
real = pipeline.run
def failing(config, **named):
    match config.student.width:
        case 4: raise RuntimeError("boom\\nand more")
        case 5: sys.exit(3)
        case 6: raise MemoryError
        case 7: os.kill(os.getpid(), signal.SIGKILL)
        case 8:
            import dataclasses
            optimizer = dataclasses.replace(config.schedule.student.optimizer, lr=1e30)
            stage = dataclasses.replace(config.schedule.student, optimizer=optimizer, epochs=3)
            schedule = dataclasses.replace(config.schedule, student=stage)
            return real(dataclasses.replace(config, schedule=schedule), **named)
        case 9:
            result = real(config, **named)
            result["student"]["valid_accuracy"] = float("inf")
            return result
    return real(config, **named)
pipeline.run = failing
sys.exit(entry_point.command_line(run.main))
"""


def test_failing_trial_fails_alone_with_its_reason(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(FAILING_JOBS.format(root=str(ROOT)))
    words = [*STUDY, "student.depth=3", "student.width=range(4,12)", f"store={tmp_path / 'store'}"]
    words += ["hydra.sweeper.n_trials=8", "hydra.sweeper.max_failures=9"]
    codes = []
    while not codes or codes[-1] == -signal.SIGKILL:
        finished = shell(str(script), *words, cwd=tmp_path)
        codes.append(finished.returncode)
        assert len(codes) < 5
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0], finished.stderr
    study = opened(tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log")
    counted = {trial.params["student.width"]: trial for trial in trials.counted(study.trials)}
    failed = {width: trials.reason(trial) for width, trial in counted.items() if trial.state == TrialState.FAIL}
    assert sorted(counted) == list(range(4, 12))
    assert sorted(failed) == [4, 5, 6, 7, 8, 9]
    assert failed[4] == "RuntimeError: boom"
    assert failed[5] == "SystemExit: 3"
    assert failed[6].startswith("MemoryError")
    assert failed[7] == DIED_TWICE
    assert failed[8].startswith("the student stage diverged in epoch")
    assert failed[9].startswith("not finite: ")
    assert [counted[width].state for width in (10, 11)] == [TrialState.COMPLETE] * 2
    for width, reason in failed.items():
        assert f"trial {counted[width].number} failed: {reason}" in finished.stdout


def test_worker_stopped_by_sigterm_gives_its_trial_back(tmp_path):
    store, log = tmp_path / "store", tmp_path / "log"
    words = [*STUDY, "hydra.sweeper.n_trials=2", "schedule.student.epochs=2000"]
    worker = begin(store, log, *words)
    deadline = time.monotonic() + 60
    while not list(store.glob("run/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 143, log.read_text()
    assert "Traceback" not in log.read_text()
    study = opened(store / "sweeps" / "depth_width-digits" / "study.log")
    (stopped,) = (trial for trial in study.trials if "stopped" in trial.user_attrs)
    assert trials.to_retry(study.trials) == [stopped]
    assert trials.deaths(stopped) == 0


def test_worker_gives_up_after_three_failures_in_a_row(study, monkeypatch):
    def broken(*_positional, **_named):
        raise RuntimeError("no such thing")

    monkeypatch.setattr("fitnets.experiment.pipeline.run", broken)
    finished, opened_study = study("hydra.sweeper.max_failures=3")
    assert finished.code == 1
    assert finished.err.startswith(
        "study depth_width-digits: 3 trials failed in a row, the last one: RuntimeError: no such"
    )
    assert ends(opened_study).count("FAIL") == 3


def test_tensors_do_not_accumulate_over_trials(study, monkeypatch):
    live_tensors = []
    real = measures.of_result

    def count_and_sometimes_fail(result):
        gc.collect()
        live_tensors.append(sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects()))
        if len(live_tensors) % 3 == 0:
            raise RuntimeError("its frames hold tensors")
        return real(result)

    monkeypatch.setattr(measures, "of_result", count_and_sometimes_fail)
    finished, _ = study("hydra.sweeper.n_trials=8")
    assert finished.code == 0, finished.err
    assert max(live_tensors[4:8]) <= max(live_tensors[:4]) + 5, live_tensors


# --- the storage ---


@pytest.mark.filterwarnings("ignore:The value of `grace_period`")
def test_lock_of_a_dead_worker_is_broken_with_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(journal, "LOCK_GRACE_S", 1)
    storage.open_study("sweeps/study.log", "one", {"accuracy": "maximize"})
    (tmp_path / "sweeps" / "study.log.lock").symlink_to(tmp_path / "sweeps" / "study.log")
    started = time.monotonic()
    storage.open_study("sweeps/study.log", "two", {"accuracy": "maximize"})
    assert time.monotonic() - started < 10


class TestPostgres:
    def test_no_file_holds_the_password(self, postgres, study, tmp_path):
        finished, _ = study(
            f"hydra.sweeper.storage={postgres}",
            "hydra.sweeper.n_trials=1",
            "tracker=wandb",
            "hydra.sweeper.study_name=secretly",
            opens=False,
        )
        assert finished.code == 0, finished.err
        assert "secret@" not in finished.out + finished.err
        holding = [
            path for path in (tmp_path / "store").rglob("*") if path.is_file() and b":secret@" in path.read_bytes()
        ]
        assert holding == []

    def test_worker_without_a_heartbeat_is_found_from_any_host(self, postgres, monkeypatch):
        monkeypatch.setattr(storage, "HEARTBEAT_S", 1)
        monkeypatch.setattr(storage, "GRACE_S", 2)
        study = storage.open_study(postgres, "silent", {"accuracy": "maximize"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lively, silent = study.ask(), study.ask()
        for trial in (lively, silent):
            trial.set_user_attr("place", "elsewhere")
            trial.set_user_attr("worker", "elsewhere:1:id")
        with storage.sign_of_life(study, silent):
            pass
        with storage.sign_of_life(study, lively):
            time.sleep(4)
            storage.fail_silent_trials(study)
        assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING, TrialState.FAIL]
        assert [trial.number for trial in trials.to_retry(study.get_trials())] == [1]

    def test_wrong_password_is_reported_in_one_line(self, postgres):
        url = postgres.replace("secret", "guessed")
        with pytest.raises(ConfigError) as error:
            storage.open_study(url, "any", {"accuracy": "maximize"})
        assert "password authentication failed" in str(error.value)
        assert "guessed" not in str(error.value)
        assert len(str(error.value).splitlines()) == 1

    def test_study_with_other_objectives_is_refused(self, postgres):
        storage.open_study(postgres, "one", {"accuracy": "maximize"})
        with pytest.raises(ConfigError, match=r"this study has the objectives max. accuracy, not min. loss"):
            storage.open_study(postgres, "one", {"loss": "minimize"})

    def test_workers_that_create_the_tables_at_once_do_not_collide(self, postgres):
        code = (
            f"from fitnets.sweeper import storage; storage.open_study({postgres!r}, 'all', {{'accuracy': 'maximize'}})"
        )
        with sqlalchemy.create_engine(
            postgres, isolation_level="AUTOCOMMIT", poolclass=NullPool
        ).connect() as connection:
            connection.execute(sqlalchemy.text("CREATE DATABASE fresh"))
        code = code.replace("/postgres", "/fresh")
        processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
        assert [process.wait(60) for process in processes] == [0] * 4
