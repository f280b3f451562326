"""Whole runs through the entry point of run.py."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from fitnets.composition import loading
from fitnets.config.options import restore
from fitnets.data import splits
from fitnets.models import build, costs
from fitnets.planning import identity
from fitnets.store.files import read_json, read_metrics
from fitnets.training import loop
from support.datasets import SILENCE, all_images, write_parquet
from support.places import SHARED_CIFAR10, SHARED_MNIST
from support.runs import TINY, runs, without_timing


def test_a_network_at_chance_gets_a_note(command):
    finished = command(*TINY, "schedule=paper")
    assert "note: the student is no better than always naming one class" in finished.out
    assert "note: the teacher" not in finished.out
    assert "note: the student" not in command(*TINY, "schedule.student.epochs=8").out


def test_a_run_leaves_all_its_files_and_a_table(command, tmp_path):
    finished = command(*TINY)
    assert finished.code == 0, finished.err
    ((name, result),) = runs(tmp_path / "store").items()
    directory = tmp_path / "store" / "run" / name
    assert {path.name for path in directory.iterdir()} == {
        "config.yaml", "environment.json", "metrics.jsonl", "result.json", "student.safetensors",
    }  # fmt: skip
    for text in (
        "437 training and 1000 validation images",
        "student conv2 (8x2x2) learns teacher conv1 (8x4x4) through a 3x3 maxout convolution with pad 2 "
        "(1,152 weights): 1 epoch",
        "cross-entropy with the labels + teacher's softened outputs, tau 3, lambda 4 to 1: 1 epoch",
        "of training on cpu, 1 thread," if not torch.cuda.is_available() else "of training on",
        "teacher epoch   1/1",
        "hint epoch   1/1",
        "validation accuracy",
        "test accuracy",
        "fewer",
        str(directory),
    ):
        assert text in finished.out.replace("\n", " ") or text in finished.out, text
    for side in ("teacher", "student"):
        for split in ("valid", "test"):
            assert result[side][f"{split}_accuracy"] + result[side][f"{split}_error"] == pytest.approx(1)
    assert result["status"] == "finished"
    assert result["images"] == {"train": 437, "valid": 1000, "test": 360}
    rows = read_metrics(directory / "metrics.jsonl")
    assert [(row["step"], row["stage"], row["epoch"]) for row in rows] == [
        (0, "teacher", 0),
        (1, "hint", 0),
        (2, "student", 0),
    ]


def test_the_stored_student_is_the_one_that_was_measured(command, tmp_path):
    assert command(*TINY).code == 0
    ((name, result),) = runs(tmp_path / "store").items()
    directory = tmp_path / "store" / "run" / name
    config = restore(yaml.safe_load((directory / "config.yaml").read_text()))
    student = build.network(config.student, config.dataset, "student")
    student.load_state_dict(load_file(directory / "student.safetensors"))
    valid = splits.load(config.dataset, tmp_path, torch.device("cpu"), SILENCE).valid
    with torch.no_grad():
        wrong = (student.eval()(valid.images[valid.rows])[0].argmax(1) != valid.labels[valid.rows]).sum().item()
    assert result["student"]["valid_error"] == wrong / 1000
    assert result["student"]["multiplications"] == costs.cost(student, (1, 8, 8)).multiplications
    assert result["student"]["weights_bytes"] == (directory / "student.safetensors").stat().st_size


def test_the_same_command_gives_the_same_result_to_the_bit(command, tmp_path):
    outcomes = []
    for store in (tmp_path / "one", tmp_path / "two"):
        assert command(*TINY, store=store).code == 0
        ((name, result),) = runs(store).items()
        rows = read_metrics(store / "run" / name / "metrics.jsonl")
        weights = (store / "run" / name / "student.safetensors").read_bytes()
        outcomes.append((name, without_timing(result), [without_timing(row) for row in rows], weights))
    assert outcomes[0] == outcomes[1]


def test_a_sweep_of_controls_trains_one_teacher(command, tmp_path, monkeypatch):
    trained = []
    real = loop.fit

    def spy(objective, *positional, **named):
        trained.append(objective.name)
        return real(objective, *positional, **named)

    monkeypatch.setattr("fitnets.experiment.pipeline.fit", spy)
    finished = command("-m", *TINY, "method=backprop,kd,hints", "seed=range(2)")
    assert finished.code == 0, finished.err
    store = tmp_path / "store"
    assert trained.count("teacher") == 1
    assert trained.count("hint") == 2
    assert trained.count("student") == 6
    assert len(list((store / "teacher").iterdir())) == 1
    results = runs(store).values()
    assert sorted((result["method"], result["seeds"]["student"]) for result in results) == [
        (method, seed) for method in ("backprop", "hints", "kd") for seed in (0, 1)
    ]
    assert {json.dumps(without_timing(result["teacher"])) for result in results} == {
        json.dumps(without_timing(next(iter(results))["teacher"]))
    }
    totals = {
        sum(stage["epochs"] for name, stage in result["stages"].items() if name != "teacher") for result in results
    }
    assert totals == {2}
    for result in results:  # every run's metrics have the teacher's epochs, even if it was loaded
        rows = read_metrics(store / "run" / result["hashes"]["run"] / "metrics.jsonl")
        assert [row["step"] for row in rows] == list(range(len(rows)))
        assert rows[0]["stage"] == "teacher"


class TestTheTestSplitEntersNeitherTrainingNorSelection:
    def test_other_test_images_change_the_test_figures_alone(self, command, tmp_path, monkeypatch):
        real, results, weights = splits.load_test, [], []

        def swapped(*arguments):
            part = real(*arguments)
            return splits.Split(1 - all_images(part), part.labels.roll(1), part.rows)

        for store, loader in ((tmp_path / "real", real), (tmp_path / "swapped", swapped)):
            monkeypatch.setattr(splits, "load_test", loader)
            assert command(*TINY, store=store).code == 0
            ((name, result),) = runs(store).items()
            results.append(result)
            weights.append((store / "run" / name / "student.safetensors").read_bytes())
        assert weights[0] == weights[1]
        assert results[0]["student"]["test_loss"] != results[1]["student"]["test_loss"]
        for result in results:
            for side in ("teacher", "student"):
                for key in [key for key in result[side] if key.startswith("test_")]:
                    del result[side][key]
        assert without_timing(results[0]) == without_timing(results[1])

    def test_the_test_split_is_opened_once_after_all_training(self, command, tmp_path, monkeypatch):
        real_test, real_fit, order = splits.load_test, loop.fit, []
        monkeypatch.setattr(splits, "load_test", lambda *a: (order.append("test"), real_test(*a))[1])
        monkeypatch.setattr(
            "fitnets.experiment.pipeline.fit", lambda o, *a, **k: (order.append(o.name), real_fit(o, *a, **k))[1]
        )
        assert command(*TINY).code == 0
        assert order == ["teacher", "hint", "student", "test"]

    def test_a_run_without_test_never_opens_it(self, command, tmp_path, monkeypatch):
        monkeypatch.setattr(splits, "load_test", lambda *_: pytest.fail("the test split was opened"))
        finished = command(*TINY, "test=false")
        assert finished.code == 0, finished.err
        ((_, result),) = runs(tmp_path / "store").items()
        assert not [key for side in ("teacher", "student") for key in result[side] if key.startswith("test")]
        assert "test accuracy" not in finished.out

    @pytest.mark.parametrize("method", ["hints", "kd"])
    def test_test_figures_that_are_added_later_equal_those_of_a_run_with_test(self, command, tmp_path, method):
        """The teacher has batch statistics, so that its outputs differ in training mode."""
        teacher = ("teacher=resnet", "teacher.depth=8", "teacher.stem=4", "hint_layer=middle", f"method={method}")
        words = [*(word for word in TINY if not word.startswith("teacher.convs")), *teacher]
        assert command(*words, "test=false").code == 0
        assert command(*words).code == 0
        (later,) = runs((tmp_path / "store").rename(tmp_path / "later")).values()
        assert command(*words).code == 0
        (at_once,) = runs(tmp_path / "store").values()
        assert without_timing(later) == without_timing(at_once)


def test_a_diverged_teacher_is_not_stored(command, tmp_path):
    finished = command(*TINY, "schedule.teacher.optimizer.lr=1e30")
    assert finished.code == 1
    assert "the teacher stage diverged" in finished.err
    assert "give a smaller schedule.teacher.optimizer.lr" in finished.err
    assert list((tmp_path / "store" / "teacher").iterdir()) == []
    ((_, result),) = runs(tmp_path / "store").items()
    assert result["status"] == "diverged"
    assert "teacher stage diverged" in result["error"]


def test_a_finished_run_is_kept_until_its_replacement_is_finished(command, tmp_path, monkeypatch):
    assert command(*TINY).code == 0
    (directory,) = (tmp_path / "store" / "run").iterdir()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    def interrupt(*_positional, **_named):
        assert read_json(directory / "result.json")["status"] == "running"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fitnets.experiment.pipeline.fit", interrupt)
        assert command(*TINY, "rerun=true").code == 130
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert command(*TINY, "rerun=true").code == 0
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_a_damaged_result_is_an_error_and_rerun_replaces_it(command, tmp_path):
    assert command(*TINY).code == 0
    (directory,) = (tmp_path / "store" / "run").iterdir()
    result = directory / "result.json"
    result.write_bytes(result.read_bytes()[:100])
    finished = command(*TINY)
    assert finished.code == 1
    assert f"remove {directory}, and it is made again" in finished.err
    assert len(finished.err.splitlines()) == 1
    assert command(*TINY, "rerun=true").code == 0
    assert read_json(result)["status"] == "finished"


def test_an_interrupted_run_exits_with_130_and_says_that_it_stopped(command, tmp_path, monkeypatch):
    def interrupt(*_positional, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("fitnets.experiment.pipeline.fit", interrupt)
    finished = command(*TINY)
    assert finished.code == 130
    assert finished.err.startswith("stopped: ")


@pytest.mark.skipif(not SHARED_MNIST.is_dir(), reason=f"needs the real MNIST in {SHARED_MNIST}")
@pytest.mark.usefixtures("_unmeasured")
def test_the_papers_mnist_networks_on_real_images(command, tmp_path):
    """Trains all stages of the paper's pair with the paper's hyperparameters, for one epoch of 500 real images each."""
    import pyarrow.parquet as pq

    for split, rows in (("train", 700), ("test", 100)):
        (file,) = SHARED_MNIST.glob(f"{split}-*.parquet")
        pq.write_table(pq.read_table(file).slice(0, rows), tmp_path / f"{split}-00000-of-00001.parquet")
    epochs = [f"schedule.{stage}.epochs=1" for stage in ("teacher", "hint", "student")]
    finished = command(
        "dataset=mnist",
        f"dataset.path={tmp_path}",
        "dataset.validation_images=200",
        "schedule=paper",
        "tracker=none",
        *epochs,
    )
    assert finished.code == 0, finished.err
    ((_, result),) = runs(tmp_path / "store").items()
    assert result["teacher"]["paper_parameters"] == 360_816
    assert result["student"]["paper_parameters"] == 29_944
    assert (
        "student conv4 (16x4x4) learns teacher conv2 (48x4x4) through a 1x1 maxout convolution (1,536 weights)"
        in finished.out
    )


@pytest.mark.usefixtures("_unmeasured")
def test_svhn_in_the_layout_of_the_hub(command, tmp_path):
    """Runs `student=fitnet3 dataset=svhn` with the extra images: SVHN's pair, preprocessing and split."""
    generator = np.random.default_rng(0)
    for split, each in (("train", 6), ("extra", 6), ("test", 1)):
        images = generator.integers(0, 256, size=(10 * each, 32, 32, 3), dtype=np.uint8)
        write_parquet(tmp_path / "svhn" / "cropped_digits", split, images, list(range(10)) * each)
    counts = ["dataset.validation_images=20", "dataset.extra_validation=10"]
    stages = [
        f"schedule.{stage}.{key}" for stage in ("teacher", "hint", "student") for key in ("max_steps=2", "batch_size=8")
    ]
    finished = command(
        "student=fitnet3", "dataset=svhn", f"dataset.path={tmp_path / 'svhn'}", *counts, *stages, "tracker=none"
    )
    assert finished.code == 0, finished.err
    ((_, result),) = runs(tmp_path / "store").items()
    assert (result["teacher"]["name"], result["student"]["name"]) == ("maxout_svhn", "fitnet3")
    assert result["teacher"]["paper_parameters"] == 4_928_800
    assert result["hint"] == {
        "teacher_layer": "conv2",
        "student_layer": "conv8",
        "regressor": "a 3x3 maxout convolution with pad 2 (184,320 weights)",
    }
    assert result["images"] == {"train": 90, "valid": 30, "test": 10}


def test_another_test_split_is_measured_without_training(command, tmp_path):
    def made(number: int) -> str:
        for split, seed, count in (("train", 0, 60), ("test", number, 10 * (number + 1))):
            pixels = np.random.default_rng(seed).integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
            write_parquet(tmp_path / f"images{number}", split, pixels, list(range(10)) * (count // 10))
        return f"dataset.path={tmp_path / f'images{number}'}"

    stages = [
        f"schedule.{name}.{key}" for name in ("teacher", "hint", "student") for key in ("epochs=1", "batch_size=8")
    ]
    words = ["dataset=mnist", "dataset.validation_images=20", *stages, "tracker=none"]
    assert command(*words, made(0)).code == 0
    ((_, first),) = runs(tmp_path / "store").items()
    again = command(*words, made(1))
    assert again.code == 0, again.err
    assert "found, nothing was trained" in again.out
    ((_, second),) = runs(tmp_path / "store").items()
    assert (first["images"]["test"], second["images"]["test"]) == (10, 20)
    assert first["student"]["test_loss"] != second["student"]["test_loss"]
    assert first["student"]["valid_loss"] == second["student"]["valid_loss"]


@pytest.mark.skipif(not SHARED_CIFAR10.is_dir(), reason=f"needs the real CIFAR-10 in {SHARED_CIFAR10}")
@pytest.mark.usefixtures("_unmeasured")
@pytest.mark.parametrize("preprocessing", ["standardize", pytest.param("whiten", marks=pytest.mark.soak)])
def test_the_papers_cifar10_networks_on_real_images(command, tmp_path, preprocessing):
    """Trains all stages with the paper's hyperparameters and retrains, with two updates each on 300 real images. The
    paper whitens, which takes half of the time."""
    import pyarrow.parquet as pq

    for split, rows in (("train", 300), ("test", 20)):
        file = min(SHARED_CIFAR10.glob(f"{split}-*.parquet"))
        pq.write_table(pq.read_table(file).slice(0, rows), tmp_path / f"{split}-00000-of-00001.parquet")
    two_steps = [
        f"schedule.{stage}.{key}"
        for stage in ("teacher", "hint", "student")
        for key in ("max_steps=2", "batch_size=16")
    ]
    finished = command(
        "dataset=cifar10", f"dataset.path={tmp_path}", "student=fitnet1", "dataset.validation_images=20",
        "schedule=paper", f"dataset/preprocessing={preprocessing}", "tracker=none", *two_steps,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    ((_, result),) = runs(tmp_path / "store").items()
    assert (result["teacher"]["paper_parameters"], result["student"]["paper_parameters"]) == (9_044_360, 249_576)
    assert result["hint"]["regressor"] == "a 2x2 maxout convolution (49,152 weights)"
    assert list(result["stages"]) == [
        "teacher",
        "retrain_teacher",
        "hint",
        "student",
        "retrain_hint",
        "retrain_student",
    ]
    for stage in result["stages"].values():
        assert (stage["epochs"], stage["images"], stage["stopped_by"]) == (1, 32, "max_steps")


class TestRetraining:
    words = (*TINY, "schedule.teacher.epochs=2", "schedule.hint.epochs=3", "schedule.student.epochs=3", "seed=4")
    retrained = (*words, "schedule.retrain_student=true", "schedule.retrain_teacher=true")

    def test_starts_from_the_initial_weights_and_trains_for_the_selected_epochs(self, command, tmp_path, monkeypatch):
        fits, initial = [], []
        real = loop.fit

        def spy(stage, data, **named):
            fits.append((stage.name, named["fixed_epochs"], len(data.train)))
            initial.append({key: value.clone() for key, value in stage.network.state_dict().items()})
            return real(stage, data, **named)

        monkeypatch.setattr("fitnets.experiment.pipeline.fit", spy)
        assert command(*self.retrained).code == 0
        ((_, result),) = runs(tmp_path / "store").items()
        found = {name: stage["best_epoch"] + 1 for name, stage in result["stages"].items()}
        assert fits == [
            ("teacher", None, 437), ("teacher", found["teacher"], 1437), ("hint", None, 437), ("student", None, 437),
            ("hint", found["hint"], 1437), ("student", found["student"], 1437),
        ]  # fmt: skip
        for first, second in ((0, 1), (2, 4)):
            assert all(torch.equal(value, initial[second][key]) for key, value in initial[first].items())
        for name in ("teacher", "hint", "student"):
            stage = result["stages"][f"retrain_{name}"]
            assert (stage["epochs"], stage["stopped_by"]) == (found[name], "epochs")

    def test_validation_figures_are_those_of_the_networks_before_it(self, command, tmp_path):
        results = {}
        for name, words in (("plain", self.words), ("again", self.retrained)):
            assert command(*words, store=tmp_path / name).code == 0
            ((run, results[name]),) = runs(tmp_path / name).items()
            rows = read_metrics(tmp_path / name / "run" / run / "metrics.jsonl")
        teachers = [result["teacher"] for result in results.values()]
        assert teachers[0]["valid_loss"] == teachers[1]["valid_loss"]
        assert teachers[0]["test_loss"] != teachers[1]["test_loss"]
        best = [row["valid_error"] for row in rows if row["stage"] == "student" and row["best"]][-1]
        assert results["again"]["student"]["valid_error"] == best
        assert not [key for row in rows if row["stage"].startswith("retrain") for key in row if key.startswith("valid")]
        assert [row["step"] for row in rows] == list(range(len(rows)))

    def test_a_residual_teacher_restarts_with_its_initial_batch_statistics(self, command, monkeypatch):
        initial = []
        real = loop.fit

        def spy(stage, data, **named):
            if stage.name == "teacher":
                initial.append({key: value.clone() for key, value in stage.network.state_dict().items()})
            return real(stage, data, **named)

        monkeypatch.setattr("fitnets.experiment.pipeline.fit", spy)
        words = [word for word in self.retrained if not word.startswith("teacher.convs")]
        finished = command(*words, "teacher=resnet", "teacher.depth=8", "teacher.stem=4", "schedule.teacher.epochs=1")
        assert finished.code == 0, finished.err
        assert "the teacher has seen the validation images when it teaches" in finished.out
        first, second = initial
        assert any("running_var" in key for key in first)
        assert all(torch.equal(value, second[key]) for key, value in first.items())

    def test_it_is_part_of_the_hashes(self):
        plain, retrained = (
            identity.hashes(loading.load(list(words)), "digest", "fp32") for words in (self.words, self.retrained)
        )
        assert plain.teacher != retrained.teacher
        student_only = identity.hashes(loading.load([*self.words, "schedule.retrain_student=true"]), "digest", "fp32")
        assert (student_only.teacher, student_only.hint) == (plain.teacher, plain.hint)
        assert student_only.run != plain.run


def test_the_controls_sweep_pairs_the_seeds_of_teacher_and_student(command, tmp_path):
    """Runs `sweeps/controls.yaml` with tiny networks and data."""
    finished = command("-m", "+sweeps=controls", *TINY, "seed=3,4", "method=backprop,kd")
    assert finished.code == 0, finished.err
    found = [(result["method"], *result["seeds"].values()) for result in runs(tmp_path / "store").values()]
    assert sorted(found) == [("backprop", 0, 3, 3), ("backprop", 0, 4, 4), ("kd", 0, 3, 3), ("kd", 0, 4, 4)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_the_gpu(command, tmp_path):
    again = ("schedule.retrain_teacher=true", "schedule.retrain_student=true", "schedule.student.augmentation.pad=1")
    finished = command(*TINY, "engine.device=cuda", *again)
    assert finished.code == 0, finished.err
    ((_, result),) = runs(tmp_path / "store").items()
    assert result["timing"]["device"] == torch.cuda.get_device_name()
