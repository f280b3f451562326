"""Every tracker fulfils one protocol, and TensorBoard's files hold every epoch once."""

import sys
from pathlib import Path
from typing import Any

import pytest

import fitnets
from fitnets.errors import ConfigError
from fitnets.store.files import read_json, read_metrics
from fitnets.tracking import opening, tensorboard_mirror, wandb_mirror
from fitnets.tracking.tracker import NoTracking
from support.runs import TINY
from support.wandb_files import read_back

WORDS = TINY[1:]
TRACKERS = ["none", "wandb", "tensorboard"]


@pytest.fixture(autouse=True)
def installed(request):
    if "tensorboard" in str(request.node.callspec.params if hasattr(request.node, "callspec") else ""):
        pytest.importorskip("tensorboard")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of an event folder, by name: (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.mark.parametrize("tracker", TRACKERS)
class TestAnyTracker:
    def test_a_run_gives_the_same_bits(self, tracker, tmp_path, finished):
        result = fitnets.run([*WORDS, f"tracker={tracker}", f"store={tmp_path}"], quiet=True)
        assert result.hash == finished.hash
        weights = "student.safetensors"
        assert (result.folder / weights).read_bytes() == (finished.folder / weights).read_bytes()

    def test_it_is_closed_and_readable_after_an_error(self, tracker, tmp_path):
        def on_epoch(row):
            if row["stage"] == "student":
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fitnets.run([*WORDS, f"tracker={tracker}", f"store={tmp_path}"], on_epoch, quiet=True)
        (folder,) = (tmp_path / "run").iterdir()
        logged = {"none": 0, "wandb": 3, "tensorboard": 3}[tracker]
        assert len(steps(tracker, folder)) == logged

    def test_its_own_failure_ends_no_run(self, tracker, tmp_path, monkeypatch, capsys):
        def fail(*_positional: Any, **_named: Any) -> None:
            raise OSError("it is gone")

        if tracker == "wandb":
            monkeypatch.setattr("wandb.Run.log", fail)
        if tracker == "tensorboard":
            monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", fail)
        result = fitnets.run([*WORDS, f"tracker={tracker}", f"store={tmp_path}"], quiet=True)
        assert result.values["status"] == "finished"
        assert capsys.readouterr().out.count("it is gone") == (tracker != "none")

    def test_it_has_the_methods_of_the_protocol(self, tracker, tmp_path, tiny):
        config = tiny(f"tracker={tracker}", f"store={tmp_path}")
        (tmp_path / "run" / "0123456789abcdef").mkdir(parents=True)
        with opening.open_tracker(config, tmp_path / "run" / "0123456789abcdef", "name", print) as opened:
            opened.log(0, {"stage": "student", "epoch": 0, "train_loss": 1.5, "best": True, "timing": {}})
            opened.summarise({"status": "failed", "error": "x"})
            opened.keep_student()


def steps(tracker: str, folder: Path) -> list[int]:
    """The steps that the tracker has."""
    if tracker == "wandb":
        return read_back(folder)["steps"]
    if tracker == "tensorboard":
        found = scalars(folder / "tensorboard")
        return sorted(step for name, rows in found.items() if name.endswith("/train_loss") for step, _ in rows)
    return []


class TestTensorBoard:
    pytestmark = pytest.mark.parametrize("kind", ["tensorboard"])

    def test_one_folder_has_every_epoch_once_and_the_hyperparameters(self, kind, tmp_path):
        words = [*WORDS, f"tracker={kind}", f"store={tmp_path}"]
        results = [fitnets.run([*words, f"seed={seed}"], quiet=True) for seed in (0, 1)]
        for result in results:
            folder = result.folder / "tensorboard"
            assert all(path.is_file() for path in folder.iterdir())  # add_hparams would make a folder
            found = scalars(folder)
            rows = read_metrics(result.folder / "metrics.jsonl")
            for row in rows:
                ((step, value),) = found[f"{row['stage']}/train_loss"]
                assert (step, value) == (row["step"], pytest.approx(row["train_loss"], rel=1e-6))
            ((_step, accuracy),) = found["final/valid_accuracy"]
            assert accuracy == pytest.approx(result.values["student"]["valid_accuracy"])
        first, second = (hyperparameters(result.folder / "tensorboard") for result in results)
        assert first.keys() == second.keys()
        assert (first["seed"], second["seed"]) == (0, 1)
        assert all(type(value) in (float, str, bool) for value in first.values())
        assert "tensorboard" not in read_json(results[0].folder / "result.json")

    def test_clean_counts_its_files_as_ours(self, kind, tmp_path):
        from fitnets.store import ownership

        result = fitnets.run([*WORDS, f"tracker={kind}", f"store={tmp_path}"], quiet=True)
        assert ownership.reason_to_keep(result.folder, "run") is None
        again = fitnets.run([*WORDS, f"tracker={kind}", f"store={tmp_path}", "rerun=true"], quiet=True)
        assert len(list((again.folder / "tensorboard").iterdir())) == 1


def hyperparameters(folder: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(folder)).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    stored = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in stored.items()}


def test_a_missing_package_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard_mirror, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboard is not installed: pip install 'fitnets\[tensorboard\]'"):
        fitnets.run([*WORDS, "tracker=tensorboard", f"store={tmp_path}"])
    assert not (tmp_path / "run").exists()


def test_lists_and_nothing_become_text():
    flat = tensorboard_mirror.flattened({"a": {"b": [1, 2], "c": None}, "d": True, "e": 1.5})
    assert flat == {"a.b": "[1, 2]", "a.c": "null", "d": True, "e": 1.5}


def test_without_a_tracker_nothing_of_one_is_opened(tmp_path, monkeypatch):
    monkeypatch.delattr(wandb_mirror, "_start")
    monkeypatch.setattr(tensorboard_mirror, "opened", None)
    fitnets.run([*TINY, f"store={tmp_path}"], quiet=True)
    assert isinstance(NoTracking(), NoTracking)


def test_an_open_wandb_run_of_the_caller_stays_open_and_current(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    theirs = wandb.init(mode="offline", dir=tmp_path, project="theirs", settings=wandb.Settings(console="off"))
    try:
        words = [*WORDS, "tracker=wandb", f"store={tmp_path / 'store'}"]
        with pytest.raises(ZeroDivisionError):
            fitnets.run([*words, "seed=1"], lambda row: 1 / 0, quiet=True)
        result = fitnets.run(words, quiet=True)
        fitnets.load(result), fitnets.compose(words)
        assert wandb.run is theirs
        theirs.log({"answer": 42})
    finally:
        theirs.finish()
    assert {read_back(path)["exit_code"] for path in (tmp_path / "store" / "run").iterdir()} == {0, 1}
    assert "wandb" in sys.modules
