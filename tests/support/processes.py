"""Processes that a test starts: commands, and runs that it kills.

Most of them are forked from an interpreter that has PyTorch, Hydra and Optuna imported, which saves the two seconds of
importing them. A signal to such a process is a real one.
"""

import functools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from support import warm
from support.places import ROOT


@functools.cache
def _forks() -> ForkServerContext:
    """Start the warm interpreter. It finds the modules of `tests/` by PYTHONPATH alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "tests"))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*warm.PRELOADED])
        forkserver.ensure_running()
    return context


class Started:
    """A process that was forked from the warm interpreter, with the methods of `subprocess.Popen` that tests use.

    words: what follows `python` on its command line
    log: file to which its output is appended
    err: file of its standard error; None: `log` too
    """

    def __init__(self, words: list[str], folder: Path, log: Path, err: Path | None = None, **variables: str):
        self.log = log
        places = {"folder": folder, "out": log, "err": err or log, "project": ROOT}
        self._process = _forks().Process(
            target=warm.run, args=(words,), kwargs=places | {"environment": _environment() | variables}, daemon=True
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return its exit code. Raises TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def start(root: Path, *words: str) -> Started:
    """Start `python run.py` in a process of its own. Its output goes to a file beside the store, `process.log`."""
    log = root.with_suffix(f".{time.monotonic_ns()}.log")
    log.touch()
    return Started([str(ROOT / "run.py"), *words, f"store={root}", "engine.threads=1"], root.parent, log)


def wait_for(process: Started, text: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while text not in process.log.read_text():
        assert time.monotonic() < deadline, process.log.read_text()
        assert process.poll() is None, process.log.read_text()
        time.sleep(0.02)


def shell(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Do what `python WORDS` does, in a process that is forked from the warm interpreter."""
    with tempfile.TemporaryDirectory(prefix="shell") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        code = Started([*words], cwd, out, err, **variables).wait(300)
        return subprocess.CompletedProcess([*words], code, out.read_text(), err.read_text())


def in_fork(work: Callable[..., None], *arguments: object, log: Path) -> int:
    """Call a function of a module in a process that is forked from the warm interpreter. Returns its exit code.

    log: file for its output
    """
    process = _forks().Process(target=warm.call, args=(work, *arguments), kwargs={"log": log}, daemon=True)
    process.start()
    process.join(300)
    return process.exitcode


def cold(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` in an interpreter of its own, which imports everything anew."""
    environment = _environment() | variables
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=300, env=environment
    )


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}


def install(folder: Path) -> Path:
    """Copy the files of the wheel into a folder, as they lie in site-packages. Returns the folder."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    targets = {name: name for name in wheel["packages"]} | wheel["force-include"]
    for source, target in targets.items():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / target)
    return folder
