"""Studies survive dead workers, failing jobs and damaged storage."""

import gc
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
import torch
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from fitnets.config import measures
from fitnets.errors import ConfigError
from fitnets.store.directories import is_finished
from fitnets.sweeper import journal, storage, trials
from support.places import ROOT
from support.processes import Started, shell
from support.studies import DIED_TWICE, STUDY, begin, ends, opened, params_of


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


class Workers:
    """Processes that work on the same study, and the checks of what they leave."""

    def __init__(self, count: int, script: Path, folder: Path, postgres: str | None, n_trials: int, *words: str):
        self._script = script
        self.store, self.n_trials, self.kills = folder / "store", n_trials, 0
        self.address: Path | str = postgres or self.store / "sweeps" / "depth_width-digits" / "study.log"
        storage_word = [f"hydra.sweeper.storage={postgres}"] if postgres else []
        self._words = [*STUDY, *storage_word, f"hydra.sweeper.n_trials={n_trials}", *words]
        self._logs = [folder / f"{number}.log" for number in range(count)]
        self._processes = [self._begin(log) for log in self._logs]

    def _begin(self, log: Path) -> Started:
        return begin(self.store, log, *self._words, script=self._script)

    @property
    def output(self) -> str:
        return "".join(log.read_text() for log in self._logs)

    def replace(self, number: int) -> None:
        """SIGKILL a worker, and start another one in its place."""
        if self._processes[number].poll() is None:
            self._processes[number].send_signal(signal.SIGKILL)
        self._processes[number].wait()
        self._processes[number] = self._begin(self._logs[number])
        self.kills += 1

    def wait(self) -> None:
        """Wait until all have ended. Each one that was killed has a successor."""
        codes = [process.wait(240) for process in self._processes]
        while -signal.SIGKILL in codes:
            number = codes.index(-signal.SIGKILL)
            self.kills += 1
            self._processes[number] = self._begin(self._logs[number])
            codes[number] = self._processes[number].wait(240)
        assert set(codes) == {0}, self.output

    def check(self) -> None:
        """No trial may be lost and none made twice."""
        study = opened(self.address)
        counted = trials.counted(study.trials)
        failed = [trial for trial in counted if trial.state != TrialState.COMPLETE]
        assert {trials.reason(trial) for trial in failed} <= {DIED_TWICE}, self.output
        assert 2 * len(failed) <= self.kills  # a trial fails only after two kills
        assert len(counted) == self.n_trials, ends(study)
        assert not [trial for trial in study.trials if not trial.state.is_finished()]
        assert len({str(trial.params) for trial in counted}) == self.n_trials
        for trial in counted:
            if trial not in failed:
                (run,) = trial.user_attrs["runs"]
                assert params_of(self.store / "run" / run) == trial.params
                assert is_finished(self.store / "run" / run)
                assert self.output.count(f"trial {trial.number} (") <= 1  # a worker may be killed before it prints it
        proposed = [trial.params for trial in counted]
        runs = list((self.store / "run").glob("[!.]*"))
        assert all(params_of(run) in proposed for run in runs)  # every run belongs to a trial
        assert len(runs) <= self.n_trials  # nothing was trained twice
        assert len(list((self.store / "teacher").glob("[!.]*"))) == 1
        assert failed or not list(self.store.glob("*/.*"))


@pytest.fixture
def at_postgres(request: pytest.FixtureRequest) -> str | None:
    """The URL of the server, or None for a journal file."""
    return request.getfixturevalue("postgres") if request.param == "postgres" else None


KILLED_IN_BOTH_STAGES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import run
from fitnets.composition import entry_point
from fitnets.experiment.run_log import RunLog
from fitnets.store import locks
from fitnets.sweeper import worker
locks._LOOK_S = locks._POLL_S = worker._POLL_S = 0.1  # wait for each other without long naps
real = RunLog.append
def append_and_die(self, row):
    real(self, row)
    if row["stage"] in ("teacher", "student") and row["epoch"] == 1:
        try:
            Path("died in stage " + row["stage"]).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
RunLog.append = append_and_die
sys.exit(entry_point.command_line(run.main))
"""


@pytest.mark.parametrize("at_postgres", ["journal", "postgres"], indirect=True)
def test_workers_killed_while_they_train_lose_nothing_and_repeat_nothing(tmp_path, at_postgres):
    """One is killed while it trains the teacher, for which the other waits, and one while it trains a student."""
    (script := tmp_path / "killed.py").write_text(KILLED_IN_BOTH_STAGES.format(root=str(ROOT)))
    words = ("schedule.teacher.epochs=3", "schedule.student.epochs=3", "student.depth=3,4", "student.width=4,5,6")
    workers = Workers(2, script, tmp_path, at_postgres, 3, "engine.checkpoint_seconds=0.001", *words)
    workers.wait()
    assert workers.kills == 2
    workers.check()


@pytest.mark.soak
@pytest.mark.parametrize("at_postgres", ["journal", "postgres"], indirect=True)
def test_workers_killed_at_random_lose_nothing_and_repeat_nothing(tmp_path, at_postgres):
    seed = random.randrange(10**6)
    print(f"seed of the kills: {seed}")
    generator = random.Random(seed)
    words = ("engine.checkpoint_seconds=0.05", "schedule.student.epochs=20")
    workers = Workers(3, ROOT / "run.py", tmp_path, at_postgres, 16, *words)
    for _ in range(6):
        time.sleep(generator.uniform(1, 5))
        workers.replace(generator.randrange(3))
    workers.wait()
    workers.check()


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

    def test_workers_that_create_the_tables_at_once_do_not_collide(self, postgres, tmp_path):
        code = (
            f"from fitnets.sweeper import storage; storage.open_study({postgres!r}, 'all', {{'accuracy': 'maximize'}})"
        )
        with sqlalchemy.create_engine(
            postgres, isolation_level="AUTOCOMMIT", poolclass=NullPool
        ).connect() as connection:
            connection.execute(sqlalchemy.text("CREATE DATABASE fresh"))
        code = code.replace("/postgres", "/fresh")
        processes = [Started(["-c", code], ROOT, tmp_path / "log") for _ in range(4)]
        assert [process.wait(60) for process in processes] == [0] * 4
