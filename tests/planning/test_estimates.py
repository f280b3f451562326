"""The expected duration that is shown before training, with data and without any on the disk."""

import re

import numpy as np
import pytest
import torch

from fitnets.composition import loading
from fitnets.data import random_images, splits, unread
from fitnets.experiment import announcement
from fitnets.planning import estimates
from fitnets.planning import plan as planning
from fitnets.reproduction import table_cells
from fitnets.training.stages import Stage
from support.datasets import SILENCE, write_parquet
from support.places import SHARED_MNIST
from support.runs import TINY


@pytest.fixture
def untouched(monkeypatch):
    """Returns a function after whose call the test fails if images are decoded."""

    def forbid() -> None:
        monkeypatch.setattr("fitnets.data.stored_images._decode", lambda *_: pytest.fail("images were decoded"))

    return forbid


# --- fitnets reproduce TABLE --plan ---


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("table4", ["--only", "hints", "--schedule", "modern"]),
        ("aflw", ["--only", "FitNet 1, KD", "--schedule", "paper"]),
    ],
)
def test_a_table_is_planned_without_any_data(fitnets, tmp_path, table, words, untouched):
    untouched()
    finished = fitnets("reproduce", table, *words, f"store={tmp_path / 'store'}", "--plan")
    assert finished.code == 0, finished.err
    assert "measured roughly, on updates of a few random images" in finished.out
    assert not list(tmp_path.glob("store/*/*"))


def test_local_files_are_counted_without_decoding_them(fitnets, tmp_path, untouched):
    untouched()
    for split, each in (("train", 4), ("test", 2)):
        write_parquet(tmp_path / "pq", split, np.zeros((each * 10, 28, 28), np.uint8), list(range(10)) * each)
    words = [f"dataset.path={tmp_path / 'pq'}", "dataset.validation_images=10", f"store={tmp_path / 'store'}"]
    short = [f"schedule.{stage}.batch_size=16" for stage in ("teacher", "hint", "student")]
    finished = fitnets("reproduce", "table4", "--only", "hints", "--schedule", "modern", *words, *short, "--plan")
    assert finished.code == 0, finished.err
    dataset = loading.load(["dataset=mnist", *words]).dataset
    assert (unread.image_count(dataset, "train"), unread.image_count(dataset, "test")) == (40, 20)
    planned = random_images.load(dataset, "digest", torch.device("cpu"))
    assert (len(planned.train), len(planned.valid)) == (30, 10)


def test_a_missing_data_folder_is_an_error(fitnets, tmp_path):
    finished = fitnets("reproduce", "table4", "dataset.path=nowhere", f"store={tmp_path}", "--plan")
    assert finished.code == 1
    assert finished.err.startswith("dataset.path=nowhere: no such folder")


@pytest.mark.parametrize(
    ("words", "train", "valid"),
    [
        ("dataset=mnist", 50_000, 10_000),
        ("dataset=cifar10", 40_000, 10_000),
        ("dataset=cifar100 dataset.train_share=0.1", 4_000, 10_000),
        ("dataset=svhn", 598_388, 6_000),
        ("dataset=svhn dataset.extra_split=null dataset.extra_validation=0", 69_257, 4_000),
        ("dataset=aflw", 45_000, 5_000),
        ("dataset=digits", 1137, 300),
    ],
)
def test_sizes_of_data_sets_are_the_published_ones(words, train, valid):
    planned = random_images.load(loading.load(words.split()).dataset, "digest", torch.device("cpu"))
    assert (len(planned.train), len(planned.valid)) == (train, valid)


@pytest.mark.skipif(not SHARED_MNIST.exists(), reason="needs MNIST")
def test_the_published_sizes_of_mnist_are_those_of_its_files():
    files = loading.load(["dataset=mnist", f"dataset.path={SHARED_MNIST}"]).dataset
    published = loading.load(["dataset=mnist"]).dataset
    for part in ("train", "test"):
        assert unread.image_count(files, part) == unread.image_count(published, part)


def test_the_size_of_a_split_that_is_not_drawn_is_unknown(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    config = loading.load(["dataset=folder", f"dataset.path={tmp_path}"])
    assert unread.image_count(config.dataset, "train") is None
    assert table_cells.planned_digest(config) is None
    assert not (tmp_path / "split.json").exists()


def test_decoded_data_are_planned_with_their_digest(tiny, tmp_path, untouched):
    config = tiny(f"store={tmp_path}")
    assert table_cells.planned_digest(config) == "not decoded"
    progress = type("Silent", (), {"say": print, "track": staticmethod(lambda items, _: items)})()
    digest = splits.digest(config.dataset, config.root, progress)
    untouched()
    assert table_cells.planned_digest(config) == splits.known_digest(config.dataset, config.root) == digest


# --- the plan of a run ---


def test_the_plan_shows_the_time_of_training_and_evaluation(command, monkeypatch):
    monkeypatch.setattr(announcement, "_LONG_EVALUATION_S", 1e9)  # so that no evaluation counts as long
    finished = command(*TINY, "schedule.student.max_steps=1")
    assert re.search(
        r"\n  about    .* of training on .*\n  about    .* of evaluation, diagnoses and latencies", finished.out
    )
    assert "shorter for a trial" not in finished.out


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["schedule.student.max_steps=1"], "(shorter for a trial: dataset.validation_images=500 test=false)"),
        (["schedule.teacher.max_steps=2", "test=false"], "(shorter for a trial: dataset.validation_images=500)"),
        (["schedule.hint.max_steps=2", "dataset.validation_images=300"], "(shorter for a trial: test=false)"),
        ([], None),
    ],
)
def test_the_plan_of_a_trial_names_overrides_that_shorten_a_long_evaluation(command, monkeypatch, words, advice):
    monkeypatch.setattr(estimates, "quick_evaluation_s", lambda plan, test_images: 200.0)
    finished = command(*TINY, *words)
    assert "3 min 20 s of evaluation" in finished.out
    if advice is None:
        assert "shorter for a trial" not in finished.out
    else:
        assert advice in finished.out


# --- the faster precision ---


class TestFasterPrecision:
    @pytest.fixture
    def plan(self, tiny, tmp_path):
        def make(*words):
            return planning.prepare(tiny(f"store={tmp_path}", "schedule=modern", *words), SILENCE)

        return make

    @pytest.fixture
    def seconds(self, monkeypatch):
        """Let an update take these seconds, by precision."""
        table = {"fp32": 1.0, "bf16": 1.0}

        def timed(work, *_):
            work()
            (stage,) = [cell.cell_contents for cell in work.__closure__ if isinstance(cell.cell_contents, Stage)]
            return table[stage.network.precision]

        monkeypatch.setattr(estimates, "median_s", timed)
        monkeypatch.setattr("fitnets.machine.devices.multiplies_bf16", lambda _: True)
        return table

    @pytest.mark.parametrize(("own", "other"), [("fp32", "bf16"), ("bf16", "fp32")])
    def test_the_other_one_is_named_where_it_is_faster(self, plan, seconds, own, other):
        made = plan(f"engine.precision={own}")
        seconds[own] = 1.5
        faster = estimates.faster_precision(made, estimates.QUICK_S)
        assert (faster.precision, faster.ratio) == (other, pytest.approx(1.5))
        assert str(faster) == (
            f"on this machine the updates are 1.5 x as fast in {other}, measured on a few: engine.precision={other} "
            "(the result is then another)"
        )

    @pytest.mark.parametrize(("own_s", "other_s"), [(1.0, 1.5), (1.0, 1.0), (1.05, 1.0)])
    def test_nothing_is_said_where_it_is_not(self, plan, seconds, own_s, other_s):
        made = plan("engine.precision=fp32")
        seconds |= {"fp32": own_s, "bf16": other_s}
        assert estimates.faster_precision(made, estimates.QUICK_S) is None

    def test_the_papers_tiny_weights_need_fp32(self, plan, seconds):
        made = plan("engine.precision=fp32", "schedule/student_init=uniform")
        seconds["fp32"] = 9.0
        assert estimates.faster_precision(made, estimates.QUICK_S) is None

    def test_hardware_without_bf16_measures_nothing(self, plan, seconds, monkeypatch):
        made = plan("engine.precision=fp32")
        seconds["fp32"] = 9.0
        monkeypatch.setattr("fitnets.machine.devices.multiplies_bf16", lambda _: False)
        assert estimates.faster_precision(made, estimates.QUICK_S) is None

    def test_plan_and_doctor_say_it(self, tmp_path, monkeypatch, command, fitnets):
        faster = estimates.FasterPrecision(precision="bf16", ratio=2.0)
        monkeypatch.setattr(estimates, "faster_precision", lambda *_: faster)
        finished = command(*TINY, f"store={tmp_path / 'short'}", "tracker=none")
        assert "  faster  " not in finished.out  # two minutes of training are not worth the measurement
        monkeypatch.setattr(announcement, "_LONG_TRAINING_S", 0.0)
        finished = command(*TINY, f"store={tmp_path / 'long'}", "tracker=none", "seed=1")
        assert f"  faster   {faster}" in finished.out
        finished = fitnets("doctor", *TINY, f"store={tmp_path}")
        assert f"note: {faster}" in " ".join(finished.out.split())
