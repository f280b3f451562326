"""The configuration as a whole: every option composes and builds, every key is read, hashes are what they should be."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, TINY
from test_data import write_parquet

from fitnets import build, compose, methods, options, plan, schedules, teachers
from fitnets.config import Config, LinearLr
from fitnets.optimizers import LayerOptimizer
from fitnets.options import content_hash, plain, restore
from fitnets.rules import leaves

CONF = ROOT / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
DATASETS = [option for group, option in OPTIONS if group == "dataset"]
NEEDED = {  # what an option cannot do without
    "hint_layer=named": ["hint_layer.teacher=conv2", "hint_layer.student=conv5"],
    "hint_layer=none": ["method=kd"],
    "regressor=identity": [
        "hint_layer=named",
        "hint_layer.teacher=conv1",
        "hint_layer.student=conv3",
        "teacher.convs.0.units=12",
        "teacher.convs.0.pool=2",
    ],
    "teacher=maxout_mnist": ["dataset=mnist"],
    "teacher=maxout_cifar10": ["dataset=cifar10"],
    "teacher=maxout_cifar100": ["dataset=cifar100"],
    "teacher=maxout_svhn": ["dataset=svhn"],
    "teacher=relu_aflw": ["dataset=aflw", "dataset.path=patches"],
    "teacher=run": ["teacher.path={earlier_run}"],
    "teacher=ensemble": ["teacher.members=[{earlier_run}]", "teacher.hint_member={earlier_run}"],
    "student=fitnet_mnist": ["dataset=mnist"],
    "student=fitnet_aflw1": ["dataset=aflw", "dataset.path=patches"],
    "student=fitnet_aflw2": ["dataset=aflw", "dataset.path=patches"],
    "dataset=aflw": ["dataset.path=patches"],
    "dataset=folder": ["dataset.path=images", "dataset.classes=3"],
}
DEFAULTS = {  # teacher and student that a data set brings
    "digits": ("maxout_digits", "fitnet_digits"),
    "mnist": ("maxout_mnist", "fitnet_mnist"),
    "cifar10": ("maxout_cifar10", "fitnet4"),
    "cifar100": ("maxout_cifar100", "fitnet4"),
    "svhn": ("maxout_svhn", "fitnet3"),
    "aflw": ("relu_aflw", "fitnet_aflw2"),
    "folder": ("maxout_cifar10", "fitnet1"),
}


def load_dataset(dataset: str, *words: str) -> Config:
    choice = f"dataset={dataset}"
    return compose.load([choice, *NEEDED.get(choice, []), *words])


def build_everything(config: Config) -> None:
    """Networks, regressor, initial weights and optimisers of every stage; no data."""
    dataset, schedule = config.dataset, config.schedule
    teacher, student = teachers.network(config), build.network(config.student, dataset, "student")
    build.initialise(teacher, schedule.teacher_init, 0)
    build.initialise(student, schedule.student_init, 0)
    for objective in methods.stages(config, teacher, student):
        LayerOptimizer(objective.layers, objective.stage, steps_per_epoch=10)
    LayerOptimizer(dict(teacher.layers.items()), schedule.teacher, steps_per_epoch=10)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_converts_and_builds(group, option, earlier_run):
    choice = f"{group}={option}"
    needed = [word.format(earlier_run=earlier_run) for word in NEEDED.get(choice, [])]
    build_everything(compose.load([choice, *needed]))


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


@pytest.mark.parametrize("dataset", DATASETS)
def test_defaults_follow_the_data_set(dataset):
    config = load_dataset(dataset)
    assert (config.teacher.name, config.student.name) == DEFAULTS[dataset]
    assert config.dataset.name == dataset


def test_the_user_wins_over_what_an_option_overrides():
    assert compose.load(["student=thin"]).hint_layer.name == "middle"
    named = compose.load(["student=thin", "hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=conv1"])
    assert named.hint_layer.name == "named"


@pytest.fixture
def reads(monkeypatch) -> set[str]:
    """`Option.field` of every field that the package's code reads; printing, hashing and range checks do not count."""
    seen: set[str] = set()
    blind = {"plain", "leaves", "_out_of_range", "__eq__", "__repr__"}

    def spy_on(kind: type) -> None:
        names = {field.name for field in fields(kind)}
        plainly = kind.__getattribute__

        def reading(self, name):
            caller = sys._getframe(1).f_code
            if name in names and "/fitnets/" in caller.co_filename and caller.co_name not in blind:
                seen.add(f"{kind.__name__}.{name}")
            return plainly(self, name)

        monkeypatch.setattr(kind, "__getattribute__", reading, raising=False)

    for kind in options.OPTIONS.values():
        spy_on(kind)
    return seen


def test_every_key_is_read(reads, command, tmp_path):
    """Whole tiny runs read every field; the `name` of a union's option is for the reader's eye."""
    write_parquet(tmp_path / "data", "train", np.zeros((300, 28, 28), dtype=np.uint8), list(range(10)) * 30)
    write_parquet(tmp_path / "data", "test", np.zeros((30, 28, 28), dtype=np.uint8), list(range(10)) * 3)
    one_epoch = [f"schedule.{stage}.epochs=1" for stage in ("teacher", "hint", "student")]
    dense = "teacher.dense=[{units: 8, pieces: 3}]"
    named = ["hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=conv1"]
    mnist = ["dataset=mnist", f"dataset.path={tmp_path / 'data'}", "dataset.validation=100", "schedule=paper"]
    for words in ([*TINY[1:], "tracker=wandb", dense, *named], ["tracker=none", *mnist, *one_epoch]):
        finished = command(*words)
        assert finished.code == 0, finished.err
    schedules.learning_rate(replace(compose.load([]).schedule.hint, lr_decay=LinearLr(end=0.1, epochs=2)), 0, 1)
    unread = {f"{name}.{field.name}" for name, option in options.OPTIONS.items() for field in fields(option)} - reads
    assert {key for key in unread if not key.endswith(".name")} == set()
    assert {f"{name}.name" for name in ("Digits", "HubImages", "FitNet", "Thin", "MaxoutTeacher", "Hints")} <= reads


class TestMnistNumbers:
    """Where `paper.md` is certain, the configuration says the same."""

    def test_paper(self):
        schedule = compose.load(["dataset=mnist", "schedule=paper"]).schedule
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

    def test_released_deviates_where_the_code_does(self):
        paper, released = (
            compose.load(["dataset=mnist", f"schedule={name}"]).schedule for name in ("paper", "released")
        )
        different = {
            key for (key, value), (_, other) in zip(leaves(paper), leaves(released), strict=True) if value != other
        }
        assert different == {
            "name", "hint.epochs", "student.epochs", "hint_loss",
            "kd.weight_end", "kd.start_epoch", "kd.soften_student",
        }  # fmt: skip


class TestHashes:
    def test_stored_yaml_gives_the_configuration_back(self):
        for words in ([], ["dataset=mnist", "schedule=paper", "student=thin", "method=kd"]):
            config = compose.load(words)
            again = restore(yaml.safe_load(yaml.safe_dump(plain(config))))
            assert again == config
            assert content_hash(again) == content_hash(config)

    @pytest.mark.parametrize(
        "words",
        [
            "store=/elsewhere",
            "engine.threads=1",
            "tracker=none",
            "test=false",
            "student.name=mine",
            "schedule.kd.weight=4.0",
        ],
    )
    def test_what_cannot_change_a_result_is_in_no_hash(self, words):
        assert content_hash(compose.load([words])) == content_hash(compose.load([]))

    @pytest.mark.parametrize(
        "words", ["seed=1", "teacher.seed=1", "dataset.seed=1", "schedule.kd.weight=5", "regressor=conv"]
    )
    def test_what_can_is(self, words):
        assert content_hash(compose.load([words])) != content_hash(compose.load([]))

    @pytest.mark.parametrize(
        ("words", "changed"),
        [
            ("seed=1", "run"),
            ("teacher.seed=1", "teacher run"),
            ("dataset.seed=1", "teacher run"),
            ("dataset.validation=299", "teacher run"),
            ("schedule.teacher.epochs=9", "teacher run"),
            ("schedule.teacher.dropout.hidden=0.1", "teacher run"),
            ("schedule.hint.epochs=9", "run"),
            ("schedule.hint.epochs=9 method=kd", "run"),  # equal totals
            ("schedule.hint.epochs=9 method=kd schedule.equal_epochs=false", ""),
            ("schedule.hint.optimizer.lr=9 method=kd", ""),
            ("schedule.student.epochs=9", "run"),
            ("schedule.kd.weight=9", "run"),
            ("schedule.kd.weight=9 method=backprop", ""),
            ("schedule.hint_loss=released", "run"),
            ("schedule.hint_loss=released method=kd", ""),
            ("regressor=fc", "run"),
            ("regressor=fc method=kd", ""),
            ("teacher.hint=conv1", "run"),
            ("teacher.hint=conv1 method=kd", ""),
            ("hint_layer=named hint_layer.teacher=conv2 hint_layer.student=conv5", ""),  # the paper's pair by name
            ("student.convs.0.units=13", "run"),
            ("engine.device=cpu engine.threads=1 tracker=none store=/elsewhere test=false", ""),
        ],
    )
    def test_teacher_and_run_change_with_what_determines_them(self, words, changed):
        given = words.split()
        shared = [word for word in given if word.startswith(("method=", "schedule.equal_epochs="))]
        before = plan.hashes(compose.load(shared), "digest")
        after = plan.hashes(compose.load(given), "digest")
        assert [kind for kind, old, new in zip(("teacher", "run"), before, after, strict=True) if old != new] == (
            changed.split()
        )

    def test_nan_has_no_hash(self):
        config = compose.load([])
        with pytest.raises(ValueError, match="not JSON compliant"):
            content_hash(replace(config.schedule.kd, weight=float("nan")))


def test_conf_holds_no_file_that_nothing_composes():
    """Files of the groups' sub-folders are reached through the option above them, one for each data set."""
    for path in CONF.glob("schedule/*/*.yaml"):
        assert path.stem in DATASETS
        assert (CONF / "schedule" / f"{path.parent.name}.yaml").exists()
    assert {path.name for path in Path(CONF / "hydra").iterdir()} == {"help", "job_logging"}
