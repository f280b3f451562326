"""Tests of home folders, personal settings, threads, locks of dead processes and the encoding of every text file."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import pytest

from fitnets import signals
from fitnets.reporting import page, runs
from fitnets.reporting.figures.trade_off import trade_off
from fitnets.store import inventory, layout, lock_owners, locks, ownership
from fitnets.system import process
from support.places import ROOT

SOURCES = sorted((ROOT / "fitnets").rglob("*.py"))


def prepared(script: str, cwd: Path, **variables: str) -> str:
    """Return what a script prints after `process.prepare`, in an environment without this user's variables."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    words = [sys.executable, "-c", f"import os, sys; from fitnets.system import process; process.prepare(); {script}"]
    environment = kept | {"PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment, timeout=60, check=True)
    return done.stdout.strip()


# --- waiting threads ---

WAITS = "print(*[os.environ.get(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')])"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "passive 1000 None"),
        ({"OMP_WAIT_POLICY": "active"}, "active None None"),
        ({"GOMP_SPINCOUNT": "7"}, "None 7 None"),
        ({"KMP_BLOCKTIME": "3"}, "None None 3"),
    ],
)
def test_waiting_threads_sleep_unless_the_user_sets_a_variable(variables, expected, tmp_path):
    assert prepared(WAITS, tmp_path, **variables) == expected


def test_entry_points_set_up_the_process_before_hydra_is_imported():
    for path, first in ((ROOT / "run.py", "process.prepare()"), (ROOT / "fitnets" / "cli.py", "process.run(_main")):
        text = path.read_text(encoding="utf-8")
        assert first in text
    text = (ROOT / "run.py").read_text(encoding="utf-8")
    assert text.index("process.prepare()") < text.index("import hydra")


# --- home folder ---


def test_a_user_without_home_gets_a_temporary_one(tmp_path):
    script = (
        "import pwd; pwd.getpwuid = lambda uid: {}[uid]; process._find_home(); "
        "print(os.environ['HOME'], os.environ['USER'], os.path.isdir(os.environ['HOME']))"
    )
    home, user, is_there = prepared(f"os.environ.pop('HOME', 0); {script}", tmp_path).split()
    assert (user, is_there) == (str(os.getuid()), "True")
    assert not Path(home).exists()  # it was removed when the process ended
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_and_wandb_get_a_folder_where_home_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    from fitnets.tracking import wandb_mirror

    monkeypatch.setattr(wandb_mirror, "_redirected", set())
    process._find_home()
    assert Path(os.environ["MPLCONFIGDIR"]).parent.is_dir()
    for run in ("first", "second"):
        wandb_mirror._give_home(tmp_path / run / "wandb")
        for name in ("cache", "data"):
            assert os.environ[f"WANDB_{name.upper()}_DIR"] == str(tmp_path / run / "wandb" / name)
        assert os.environ["WANDB_CONFIG_DIR"] == str(tmp_path / "first" / "wandb" / "config")


def test_wandb_keeps_its_usual_folders_where_home_can_be_written(tmp_path, monkeypatch):
    from fitnets.tracking import wandb_mirror

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wandb_mirror, "_redirected", set())
    wandb_mirror._give_home(tmp_path / "run" / "wandb")
    assert "WANDB_CACHE_DIR" not in os.environ
    monkeypatch.setenv("WANDB_CACHE_DIR", "/nowhere/wandb/cache")  # set by the user
    wandb_mirror._give_home(tmp_path / "run" / "wandb")
    assert os.environ["WANDB_CACHE_DIR"] == "/nowhere/wandb/cache"


def test_wandb_folders_in_a_run_belong_to_the_run(tmp_path):
    for name in ("cache", "data", "config"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert ownership.foreign_entries(tmp_path, "run") == []


# --- figures ---


def test_a_users_style_changes_no_figure(made_store, tmp_path):
    frame = runs.load(made_store)
    frame = frame[frame["dataset"] == frame["dataset"].iloc[0]]
    style = {"font.size": 40, "axes.facecolor": "red", "savefig.dpi": 30, "lines.linewidth": 9, "figure.dpi": 20}
    images = []
    for changes in ({}, style):
        with matplotlib.rc_context(changes):
            figure = trade_off(frame)
            page._save(figure, tmp_path / "it")
            images.append((tmp_path / "it.png").read_bytes())
    assert images[0] == images[1]


def test_a_users_settings_do_not_reach_the_report(tmp_path):
    script = "; ".join(
        ["process.ignore_plot_settings()", "import matplotlib", "print(matplotlib.rcParams['font.size'])"]
    )
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "matplotlibrc").write_text("font.size: 40\nno.such.key: 3\n")
    assert (
        prepared(script, tmp_path, MPLBACKEND="nonsense", XDG_CONFIG_HOME=str(tmp_path), HOME=str(tmp_path)) == "10.0"
    )


# --- locks of dead processes ---


@pytest.fixture
def killed(tmp_path):
    """Return the artifact that a process was making when it was killed; its parent has not yet waited for it."""
    directory = tmp_path / "run" / ("0" * 16)
    script = (
        "import sys, time; from pathlib import Path; from fitnets.store import locks\n"
        "with locks.locked(Path(sys.argv[1]), 'it', print): print('locked', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", script, str(directory)]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "locked\n"
    assert locks.is_locked(directory)
    child.kill()
    deadline = time.monotonic() + 10
    while lock_owners._status(child.pid)[0] not in ("Z", "") and time.monotonic() < deadline:
        time.sleep(0.01)
    yield directory
    child.wait()
    child.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows it, which is Linux's")
def test_a_killed_process_that_nobody_waited_for_is_dead(killed):
    assert layout.lock_file(killed).exists()
    assert not locks.is_locked(killed)
    killed.mkdir()
    (killed / "result.json").write_text('{"status": "running"}')
    assert [run.status for run in inventory.runs(killed.parent.parent)] == ["killed"]
    started = time.monotonic()
    with locks.locked(killed, "it", pytest.fail):
        assert locks.is_locked(killed)
    assert time.monotonic() - started < 2


@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows it, which is Linux's")
def test_files_of_a_killed_process_are_removed_at_once(killed):
    partial = layout.temporary_path(killed)
    partial.mkdir()
    assert locks.discard(killed, left_over_alone=True)
    assert not partial.exists()
    assert not layout.lock_file(killed).exists()


def test_a_lock_that_names_nobody_is_dead_after_a_moment(tmp_path):
    directory = tmp_path / ("0" * 16)
    layout.lock_file(directory).touch()
    assert locks.is_locked(directory)  # its process may not have written its name yet
    earlier = time.time() - 5
    os.utime(layout.lock_file(directory), (earlier, earlier))
    assert not locks.is_locked(directory)
    with locks.locked(directory, "it", pytest.fail):
        pass


def test_no_host_takes_a_living_process_for_dead(tmp_path):
    with locks.locked(tmp_path / "it", "it", print):
        record = locks._lease(tmp_path / "it").owner
        assert not lock_owners.is_dead(record.pid, record.hostname, record.start)
        assert not lock_owners.is_dead(
            record.pid, "elsewhere", record.start
        )  # in a container, this host has another name
        assert locks.is_locked(tmp_path / "it")
    assert not lock_owners.is_dead(1, "elsewhere", 12345)
    assert not lock_owners.is_dead(1, "elsewhere", None)


# --- signals ---


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_stops_a_run_like_ctrl_c_except_under_nohup():
    earlier = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(signals.Stopped), signals.raise_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with signals.raise_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, earlier)


# --- text files ---


def _without_encoding(path: Path) -> list[str]:
    """Return the calls that open a text file and leave its encoding to the locale."""
    calls = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [
            word.value
            for word in (*node.args, *(word.value for word in node.keywords))
            if isinstance(word, ast.Constant)
        ]
        is_binary = any(isinstance(mode, str) and "b" in mode and len(mode) < 4 for mode in modes)
        is_text = any(word.arg in ("text", "universal_newlines") for word in node.keywords)
        is_file = name == "open" and (
            isinstance(node.func, ast.Name) or (modes and set(str(modes[0])) <= set("rwax+t"))
        )
        if name in ("read_text", "write_text") or (is_file and not is_binary) or (name in ("run", "Popen") and is_text):
            calls.append(f"{path.name}:{node.lineno}: {name}")
    return calls


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_is_opened_with_an_encoding(path):
    assert _without_encoding(path) == []


def test_the_check_of_encodings_finds_calls_without_one(tmp_path):
    wrong = 'path.read_text()\nopen("x")\npath.open("w")\npath.write_text("y")\nsubprocess.run(words, text=True)\n'
    right = 'path.read_text(encoding="utf-8")\npath.open("rb")\nanswers.open(view)\nImage.open(path)\n'
    (tmp_path / "calls.py").write_text(wrong + right)
    assert len(_without_encoding(tmp_path / "calls.py")) == 5


def test_a_store_with_an_umlaut_is_found_in_an_ascii_locale(tmp_path):
    directory = tmp_path / "ü" / "run" / ("0" * 16)
    directory.mkdir(parents=True)
    ownership.mark(tmp_path / "ü")
    (directory / "result.json").write_text('{"status": "failed", "error": "schön 中"}', encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "fitnets.cli", "runs", "ü", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, env=os.environ | locale, timeout=60, check=True)
    (run,) = json.loads(done.stdout)
    assert (run["directory"], run["error"]) == (f"ü/run/{'0' * 16}", "schön 中")
