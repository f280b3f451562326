import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path += [str(folder) for folder in Path(__file__).parent.iterdir() if folder.is_dir()]  # tests share helpers

import made_store as made  # noqa: E402
import optuna
import pytest
import torch
from omegaconf import DictConfig

import run
from fitnets import cli
from fitnets.composition import entry_point, loading
from fitnets.config import Config
from fitnets.experiment import pipeline
from fitnets.machine import latency
from fitnets.sweeper.composer import Composer

ROOT = Path(run.__file__).parent
SHARED_MNIST = ROOT.parent / "shared" / "data" / "mnist"
SHARED_CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10"

# A run that takes a second: small networks, one epoch a stage, few images.
TINY = (
    "tracker=none",
    "student=thin",
    "student.depth=3",
    "student.width=4",
    "teacher.convs=[{units: 8, kernel: 3, pad: 1, pool: 2}, {units: 8, kernel: 3, pad: 1, pool: 2}]",
    "dataset.validation_images=1000",
    "schedule.teacher.epochs=1",
    "schedule.hint.epochs=1",
    "schedule.student.epochs=1",
)


@pytest.fixture(autouse=True)
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture(autouse=True, scope="session")
def _brief():
    """Shorten latency measurements, and let Hydra compose the same overrides only once, which takes 0.14 s."""
    real = loading.compose
    composer = Composer(lambda overrides: real("config", overrides))

    def compose_once(name: str, overrides: list[str]) -> DictConfig:
        may_change = any(word.startswith("hydra.searchpath") for word in overrides)  # files in a folder of the test
        return real(name, overrides) if may_change else composer(overrides)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "compose", compose_once)
        patch.setattr(latency, "_LATENCY_BUDGET_S", 0.05)
        yield


@pytest.fixture(scope="session")
def earlier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished tiny run; its teacher is in the same store."""
    store = tmp_path_factory.mktemp("earlier")
    result = pipeline.run(loading.load([*TINY, f"store={store}"]))
    _SHARED_STORES[store] = _artifacts(store)
    return store / "run" / result["hashes"]["run"]


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


class Finished(NamedTuple):
    code: int
    out: str
    err: str


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
    """Call `python run.py -m +sweeps=depth_width` for tiny runs; returns the result and the stored study."""
    import studies  # imports this module

    def call(*words: str, opens: bool = True) -> tuple[Finished, optuna.Study | None]:
        finished = command(*studies.STUDY, *words)
        return finished, opens and studies.opened(tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log")

    return call


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """Compose the configuration of a tiny run, with more overrides."""
    return lambda *overrides: loading.load([*TINY, *overrides])


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


def shell(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` as a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=300, env=environment | variables
    )
