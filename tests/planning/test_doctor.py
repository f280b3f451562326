"""`fitnets doctor` predicts what the run then needs."""

import json
import time
from pathlib import Path

import pytest
from PIL import Image

from fitnets.composition import loading
from fitnets.planning import doctor, estimates
from support.datasets import SILENCE, write_images
from support.places import ROOT, SHARED_MNIST
from support.processes import cold
from support.runs import TINY, runs

LITTLE = [*(word for word in TINY if "validation" not in word), "dataset.height=16", "dataset.width=16"]
SMALL = [*TINY, "schedule.hint.max_steps=2", "schedule.student.max_steps=2"]


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch):
    monkeypatch.setattr(estimates, "THOROUGH_S", 0.05)


def examine(tmp_path: Path, *words: str) -> doctor.Examination:
    return doctor.examine(loading.load([*words, f"store={tmp_path / 'store'}"]), SILENCE)


def test_shapes_classes_and_pixels_are_those_of_the_data_and_networks(tmp_path):
    examination = examine(tmp_path, *TINY)
    assert examination.images == {"train": 437, "valid": 1000, "test": 360}
    assert {split: sum(counts) for split, counts in examination.classes.items()} == examination.images
    assert examination.class_names == list("0123456789")
    shapes = {one.what: one.shape for one in examination.shapes}
    assert shapes == {
        "images": (1, 8, 8),
        "teacher, hint layer": (8, 4, 4),
        "teacher, logits": (10,),
        "student, guided layer": (8, 2, 2),
        "student, logits": (10,),
        "regressor": (8, 4, 4),
    }
    assert examination.pixels[0] == 0
    assert examination.pixels[2] == 1


def test_every_term_of_every_stage_has_its_value_and_gradient(tmp_path):
    words = [*TINY, "schedule.student.epochs=3"]
    losses = examine(tmp_path, *words).losses
    assert [(one.stage, one.term) for one in losses] == [
        ("teacher", "label"),
        ("hint", "hint"),
        ("student", "label"),
        ("student", "kd"),
    ]
    assert all(one.value > 0 and one.gradient > 0 for one in losses)
    (kd,) = (one for one in losses if one.term == "kd")
    assert kd.weight == 4
    doubled = next(one for one in examine(tmp_path, *words, "schedule.kd.weight=8").losses if one.term == "kd")
    assert doubled.value == pytest.approx(kd.value)
    assert doubled.gradient == pytest.approx(2 * kd.gradient)


def test_a_trained_teacher_takes_no_time(tmp_path, command):
    assert [one.name for one in examine(tmp_path, *TINY).times] == ["teacher", "hint", "student"]
    assert command(*TINY).code == 0
    examination = examine(tmp_path, *TINY, "seed=1")
    assert [one.name for one in examination.times] == ["hint", "student"]
    assert {one.stage for one in examination.losses} == {"hint", "student"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["schedule.hint.augmentation.flip=true", "schedule.student.augmentation.pad=1", "schedule.student.epochs=3"],
        ["engine.precision=bf16", "schedule.retrain_student=true"],
        ["method=backprop", "hint_layer=none"],
        ["teacher=custom", "teacher.target=own_models.vit", "hint_layer=middle", "engine.precision=bf16"],
    ],
    ids=["plain", "augmented", "retrained in bf16", "backprop", "vit"],
)
def test_the_run_writes_as_much_cache_as_doctor_predicts(tmp_path, command, words):
    base = [word for word in TINY if not (words[:1] == ["teacher=custom"] and word.startswith("teacher."))]
    examination = examine(tmp_path, *base, *words)
    assert not (tmp_path / "store" / "cache").exists()
    assert command(*base, *words).code == 0
    written = sum(path.stat().st_size for path in (tmp_path / "store" / "cache").rglob("answers.npy"))
    assert examination.cache_bytes == pytest.approx(written, rel=0.05)
    assert examine(tmp_path, *base, *words).cache_bytes == 0


def test_outputs_computed_at_every_step_take_no_disk_space(tmp_path):
    examination = examine(tmp_path, *TINY, "engine.hint_cache_gb=0")
    hint = next(one for one in examination.cache if one.stage == "hint")
    assert (hint.looked_up, hint.reason) == (False, "engine.hint_cache_gb allows less")
    assert examination.cache_bytes == 4 * 10 * sum(examination.images.values())


def test_steps_and_validations_are_those_of_the_schedule(tmp_path):
    words = ["schedule.student.epochs=5", "schedule.student.batch_size=40", "schedule.hint.max_steps=3"]
    teacher, hint, student = examine(tmp_path, *TINY, *words, "schedule.retrain_student=true").times
    assert (student.steps, student.validations) == (5 * 10, 5)
    assert (hint.steps, hint.validations) == (3, 1)
    assert student.retrained_steps == pytest.approx(50 * (437 + 1000) / 437)
    assert teacher.retrained_steps == 0
    assert student.total_s > 50 * student.step_s


class TestFolder:
    @pytest.fixture
    def uneven(self, tmp_path) -> Path:
        root = write_images(tmp_path / "images", each=40)
        for path in sorted((root / "owl").iterdir())[3:]:
            path.unlink()
        Image.new("RGB", (300, 200)).save(root / "cat" / "large.png")
        return root

    def test_doctor_reports_class_imbalance_and_image_sizes(self, fitnets, uneven, monkeypatch):
        monkeypatch.chdir(uneven.parent)  # a long path would break the lines of the output
        finished = fitnets("doctor", "dataset=folder", f"dataset.path={uneven.name}", "teacher=maxout_cifar10", *LITTLE)
        assert finished.code == 0, finished.err
        assert "to 300x200 pixels, resized" in finished.out
        assert "note: cat has 29 training images and owl 1: accuracy hides how the rare ones fare" in finished.out
        assert "owl" in finished.out

    def test_a_run_reports_class_imbalance_too(self, command, uneven):
        steps = [f"schedule.{stage}.max_steps=1" for stage in ("teacher", "hint", "student")]
        finished = command("dataset=folder", f"dataset.path={uneven}", "teacher=maxout_cifar10", *LITTLE, *steps)
        assert finished.code == 0, finished.err
        assert "note     cat has 29 training images and owl 1" in finished.out


def test_a_loss_without_gradient_is_a_warning(tmp_path):
    examination = examine(tmp_path, *TINY, "schedule.kd.weight=0", "schedule.kd.weight_end=0")
    assert examination.warnings == ["student: the kd loss has no gradient: nothing would be learnt from it"]


def test_the_command_prints_tables_and_json_and_trains_nothing(fitnets, tmp_path):
    finished = fitnets("doctor", *SMALL, f"store={tmp_path / 'store'}", "--json")
    assert finished.code == 0, finished.err
    examination = json.loads(finished.out)
    assert examination["total_s"] > 0
    assert examination["peak_bytes"] > 1e8
    output = fitnets("doctor", *SMALL, f"store={tmp_path / 'store'}").out
    for words in (
        "images of each class",
        "shapes, of one image",
        "norm of the weighted gradient",
        "in all if no stage",
    ):
        assert words in output
    assert runs(tmp_path / "store") == {}


def test_a_mistyped_key_is_an_error(fitnets):
    finished = fitnets("doctor", "studnt=thin")
    assert (finished.code, "studnt" in finished.err) == (1, True)


@pytest.mark.timed
@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_the_estimate_is_within_30_percent(tmp_path, data):
    """Compares the estimate with a run in a process of its own. On MNIST each stage has 60 updates."""
    words = [f"store={tmp_path / 'store'}"]
    if data == "mnist":
        if not SHARED_MNIST.exists():
            pytest.skip(f"{SHARED_MNIST} is missing")
        words += ["dataset=mnist", f"dataset.path={SHARED_MNIST}"]
        words += [f"schedule.{stage}.max_steps=60" for stage in ("teacher", "hint", "student")]
    doctor_process = cold("-m", "fitnets.cli", "doctor", *words, "--json", cwd=tmp_path)
    estimate = json.loads(doctor_process.stdout)
    started = time.perf_counter()
    finished = cold(str(ROOT / "run.py"), *words, cwd=tmp_path)
    process_s = time.perf_counter() - started
    assert finished.returncode == 0, finished.stderr
    ((_, result),) = runs(tmp_path / "store").items()
    took_s = result["timing"]["run_seconds"]
    print(f"{data}: {estimate['total_s']:.1f} s estimated, {took_s:.1f} s taken, {process_s:.1f} s with start-up")
    assert estimate["total_s"] == pytest.approx(took_s, rel=0.3)
    written = sum(path.stat().st_size for path in (tmp_path / "store" / "cache").rglob("answers.npy"))
    assert estimate["cache_bytes"] == pytest.approx(written, rel=0.05)
