"""W&B runs are read back from their files. A server that is unreachable, or becomes so, ends no run."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import RemoteDisconnected
from pathlib import Path
from ssl import SSLError
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import yaml
from optuna.trial import TrialState

from fitnets.experiment import pipeline
from fitnets.store.files import read_json, read_metrics
from fitnets.sweeper import trials
from fitnets.tracking import opening, wandb_mirror, wandb_server
from fitnets.tracking.tracker import NoTracking
from support.fake_wandb import FakeWandb, black_hole, closed_port, gateway, serving
from support.places import ROOT
from support.processes import cold, shell
from support.runs import TINY, Finished
from support.studies import DIED_TWICE, STUDY, opened
from support.wandb_files import only, read_back, records

WANDB = (*TINY[1:], "tracker=wandb", "engine.threads=1")
ONLINE = (*WANDB, "tracker.mode=online")


def named(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics.jsonl under the names that it has in W&B."""
    return {f"{row['stage']}/{name}": value for name, value in row.items() if name not in ("step", "stage", "timing")}


def without_test(result: dict[str, Any]) -> dict[str, Any]:
    """The result without test measures: a study evaluates its chosen trials on test after their runs have ended."""
    return {
        key: {name: item for name, item in part.items() if not name.startswith("test")}
        if isinstance(part, dict)
        else part
        for key, part in result.items()
    }


class TestARun:
    def test_the_offline_run_holds_what_the_run_directory_holds(self, command, tmp_path):
        finished = command(*WANDB, "tracker.group=study", "tracker.tags=[a,b]")
        assert finished.code == 0, finished.err
        directory = only(tmp_path / "store")
        logged = read_back(directory)
        rows = read_metrics(directory / "metrics.jsonl")
        assert len(rows) == 3
        assert logged["history"] == [named(row) for row in rows]
        assert logged["steps"] == [row["step"] for row in rows]
        assert logged["summary"] == read_json(directory / "result.json")
        assert logged["config"] == yaml.safe_load((directory / "config.yaml").read_text())
        assert (logged["run"].run_group, list(logged["run"].tags)) == ("study", ["a", "b"])
        assert (logged["exit_code"], logged["artifacts"]) == (0, [])
        assert "wandb" not in finished.out + finished.err

    def test_the_student_becomes_an_artifact_if_configured(self, command, tmp_path):
        assert command(*WANDB, "tracker.artifact=true", "student.name=any one").code == 0
        directory = only(tmp_path / "store")
        (artifact,) = read_back(directory)["artifacts"]
        assert (artifact.type, artifact.name) == ("model", f"any-one-{directory.name}")
        files = {entry.path: entry for entry in artifact.manifest.contents}
        assert sorted(files) == ["config.yaml", "result.json", "student.safetensors"]
        assert files["student.safetensors"].local_path == str(directory / "student.safetensors")  # no copy
        assert read_json(Path(files["result.json"].local_path)) == read_json(directory / "result.json")
        assert files["result.json"].local_path != str(
            directory / "result.json"
        )  # a copy, because result.json may change

    def test_disabled_starts_no_run(self, command, tmp_path, monkeypatch):
        monkeypatch.delattr(wandb_mirror, "_start")
        assert command(*WANDB, "tracker.mode=disabled", "tracker.artifact=true").code == 0
        assert not list((tmp_path / "store").rglob("wandb"))

    @pytest.mark.parametrize(
        ("word", "message"),
        [(f"tracker.tags=[{'x' * 65}]", "Tags must be between 1 and 64 char"), ("tracker.project=a/b", "found '/'")],
    )
    def test_invalid_labels_end_the_command_with_one_line(self, command, word, message):
        finished = command(*WANDB, word)
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert "tracker.mode=offline: W&B cannot start (" in finished.err
        assert message in finished.err

    def test_a_failed_job_ends_its_run_as_failed_and_the_next_job_has_its_own(self, command, tmp_path):
        finished = command("-m", *WANDB, "schedule.student.optimizer.lr=1e30,1e-3", "method=backprop")
        assert finished.code == 1
        assert "Traceback" not in finished.err
        codes = {}
        for directory in (tmp_path / "store" / "run").iterdir():
            result, logged = read_json(directory / "result.json"), read_back(directory)
            assert logged["summary"] == result
            codes[result["status"]] = logged["exit_code"]
        assert codes == {"diverged": 1, "finished": 0}

    def test_a_pruned_run_has_not_failed(self, tiny, tmp_path):
        from fitnets.errors import PrunedError

        config = tiny("tracker=wandb", f"store={tmp_path}")
        with pytest.raises(PrunedError), wandb_mirror.opened(config, tmp_path, "name", print):
            raise PrunedError("seen enough")
        assert read_back(tmp_path)["exit_code"] == 0


# --- a study ---

POISON = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
import run
from fitnets.composition import entry_point
from fitnets.experiment.run_log import RunLog
from fitnets.store import earlier_runs
from fitnets.store.files import read_metrics
from support.wandb_files import read_back
real = RunLog.append
def poisoned(self, row):
    real(self, row)
    width = earlier_runs.read_config(self.lock.directory / "config.yaml").student.width
    if row["stage"] != "student" or row["epoch"] < 1:
        return
    if width == 5:
        raise RuntimeError("boom")
    if width == 6 or (width == 7 and not Path("killed").exists()):
        Path("killed").touch() if width == 7 else None
        directory = self.lock.directory
        while len(read_back(directory, is_finished=False)["history"]) < len(read_metrics(directory / "metrics.jsonl")):
            time.sleep(0.1)  # W&B's service writes in a process of its own
        os.kill(os.getpid(), signal.SIGKILL)
RunLog.append = poisoned
sys.exit(entry_point.command_line(run.main))
"""


def test_a_study_with_one_failed_and_two_killed_trials(tmp_path):
    import wandb

    wandb.setup().ensure_service()  # its address is inherited by the processes of the study
    assert "WANDB_SERVICE" in os.environ
    script = tmp_path / "poisoned.py"
    script.write_text(POISON.format(root=str(ROOT)))
    words = [*STUDY, "tracker=wandb", "schedule.student.epochs=3", f"store={tmp_path / 'store'}"]
    words += ["student.depth=3", "student.width=range(4,8)", "hydra.sweeper.n_trials=4"]
    codes = []
    while not codes or codes[-1] == -signal.SIGKILL:
        finished = shell(str(script), *words, cwd=tmp_path)
        codes.append(finished.returncode)
        assert len(codes) < 6
    assert codes == [-signal.SIGKILL] * 3 + [0], finished.stderr
    store = tmp_path / "store"
    folder = store / "sweeps" / "depth_width-digits"
    study = opened(folder / "study.log")
    counted = trials.counted(study.trials)
    assert len(counted) == 4
    assert len(list(store.glob("*/*/wandb/*run-*/*.wandb"))) == 4 + 1
    exit_codes = {}
    for directory in (store / "run").glob("[!.]*"):
        logged, result = read_back(directory), read_json(directory / "result.json")
        width = logged["config"]["student"]["width"]
        (trial,) = (trial for trial in counted if trial.params["student.width"] == width)
        assert logged["run"].run_group == "depth_width-digits"
        assert list(logged["run"].tags) == [f"trial-{trial.number}"]
        assert logged["history"] == [named(row) for row in read_metrics(directory / "metrics.jsonl")]
        if trial.state == TrialState.COMPLETE:
            assert (result["status"], len(logged["history"])) == ("finished", 5)
        exit_codes[width] = logged["exit_code"]
        if logged["exit_code"] is not None:
            assert logged["summary"] == without_test(result)
    assert exit_codes == {4: 0, 5: 1, 6: None, 7: 0}
    failed = {
        trial.params["student.width"]: trials.reason(trial) for trial in counted if trial.state == TrialState.FAIL
    }
    assert failed == {5: "RuntimeError: boom", 6: DIED_TWICE}
    check_front(folder)


def check_front(folder: Path) -> None:
    """Check that the front in W&B equals that in front.json."""
    front = read_json(folder / "front.json")["front"]
    logged = read_back(folder)
    assert (logged["run"].run_group, logged["run"].job_type, logged["exit_code"]) == ("depth_width-digits", "study", 0)
    (history,) = logged["history"]
    (file,) = folder.glob(f"wandb/offline-run-*/files/{history['front.path']}")
    table = read_json(file)
    named_rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    objectives = ("accuracy", "multiplications", "test_accuracy")
    assert named_rows == [
        {
            "trial": row["trial"],
            **row["params"],
            **{name: row[name] for name in objectives},
            "runs": " ".join(row["runs"]),
        }
        for row in front
    ]
    assert logged["plots"]["front_plot"]["panel_config"]["fieldSettings"] == {"x": "multiplications", "y": "accuracy"}
    assert {"front.path", "front_plot_table.path"} <= set(logged["summary"])  # W&B's panels read them there


def test_a_study_logs_a_front_once(command, tmp_path):
    words = [*STUDY, "tracker=wandb", "tracker.group=mine"]
    words += ["student.depth=3", "student.width=4,5", "hydra.sweeper.n_trials=1", "hydra.sweeper.objectives=[accuracy]"]
    folder = tmp_path / "store" / "sweeps" / "depth_width-digits"
    assert command(*words).code == 0
    (first,) = folder.glob("wandb/offline-run-*")
    assert command(*words).code == 0
    assert list(folder.glob("wandb/offline-run-*")) == [first]
    logged = read_back(folder)
    assert logged["run"].run_group == read_back(only(tmp_path / "store"))["run"].run_group == "mine"
    assert logged["plots"]["front_plot"]["panel_config"]["fieldSettings"] == {"x": "trial", "y": "accuracy"}
    assert command(*words, "hydra.sweeper.n_trials=2").code == 0
    (second,) = folder.glob("wandb/offline-run-*")
    assert second != first
    assert command(*words, "hydra.sweeper.n_trials=2", "tracker.mode=disabled").code == 0


# --- endpoints ---


@pytest.mark.parametrize(
    ("error", "responds"),
    [
        (HTTPError("url", 401, "Unauthorized", Message(), None), True),
        (HTTPError("url", 404, "Not Found", Message(), None), False),
        (HTTPError("url", 503, "Unavailable", Message(), None), False),
        (URLError(SSLError("certificate verify failed")), True),
        (URLError(ConnectionRefusedError()), False),
        (URLError(socket.gaierror()), False),
        (RemoteDisconnected(), False),
        (TimeoutError(), False),
    ],
    ids=repr,
)
def test_responds_tells_a_refusing_server_from_a_missing_one(monkeypatch, error, responds):
    def urlopen(*_positional, **_named):
        raise error

    monkeypatch.setattr(wandb_server, "urlopen", urlopen)
    server = SimpleNamespace(base_url="http://server", http_proxy=None, https_proxy=None)
    assert wandb_server.responds(server) == responds
    assert wandb_server.responds(SimpleNamespace(**vars(server) | {"https_proxy": "http://proxy"}))


class Endpoint:
    """The server that W&B uses in this process, with short time limits.

    waits: seconds that the starts and ends of W&B runs took"""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.patch = patch
        self.waits: list[float] = []
        patch.setenv("WANDB_API_KEY", "a" * 40)
        patch.setattr(wandb_server, "ANSWER_S", 1.0)
        for name, seconds in (("INIT_S", 1.5), ("FINISH_S", 1.5)):
            patch.setattr(wandb_mirror, name, seconds)
        tracker = wandb_mirror._WandbTracker
        for owner, name in ((wandb_mirror, "_start"), (tracker, "keep_student"), (tracker, "finish")):
            patch.setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*positional, **by_name):
            started = time.monotonic()
            try:
                return real(*positional, **by_name)
            finally:
                self.waits.append(time.monotonic() - started)

        return call

    def ask(self, url: str, before_log: Callable[[], None] = lambda: None) -> None:
        """Let W&B use the server. before_log: called before each epoch is logged"""

        def log(tracker, *positional):
            before_log()
            real(tracker, *positional)

        real = wandb_mirror._WandbTracker.log
        self.patch.setattr(wandb_mirror._WandbTracker, "log", log)
        self.patch.setenv("WANDB_BASE_URL", url)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    import wandb

    wandb.teardown()
    yield Endpoint(monkeypatch)
    wandb.teardown()


def check_whole(directory: Path, kind: str) -> None:
    """Check that the directory has one W&B run, whose file holds the whole run except test measures."""
    assert len(list(directory.glob("wandb/*run-*"))) == 1
    logged = read_back(directory, kind)
    assert without_test(logged["summary"]) == without_test(read_json(directory / "result.json"))
    assert logged["history"] == [named(row) for row in read_metrics(directory / "metrics.jsonl")]
    assert logged["exit_code"] == 0


def lines(finished: Finished) -> list[str]:
    """The printed lines about W&B."""
    return [line for line in (finished.out + finished.err).splitlines() if "W&B" in line or "wandb sync" in line]


class TestADeadEndpoint:
    @pytest.mark.parametrize(("kind", "limit_s"), [("closed port", 4), ("black hole", 5)])
    def test_a_study_continues_offline_and_says_so_once(self, command, tmp_path, endpoint, kind, limit_s):
        with {"closed port": closed_port, "black hole": black_hole}[kind]() as url:
            endpoint.ask(url)
            endpoint.patch.setattr(wandb_mirror, "INIT_S", 60)  # must not be waited for
            words = ["tracker=wandb", "tracker.mode=online", "student.depth=3", "student.width=4,5"]
            finished = command(*STUDY, *words, "hydra.sweeper.n_trials=2")
        assert finished.code == 0, finished.err
        (line,) = lines(finished)
        assert line == (
            f"W&B does not respond at {url}: this process continues offline; "
            f"later `wandb sync {tmp_path / 'store'}/*/*/wandb/offline-run-*`"
        )
        for directory in (tmp_path / "store" / "run").iterdir():
            check_whole(directory, "offline-run")
        check_front(tmp_path / "store" / "sweeps" / "depth_width-digits")
        assert len(list((tmp_path / "store").glob("*/*/wandb/offline-run-*"))) == 2 + 1  # as the line says
        assert sum(endpoint.waits) < limit_s

    @pytest.mark.parametrize("status", [404, 502])
    def test_a_gateway_without_wandb_counts_as_dead(self, command, tmp_path, endpoint, status):
        with gateway(status) as url:
            endpoint.ask(url)
            finished = command(*ONLINE)
        assert finished.code == 0, finished.err
        (line,) = lines(finished)
        assert line.startswith(f"W&B does not respond at {url}: this process continues offline")
        check_whole(only(tmp_path / "store"), "offline-run")

    def test_a_server_that_accepts_no_run_counts_as_dead(self, command, tmp_path, endpoint):
        with serving(silent_on=("UpsertBucket",)) as server:
            endpoint.ask(server.url)
            finished = command(*ONLINE)
        assert finished.code == 0, finished.err
        assert len(lines(finished)) == 1
        check_whole(only(tmp_path / "store"), "offline-run")
        assert sum(endpoint.waits) < 5

    @pytest.mark.parametrize("word", ["tracker.artifact=false", "tracker.artifact=true"])
    @pytest.mark.parametrize("end", [FakeWandb.fall_silent, FakeWandb.leave])
    def test_a_server_that_dies_during_a_run_ends_no_run(self, command, tmp_path, endpoint, end, word):
        with serving() as server:
            endpoint.ask(server.url, before_log=lambda: end(server))
            finished = command("-m", *ONLINE, "seed=0,1", "method=backprop", word)
        assert finished.code == 0, finished.err
        (line,) = lines(finished)
        (first,) = (tmp_path / "store").glob("run/*/wandb/run-*")
        assert f"later `wandb sync --include-online {first}`" in line
        check_whole(first.parent.parent, "run")
        (second,) = (tmp_path / "store").glob("run/*/wandb/offline-run-*")
        check_whole(second.parent.parent, "offline-run")
        assert sum(endpoint.waits) < 7

    @pytest.mark.timed
    def test_a_process_loses_less_than_half_a_minute(self, tmp_path):
        """The time limits are the defaults. The time until the process has ended counts."""
        took = {}
        for mode in ("offline", "online"):
            with serving(silent_on=("Viewer", "CreateRunFiles", "file_stream")) as server:
                words = (str(ROOT / "run.py"), *WANDB, f"tracker.mode={mode}", "tracker.artifact=true")
                started = time.monotonic()
                finished = cold(
                    *words, f"store={mode}", cwd=tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY="a" * 40
                )
                took[mode] = time.monotonic() - started
            assert finished.returncode == 0, finished.stderr
            assert finished.stderr == ""
        assert "wandb sync --include-online" in finished.stdout
        assert took["online"] - took["offline"] < 30

    def test_a_dead_wandb_service_ends_no_run(self, command, tmp_path, endpoint):
        from wandb.sdk import wandb_setup

        def kill() -> None:
            if not killed:
                killed.append(wandb_setup.singleton()._connection._proc._process)
                killed[0].kill()
                killed[0].wait()

        killed: list[subprocess.Popen[bytes]] = []
        endpoint.ask("http://127.0.0.1:1", before_log=kill)
        finished = command("-m", *WANDB, "seed=0,1", "method=backprop")
        assert finished.code == 0, finished.err
        assert len(lines(finished)) == 1
        assert "Traceback" not in finished.err
        codes = [read_back(run)["exit_code"] for run in (tmp_path / "store" / "run").iterdir() if has_run(run)]
        assert codes == [0]


def has_run(directory: Path) -> bool:
    """Return whether the W&B run has written a record."""
    (file,) = directory.glob("wandb/offline-run-*/run-*.wandb")
    return next(records(file), None) is not None


class TestALivingEndpoint:
    def test_receives_the_whole_run(self, command, tmp_path, endpoint, monkeypatch):
        monkeypatch.setattr(wandb_mirror, "FINISH_S", 20)
        monkeypatch.setattr(wandb_server, "ANSWER_S", 10)
        with serving() as server:
            endpoint.ask(server.url)
            finished = command(*ONLINE, "tracker.artifact=true")
        assert finished.code == 0, finished.err
        assert lines(finished) == []
        directory = only(tmp_path / "store")
        check_whole(directory, "run")
        history = server.bodies("/file_stream")
        for row in read_metrics(directory / "metrics.jsonl"):
            assert f"{row['stage']}/lr" in history
        assert '"exitcode":0' in history
        assert f'"artifactCollectionName":"thin-{directory.name}"' in server.bodies("CreateArtifact")

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_key_ends_the_command(self, command, endpoint, status):
        with serving(refusal=status) as server:
            endpoint.ask(server.url)
            finished = command(*ONLINE)
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert "tracker.mode=online: W&B cannot start" in finished.err
        assert "run `wandb login`, or give tracker.mode=offline" in finished.err

    def test_an_invalid_key_is_reported_even_if_the_server_is_dead(self, command, endpoint, monkeypatch):
        with closed_port() as url:
            endpoint.ask(url)
            monkeypatch.setenv("WANDB_API_KEY", "short")
            finished = command(*ONLINE)
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert "tracker.mode=online: W&B cannot start (WANDB_API_KEY invalid: " in finished.err


def test_a_signal_while_the_student_is_logged_leaves_the_run_finished(tiny, tmp_path, monkeypatch):
    @contextmanager
    def interrupted(*_):
        tracker = NoTracking()
        monkeypatch.setattr(tracker, "keep_student", lambda: signal.raise_signal(signal.SIGTERM))
        yield tracker

    monkeypatch.setattr(opening, "open_tracker", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(tiny(f"store={tmp_path}"))
    (result,) = tmp_path.glob("run/*/result.json")
    assert json.loads(result.read_text())["status"] == "finished"
    monkeypatch.undo()
    assert pipeline.run(tiny(f"store={tmp_path}"))["status"] == "finished"
