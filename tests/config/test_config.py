"""The configuration as a whole: every option composes and builds, every key is read, numbers are those of the paper."""

import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fitnets import checks
from fitnets.composition import loading
from fitnets.config import Config, LinearLr, NoTeacher, Sgd, options
from fitnets.config.options import plain
from fitnets.data import sources, splits
from fitnets.data.reading.decoding import BrokenImages
from fitnets.errors import ConfigError
from fitnets.models import build, teachers
from fitnets.models.custom import wrapping
from fitnets.planning import identity
from fitnets.training import methods, schedules
from fitnets.training.optimizers import LayerOptimizer
from support.datasets import SILENCE, write_images, write_parquet
from support.options import NEEDED
from support.places import ROOT
from support.runs import TINY
from support.timm_models import import_timm

CONF = ROOT / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
DATASETS = [option for group, option in OPTIONS if group == "dataset"]
DEFAULTS = {  # default teacher and student of each data set
    "digits": ("maxout_digits", "fitnet_digits"),
    "mnist": ("maxout_mnist", "fitnet_mnist"),
    "cifar10": ("maxout_cifar10", "fitnet4"),
    "cifar100": ("maxout_cifar100", "fitnet4"),
    "svhn": ("maxout_svhn", "fitnet3"),
    "aflw": ("relu_aflw", "fitnet_aflw2"),
    "folder": ("resnet", "thin"),
    "photos": ("resnet", "thin"),  # as given in NEEDED
    "custom": ("resnet", "thin"),
}


@pytest.fixture(scope="module", autouse=True)
def timm():
    import_timm()


def load_dataset(dataset: str, *words: str) -> Config:
    choice = f"dataset={dataset}"
    return loading.load([choice, *(word.format() for word in NEEDED.get(choice, [])), *words])


def build_everything(config: Config) -> None:
    """Build the networks, regressor, initial weights and optimisers of every stage, without data."""
    dataset, schedule = config.dataset, config.schedule
    teacher = None if isinstance(config.teacher, NoTeacher) else teachers.build_teacher(config)
    student = build.network(config.student, dataset, "student")
    build.initialise(student, schedule.student_init, 0)
    for objective in methods.stages(config, teacher, student):
        LayerOptimizer(objective.layers, objective.settings, steps_per_epoch=10)
    if teacher is not None:
        build.initialise(teacher, schedule.teacher_init, 0)
        LayerOptimizer(teacher.trainable_parts(), schedule.teacher, steps_per_epoch=10)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_converts_and_builds(group, option, earlier_run):
    choice = f"{group}={option}"
    needed = [word.format(earlier_run=earlier_run) for word in NEEDED.get(choice, [])]
    build_everything(loading.load([choice, *needed]))


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("schedule", [option for group, option in OPTIONS if group == "schedule"])
def test_every_schedule_has_numbers_for_every_data_set(dataset, schedule):
    config = load_dataset(dataset, f"schedule={schedule}")
    build_everything(config)
    assert config.schedule.name == schedule


@pytest.mark.parametrize("preprocessing", [path.stem for path in sorted(CONF.glob("dataset/preprocessing/*.yaml"))])
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_takes_every_preprocessing(dataset, preprocessing):
    config = load_dataset(dataset, f"dataset/preprocessing={preprocessing}")
    assert config.dataset.preprocessing.name == preprocessing


@pytest.mark.parametrize("init", [path.stem for path in sorted(CONF.glob("schedule/student_init/*.yaml"))])
@pytest.mark.parametrize("schedule", [option for group, option in OPTIONS if group == "schedule"])
def test_every_schedule_takes_every_rule_of_initial_weights(schedule, init):
    config = loading.load([f"schedule={schedule}", f"schedule/student_init={init}"])
    assert config.schedule.student_init.name == init.partition("_")[0]
    build_everything(config)


@pytest.mark.parametrize("dataset", DATASETS)
def test_defaults_follow_the_data_set(dataset):
    config = load_dataset(dataset)
    assert (config.teacher.name, config.student.name) == DEFAULTS[dataset]
    assert config.dataset.name == dataset


def test_the_user_wins_over_what_an_option_overrides():
    assert loading.load(["student=thin"]).hint_layer.name == "middle"
    named = loading.load(["student=thin", "hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=conv1"])
    assert named.hint_layer.name == "named"


_DO_NOT_COUNT = {"plain", "locations", "_is_silent", "_out_of_range", "_bounded_numbers", "__eq__", "__repr__"}
"""functions that read every field of an option: printing, hashing, a search for paths, and range checks"""


def spy_on(kind: type, reads: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Add `Option.field` to `reads` for every field that the package's code reads."""
    names = {field.name for field in fields(kind)}
    plainly = kind.__getattribute__

    def reading(self, name):
        caller = sys._getframe(1).f_code
        ours = "/fitnets/" in caller.co_filename
        outermost = caller.co_qualname.partition(".")[0]  # a comprehension has a frame of its own on Python 3.11
        if name in names and ours and outermost not in _DO_NOT_COUNT:
            reads.add(f"{kind.__name__}.{name}")
        return plainly(self, name)

    monkeypatch.setattr(kind, "__getattribute__", reading, raising=False)


def unread(kinds: dict[str, type], reads: set[str]) -> set[str]:
    """`Option.field` of every field that was not read, except `name`, which may be for display only."""
    every = {f"{name}.{field.name}" for name, kind in kinds.items() for field in fields(kind)}
    return {key for key in every - reads if not key.endswith(".name")}


@pytest.fixture
def reads(monkeypatch) -> set[str]:
    """`Option.field` of every field that the package's code reads."""
    seen: set[str] = set()
    for kind in options.OPTIONS.values():
        spy_on(kind, seen, monkeypatch)
    return seen


def test_a_key_that_nothing_reads_is_found(monkeypatch):
    """`test_every_key_is_read` would fail for a key that is composed, checked and hashed, and not used otherwise."""
    monkeypatch.setattr(options, "OPTIONS", dict(options.OPTIONS))

    @options.option
    class Planted:
        name: str = options.neutral(default="planted")
        path: str = options.location(default="images")
        dead: int = options.bounded(options.AT_LEAST_1, default=1)

    reads: set[str] = set()
    spy_on(Planted, reads, monkeypatch)
    planted = Planted()
    assert list(checks._out_of_range(planted)) == []
    options.content_hash(planted)
    plain(planted)
    assert planted == Planted(), repr(planted)
    assert planted.dead == 1  # read by a test, not by the package
    assert [key for _, _, key in options.locations(planted)] == ["path"]
    options.absolute(planted, Path("/somewhere"))  # reads the path
    assert unread({"Planted": Planted}, reads) == {"Planted.dead"}


def test_every_key_is_read(reads, command, tmp_path, earlier_run, monkeypatch):
    """Tiny runs and the building of every option read every field."""
    wrapping._prototype.cache_clear()  # a network that an earlier test built would not be built again
    one_epoch = [f"schedule.{stage}.epochs=1" for stage in ("teacher", "hint", "student")]
    for words in (
        [*TINY[1:], "tracker=wandb", "teacher.dense=[{units: 8, pieces: 3}]", *NAMED],
        ["tracker=none", *small_mnist(tmp_path), "schedule=paper", *one_epoch],
        [*TINY, "dataset/preprocessing=whiten", "method=joint"],
        [*TINY, "hint_layer=pairs", "+hint_layer.pairs={low: {teacher: conv1, student: conv1, regressor: conv}}", RAMP],
        [*TINY, "dataset/preprocessing=local_contrast", "method=dsn"],
        [*TINY, "method=labels_then_kd", "schedule.student.augmentation.flip=true"],
        ["tracker=none", "schedule=fast", "schedule/student_init=lsuv", *one_epoch],
        [*TINY, "regressor=conv", "student.width=null", "student.budget=0.01", "sweep.seeds=2"],
        [*small_photos(tmp_path), *NETWORKS, *one_epoch, f"schedule.student.augmentation={EVERY_KIND}"],
        [*small_photos(tmp_path), *PUBLISHED, *one_epoch, "method=kd", "hint_layer=none"],
    ):
        finished = command(*words)
        assert finished.code == 0, finished.err
    for group, option in OPTIONS:
        if group in ("teacher", "student"):
            test_every_option_composes_converts_and_builds(group, option, earlier_run)
    images = write_images(tmp_path / "images")
    folder = load_dataset("folder", f"dataset.path={images}", "dataset.split_file=null").dataset
    hub = load_dataset("svhn").dataset
    for dataset in (folder, load_dataset("custom", "+dataset.args={}").dataset):
        splits.load(dataset, tmp_path / "store", torch.device("cpu"), SILENCE)
    (images / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(BrokenImages) as broken:
        splits.load(folder, tmp_path / "another store", torch.device("cpu"), SILENCE)
    with pytest.raises(BrokenImages):
        sources.check_report(hub, broken.value.reports[0])

    def unreachable(*_positional, **_named):
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(ConfigError, match="cannot get ufldl-stanford/svhn from the Hugging Face hub"):
        sources.source(hub, "extra").decode(lambda items, _: items)
    schedules.learning_rate(
        replace(loading.load([]).schedule.hint, lr_decay=LinearLr(final_factor=0.1, epochs=2)), 0, 1
    )
    for name in ("resnet", "wrn", "fast", "maxout_cifar10"):
        assert identity.teacher_seed(load_dataset("cifar10", f"teacher={name}", "teacher.seed=1")) == 1
    assert identity.teacher_seed(load_dataset("aflw", "teacher.seed=1")) == 1
    assert unread(options.OPTIONS, reads) == set()
    assert {f"{name}.name" for name in ("Digits", "HubImages", "FitNet", "Thin", "MaxoutTeacher", "Method")} <= reads


NETWORKS = ("tracker=none", "teacher=resnet", "teacher.depth=8", "teacher.width=1", "student=thin", "student.depth=3")
PUBLISHED = (
    "tracker=none",
    *NEEDED["teacher=timm"],
    "student=transformers",
    *NEEDED["student=transformers"],
)
EVERY_KIND = "{flip: true, crop_area: 0.5, policy: rand, operations: 1, magnitude: 5, hue: 0.1, mixup: 0.2, cutmix: 1}"
RAMP = "+method.stages.hint.terms.attention={weight: {start: 0, end: 1, end_epoch: 2}}"
NAMED = ["hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=conv1"]


def small_mnist(folder: Path) -> list[str]:
    """Write black images in the layout of MNIST, and return the overrides that use them."""
    write_parquet(folder / "data", "train", np.zeros((300, 28, 28), dtype=np.uint8), list(range(10)) * 30)
    write_parquet(folder / "data", "test", np.zeros((30, 28, 28), dtype=np.uint8), list(range(10)) * 3)
    return ["dataset=mnist", f"dataset.path={folder / 'data'}", "dataset.validation_images=100"]


def small_photos(folder: Path) -> list[str]:
    """Write photos of two classes, and return the overrides that use them."""
    for name in "ab":
        (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
        for index in range(40):
            Image.new("RGB", (40, 36), (5 * index, 90, 30)).save(folder / "photos" / name / f"{index}.png")
    return ["dataset=photos", f"dataset.path={folder / 'photos'}", "dataset.height=32", "dataset.width=32"]


class TestPaperNumbers:
    """The configuration has the numbers that the paper states."""

    @pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn"])
    def test_cifar_and_svhn(self, dataset):
        schedule = load_dataset(dataset, "schedule=paper").schedule
        for stage in (schedule.hint, schedule.student):
            assert (stage.epochs, stage.patience, stage.batch_size) == (500, 100, 128)
            assert (stage.optimizer.name, stage.optimizer.lr) == ("rmsprop", 0.005)
            assert stage.lr_scale == {"conv": 0.05}
            assert (stage.augmentation.flip, stage.augmentation.pad) == (dataset != "svhn", 0)
        assert schedule.hint.max_norm == {"conv": 0.9, "regressor": 0.9}
        assert schedule.teacher_init.bound == 0.005
        assert schedule.student.max_norm == {"conv": 0.9, "dense": 1.9, "softmax": 1.9365}
        assert schedule.teacher.max_norm == {"conv1": 0.9, "conv": 1.9365, "dense": 1.9, "softmax": 1.9365}
        assert (schedule.student_init.bound, schedule.regressor_init.bound) == (0.005, 0.05)
        kd = schedule.kd
        assert (kd.temperature, kd.weight, kd.weight_end, kd.start_epoch, kd.end_epoch) == (3, 4, 1, 0, 500)
        assert schedule.retrain_student == schedule.retrain_teacher == (dataset != "svhn")

    @pytest.mark.parametrize(
        ("dataset", "optimizer", "lr_decay", "pad"),
        [
            ("cifar10", {"lr": 0.17, "momentum_end": 0.65}, LinearLr(final_factor=0.01, epochs=500), 4),
            ("svhn", {"lr": 0.2, "momentum_end": 0.6}, LinearLr(final_factor=0.001, epochs=250), 0),
        ],
    )
    def test_teachers_of_the_maxout_recipes(self, dataset, optimizer, lr_decay, pad):
        teacher = load_dataset(dataset, "schedule=paper").schedule.teacher
        assert teacher.optimizer == Sgd(momentum=0.5, momentum_epochs=250, **optimizer)
        assert teacher.lr_decay == lr_decay
        assert (teacher.dropout.input, teacher.dropout.hidden, teacher.batch_size) == (0.2, 0.5, 128)
        assert (teacher.augmentation.pad, teacher.lr_scale) == (pad, {"conv": 0.05})

    def test_aflw(self):
        schedule = load_dataset("aflw", "schedule=paper").schedule
        for stage in (schedule.teacher, schedule.hint, schedule.student):
            assert stage.optimizer == Sgd(lr=0.001, momentum=0.1, momentum_end=0.9, momentum_epochs=100)
            assert (stage.epochs, stage.patience, stage.batch_size) == (500, None, 128)
            assert stage.lr_decay == LinearLr(final_factor=0.01, epochs=100)
        assert {schedule.student_init.bound, schedule.teacher_init.bound, schedule.regressor_init.bound} == {0.05}
        assert (schedule.kd.temperature, schedule.kd.weight, schedule.kd.weight_end) == (3, 4, 1)

    @pytest.mark.parametrize(("dataset", "augmented"), [("cifar10", (True, 8)), ("svhn", (False, 0))])
    def test_released_cifar10_and_svhn(self, dataset, augmented):
        schedule = load_dataset(dataset, "schedule=released").schedule
        for stage in (schedule.hint, schedule.student):
            assert (stage.augmentation.flip, stage.augmentation.pad) == augmented
        assert (schedule.kd.start_epoch, schedule.kd.end_epoch, schedule.kd.weight_end) == (3, 399, 1)
        assert (schedule.hint_loss, schedule.kd.soften_student) == ("released", False)

    def test_mnist(self):
        schedule = loading.load(["dataset=mnist", "schedule=paper"]).schedule
        for stage in (schedule.hint, schedule.student):
            assert (stage.epochs, stage.patience, stage.batch_size) == (500, 100, 128)
            assert plain(stage.optimizer) == {
                "_type_": "RmsProp",
                "name": "rmsprop",
                "lr": 0.0005,
                "decay": 0.9,
                "floor": 1e-5,
            }
        assert (schedule.kd.temperature, schedule.kd.weight, schedule.kd.weight_end) == (3, 4, 1)
        assert (schedule.student_init.bound, schedule.regressor_init.bound) == (0.005, 0.05)
        assert (schedule.teacher.dropout.input, schedule.teacher.dropout.hidden) == (0.2, 0.5)
        assert (schedule.hint_loss, schedule.kd.soften_student) == ("sum", True)
        assert schedule.teacher.optimizer == Sgd(lr=0.05, momentum=0.5, momentum_end=0.7, momentum_epochs=250)
        assert schedule.teacher.max_norm == {"conv1": 0.9, "conv": 1.9365, "softmax": 1.9365}
        lower = {"conv1": 0.9, "conv2": 0.9, "conv": 1.9365}
        assert schedule.hint.max_norm == lower | {"regressor": 0.9}
        assert schedule.student.max_norm == lower | {"softmax": 1.9365}

    def test_released_deviates_where_the_code_does(self):
        paper, released = (
            loading.load(["dataset=mnist", f"schedule={name}"]).schedule for name in ("paper", "released")
        )
        ours, theirs = leaves(paper), leaves(released)
        different = {key for key in ours | theirs if ours[key] != theirs[key]}
        assert different == {
            "name", "hint.epochs", "student.epochs", "hint_loss",
            "kd.weight_end", "kd.start_epoch", "kd.end_epoch", "kd.soften_student",
        }  # fmt: skip


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Every value of a tree of options by its dotted key."""
    if not is_dataclass(value):
        return {key: value}
    below = [leaves(getattr(value, item.name), f"{key}.{item.name}".lstrip(".")) for item in fields(value)]
    return {name: leaf for found in below for name, leaf in found.items()}


def test_conf_holds_no_file_that_nothing_composes():
    """An option of `schedule` includes the files in the sub-folder of its name: one for each data set, and bases."""
    shipped = "".join(path.read_text() for path in CONF.rglob("*.yaml"))
    for path in set(CONF.glob("schedule/*/*.yaml")) - set(CONF.glob("schedule/student_init/*.yaml")):
        is_base = path.stem == "base" or path.stem.startswith("stage")
        assert path.stem in DATASETS or (is_base and f"{path.parent.name}/{path.stem}@" in shipped)
        assert (CONF / "schedule" / f"{path.parent.name}.yaml").exists()
    assert {path.name for path in Path(CONF / "hydra").iterdir()} == {"help", "job_logging"}
    folders = {
        path.relative_to(CONF).as_posix() for path in CONF.glob("*/*") if path.is_dir() and "hydra" not in path.parts
    }
    assert folders == {
        "dataset/preprocessing",
        "schedule/student_init",
        *(f"schedule/{name}" for name in ("fast", "modern", "paper", "quick", "released")),
    }
