import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # for this process and all that it starts; read when PyTorch is imported

import optuna
import pytest
import torch

pytest.register_assert_rewrite("support")

import run
from fitnets import cli
from fitnets.composition import entry_point, loading
from fitnets.config import Config, former_keys
from fitnets.experiment import pipeline
from fitnets.machine import latency
from fitnets.planning import estimates
from fitnets.tracking import wandb_mirror
from support import brief
from support import made_store as made
from support.runs import TINY, Finished

pytest_plugins = ["support.measured"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch: pytest.MonkeyPatch):
    """Forget what this process has told its user, because some messages are shown once in a process."""
    monkeypatch.setattr(former_keys, "_announced", set())
    monkeypatch.setattr(wandb_mirror, "_connection", wandb_mirror._Connection())
    monkeypatch.setattr(wandb_mirror, "_unused", wandb_mirror._Unused())


@pytest.fixture(autouse=True, scope="session")
def _brief(request: pytest.FixtureRequest):
    with pytest.MonkeyPatch.context() as patch:
        if request.config.option.markexpr != "timed":
            brief.shorten(patch)
        yield


@pytest.fixture(scope="session")
def earlier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished tiny run; its teacher is in the same store."""
    store = tmp_path_factory.mktemp("earlier")
    result = pipeline.run(loading.load([*TINY, f"store={store}"]))
    _SHARED_STORES[store] = _artifacts(store)
    return store / "run" / result["hashes"]["run"]


@pytest.fixture
def trained_store(earlier_run: Path, tmp_path: Path) -> Path:
    """Return the store of `command`, in which the tiny run is finished: a copy of the one that tests share."""
    return Path(shutil.copytree(earlier_run.parents[1], tmp_path / "store"))


_SHARED_STORES: dict[Path, set[Path]] = {}


def _artifacts(store: Path) -> set[Path]:
    return set(store.glob("*/*"))


@pytest.fixture(autouse=True)
def _shared_stores_stay_as_they_are():
    """Fail only the test that adds to a shared store, not the tests that run after it."""
    yield
    for store, before in _SHARED_STORES.items():
        added = _artifacts(store) - before
        _SHARED_STORES[store] = before | added
        assert not added, f"this test, or a fixture of it, wrote into a store that tests share: {sorted(added)}"


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of runs with made-up results, the constants of `made_store.py`."""
    return made.make(tmp_path_factory.mktemp("made") / "outputs")


@pytest.fixture
def _unmeasured(monkeypatch: pytest.MonkeyPatch):
    """Make up the latencies and the estimates of large networks: both are tested elsewhere and take seconds."""
    measured = dict.fromkeys((f"batch_{size}_{part}_ms" for size in (1, 128) for part in ("p50", "p95")), 1.0)
    monkeypatch.setattr(latency, "latencies", lambda networks, *_: dict.fromkeys(networks, measured))
    monkeypatch.setattr(estimates, "median_s", lambda *_: 0.01)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """Call `python run.py ...` inside this process, with the store in a temporary folder."""

    def call(*words: str, store: Path = tmp_path / "store") -> Finished:
        monkeypatch.setattr(sys, "argv", ["run.py", *words, f"store={store}"])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        code = entry_point.command_line(run.main)
        captured = capfd.readouterr()
        return Finished(code, captured.out, captured.err)

    return call


@pytest.fixture
def fitnets(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Call `fitnets ...` inside this process."""

    def call(*words: str | Path) -> Finished:
        monkeypatch.setattr(sys, "argv", ["fitnets", *map(str, words)])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        try:
            code = cli.main()
        except SystemExit as error:  # raised by argparse
            code = int(error.code or 0)
        captured = capfd.readouterr()
        return Finished(code, captured.out, captured.err)

    return call


@pytest.fixture
def study(command, tmp_path):
    """Call `python run.py -m +sweeps=depth_width` for tiny runs, in a space of small students unless another is given;
    returns the result and the stored study."""
    from support import studies

    def call(*words: str, opens: bool = True) -> tuple[Finished, optuna.Study | None]:
        space = () if any(word.startswith("student.") for word in words) else studies.SMALL_SPACE
        finished = command(*studies.STUDY, *space, *words)
        return finished, opens and studies.opened(tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log")

    return call


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """Compose the configuration of a tiny run, with more overrides."""
    return lambda *overrides: loading.load([*TINY, *overrides])
