"""Every key is part of the hashes of those artifacts that it determines, and of no other hash."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from fitnets.composition import loading
from fitnets.config import Config, MaxoutDense, Method, MethodStage, NoTeacher, PretrainedTeacher, Ramp, options
from fitnets.config.options import added, content_hash, option, plain, restore
from fitnets.models import hint_pair, layer_pairs
from fitnets.planning import identity
from fitnets.terms import registry
from fitnets.training import methods
from support.options import NEEDED
from support.timm_models import import_timm

TEACHER, STAGE_1, STUDENT, NOTHING = "teacher hint run", "hint run", "run", ""
REACH = {  # beginning of a key (the longest one counts): the artifacts that the key determines in a run with hints
    "dataset": TEACHER,
    "teacher": TEACHER,
    "teacher.hint": STAGE_1,  # hashed as part of the pair of layers
    "student": STAGE_1,
    "hint_layer": STAGE_1,
    "regressor": STAGE_1,
    "method": STUDENT,
    "schedule.teacher": TEACHER,
    "schedule.teacher_init": TEACHER,
    "schedule.retrain_teacher": TEACHER,
    "schedule.student_init": STAGE_1,
    "schedule.regressor_init": STAGE_1,
    "schedule.hint": STAGE_1,
    "schedule.hint_loss": STAGE_1,
    "schedule.student": STUDENT,
    "schedule.kd": STUDENT,
    "schedule.retrain_student": STUDENT,
    "schedule.equal_epochs": NOTHING,  # except in methods of one stage
    "seed": STAGE_1,
    "engine": NOTHING,
    "engine.cached_logits": STUDENT,
    "tracker": NOTHING,
    "sweep": NOTHING,
    "return_measures": NOTHING,
    "store": NOTHING,
    "rerun": NOTHING,
    "test": NOTHING,
}
HINT_STAGE = ("schedule.hint", "schedule.hint_loss")
TEACHER_LINK = ("regressor", "schedule.regressor_init", "hint_layer.teacher", "teacher.hint")
LINK = (*TEACHER_LINK, "hint_layer", "student.guided")
UNUSED = {  # method: beginnings of the keys that it does not use
    "hints": (),
    "kd": (*HINT_STAGE, *LINK),
    "backprop": (*HINT_STAGE, *LINK, "schedule.kd"),
    "mimic": (*HINT_STAGE, *LINK, "schedule.kd"),
    "dsn": (*HINT_STAGE, *LINK, "schedule.kd"),
    "joint": (*HINT_STAGE, "schedule.kd"),
    "labels_then_kd": ("schedule.hint_loss", *TEACHER_LINK),
    "labels_with_labels": (*HINT_STAGE, "schedule.kd", *TEACHER_LINK),
}
NEUTRAL = {  # reason: keys that are in no hash
    "the images are hashed": {
        *(f"HubImages.{key}" for key in ("hub", "subset", "revision", "path", "image_column", "label_column")),
        *(f"HubImages.{key}" for key in ("first_label", "skip_broken")),
        *(f"HubImages.{split}_split" for split in ("train", "extra", "validation", "test")),
        *(f"OwnImages.{key}" for key in ("target", "args", "version")),
        *(
            f"{kind}.{key}"
            for kind in ("Folder", "Photos")
            for key in ("path", "split_file", "skip_broken", "validation_share", "test_share")
        ),
    },
    "the pair of layers is hashed": {
        *(f"{net}.hint" for net in ("MaxoutTeacher", "ReluTeacher", "FastTeacher")),
        *(f"{net}.guided" for net in ("FitNet", "GroupedFitNet", "ReluFitNet")),
    },
    "network and weights are hashed": {"RunTeacher.path", "Ensemble.members", "Ensemble.hint_member"}
    | {f"{kind}.weights" for kind in ("CustomTeacher", "CustomStudent", "LibraryTeacher", "LibraryStudent")},
    "no part of a result": {
        f"Config.{key}" for key in ("engine", "tracker", "sweep", "store", "rerun", "test", "return_measures")
    },
}
CASES = [  # together they hold every option of the schema
    [],
    ["dataset=mnist", "schedule=paper", "tracker=none"],
    ["dataset=mnist", "schedule=released", "method=kd", "schedule.equal_epochs=true"],
    ["dataset=cifar10", "student=table6", "method=joint", "regressor=conv"],
    ["dataset=svhn", "student=thin", "method=labels_then_kd", "hint_layer=middle"],
    ["dataset=cifar100", "teacher=resnet", "student=wrn", "hint_layer=middle", "regressor=fc", "schedule=modern"],
    ["dataset=cifar10", "teacher=wrn", "student=resnet", "method=dsn", "hint_layer=none"],
    ["dataset=cifar10", "student=fitnet1", "method=mimic", "dataset/preprocessing=standardize"],
    ["dataset=aflw", "schedule=paper"],
    ["dataset=folder", "method=backprop"],
    ["dataset=custom"],
    ["dataset=cifar10", "teacher=fast", "student=fitnet1", "schedule=fast", "schedule/student_init=lsuv"],
    ["schedule=quick", "schedule/student_init=orthogonal", "teacher=fast"],
    ["hint_layer=named", "method=labels_with_labels"],
    ["hint_layer=pairs"],
    ["regressor=identity"],
    ["teacher=none", "method=backprop"],
    ["teacher=run"],
    ["teacher=ensemble"],
    ["teacher=custom", "student=custom", "regressor=pointwise"],
    ["dataset=photos", "tracker=tensorboard"],
    ["teacher=timm", "student=transformers"],
    ["teacher=transformers", "student=timm"],
]


WITH_TESTS_OF_THEIR_OWN = (
    "RunTeacher",
    "Ensemble",
    "CustomTeacher",
    "CustomStudent",
    "LibraryTeacher",
    "LibraryStudent",
)
"""options whose hashes are tested in test_teachers.py, test_custom.py and test_libraries.py"""


@pytest.fixture(scope="module", autouse=True)
def timm():
    import_timm()


@dataclass(frozen=True)
class Leaf:
    """A key of a composed configuration. kind: the option's type; hint: the type of the value."""

    key: str
    kind: type
    field: str
    hint: Any
    value: Any


def leaves(value: Any, key: str = "") -> Iterator[Leaf]:
    for item in fields(value):
        inner, dotted = getattr(value, item.name), f"{key}.{item.name}" if key else item.name
        if isinstance(value, Method):
            continue  # the options of losses have a test of their own
        if is_dataclass(inner):
            yield from leaves(inner, dotted)
        elif isinstance(inner, dict) and inner and all(map(is_dataclass, inner.values())):
            first = next(iter(inner))
            yield from leaves(inner[first], f"{dotted}.{first}")
        elif isinstance(inner, list) and inner and is_dataclass(inner[0]):
            yield from leaves(inner[0], f"{dotted}.0")
        else:
            yield Leaf(dotted, type(value), item.name, get_type_hints(type(value))[item.name], inner)


def changed(value: Any, key: str, new: Any) -> Any:
    """The configuration with another value of one key."""
    first, _, rest = key.partition(".")
    if isinstance(value, list):
        return [changed(value[0], rest, new), *value[1:]]
    if isinstance(value, dict):
        return value | {first: changed(value[first], rest, new)}
    return replace(value, **{first: changed(getattr(value, first), rest, new) if rest else new})


SPECIAL = {  # new values of keys that allow only some values
    "Digits.test_images": 298,
    "FastTeacher.hint": "group1",
    **dict.fromkeys(("MaxoutTeacher.hint", "ReluTeacher.hint", "NamedPair.teacher", "NamedPair.student"), "conv1"),
    **dict.fromkeys(("FitNet.guided", "GroupedFitNet.guided", "ReluFitNet.guided"), "conv1"),
    **dict.fromkeys(("Resnet.depth", "ResnetTeacher.depth"), 32),
    **dict.fromkeys(("Wrn.depth", "WrnTeacher.depth"), 34),
    "LayerPair.regressor": "fc",
    "FastTeacher.groups": [64, 32],
    "TriangularLr.warmup": 0.5,
}


def another(leaf: Leaf) -> Any:
    """A different value of the same type."""
    if get_origin(leaf.hint) is Literal:
        return next((one for one in get_args(leaf.hint) if one != leaf.value), "renamed")
    match leaf.value:
        case bool():
            other: Any = not leaf.value
        case int() | float():
            other = leaf.value + (1 if isinstance(leaf.value, int) else 0.125)
        case str():
            other = leaf.value + "x"
        case dict():
            other = leaf.value | {"softmax": 0.375}
        case list() if leaf.hint == list[MaxoutDense]:
            other = [MaxoutDense(units=8, pieces=2)]
        case list():
            other = [*leaf.value, [7]]
        case None:
            other = "x" if str in get_args(leaf.hint) else 3
    special = SPECIAL.get(f"{leaf.kind.__name__}.{leaf.field}", other)
    return other if special == leaf.value else special


def expected(config: Config, leaf: Leaf, *, is_staged: bool) -> set[str]:
    """The artifacts that another value of this key changes."""
    unused = [*UNUSED[config.method.name]]
    if config.hint_layer.name != "paper":
        unused += ["teacher.hint", "student.guided"]
    if isinstance(config.teacher, PretrainedTeacher | NoTeacher):
        unused += ["schedule.teacher", "schedule.teacher_init", "schedule.retrain_teacher"]
    special: dict[str, str] = {}
    if config.schedule.equal_epochs and not is_staged:  # the epochs of both stages
        special |= {"schedule.hint.epochs": STUDENT, "schedule.equal_epochs": STUDENT}
    if leaf.key == "schedule.views" or (leaf.key == "engine.views" and config.schedule.views is not None):
        numbers = [config.schedule.views, another(leaf) if leaf.key == "schedule.views" else None]
        return _repeating(config, min(filter(None, numbers)), is_staged=is_staged)
    if config.teacher.name == "ensemble":  # its outputs are averaged after they were softened
        special["schedule.kd.temperature"] = TEACHER
    if leaf.key in special:
        return set(special[leaf.key].split())
    beginnings = [leaf.key[:end] for end in range(len(leaf.key), 0, -1) if leaf.key[end : end + 1] in ("", ".")]
    if any(beginning in unused for beginning in beginnings) or _is_silent(leaf):
        return set()
    found = set(next(REACH[beginning] for beginning in beginnings if beginning in REACH).split())
    if isinstance(config.teacher, NoTeacher):
        found -= {"teacher"}
    return found if is_staged else found - {"hint"}


def _repeating(config: Config, views: int, *, is_staged: bool) -> set[str]:
    """The artifacts whose stages repeat crops, of so many different ones."""
    stages = {"hint": config.schedule.hint, "run": methods.student_stage(config)}
    found = {name for name, stage in stages.items() if stage.augmentation.pad and stage.epochs > views}
    if not is_staged:
        return found - {"hint"}
    return found | ({"run"} if "hint" in found else set())


def _is_silent(leaf: Leaf) -> bool:
    """Return whether the key changes no result. Layer keys change results through their pair of layers."""
    return leaf.field == "name" or (_is_neutral(leaf) and leaf.field not in ("hint", "guided"))


def _is_neutral(leaf: Leaf) -> bool:
    (marked,) = [item for item in fields(leaf.kind) if item.name == leaf.field]
    return "neutral" in marked.metadata


def load(words: list[str], earlier_run: Path) -> Config:
    needed = [word.format(earlier_run=earlier_run) for choice in words for word in NEEDED.get(choice, [])]
    return loading.load([*needed, *words])


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_every_key_is_in_the_hashes_that_it_determines_and_in_no_other(words, earlier_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a changed store= makes a folder here
    monkeypatch.setattr(  # changed networks need not fit together
        layer_pairs, "resolved_regressors", lambda config: [link.regressor for link in hint_pair.links(config)]
    )
    config = load(words, earlier_run)
    before = identity.hashes(config, "digest", "fp32")
    wrong = {}
    for leaf in leaves(config):
        if leaf.kind.__name__ in WITH_TESTS_OF_THEIR_OWN:
            continue
        after = identity.hashes(changed(config, leaf.key, another(leaf)), "digest", "fp32")
        different = {kind for kind in before._fields if getattr(before, kind) != getattr(after, kind)}
        if different != expected(config, leaf, is_staged=before.hint is not None):
            wrong[leaf.key] = different
    assert wrong == {}


def test_the_walk_sees_every_key_of_the_schema(earlier_run):
    seen = {(leaf.kind, leaf.field) for words in CASES for leaf in leaves(load(words, earlier_run))}
    every = {
        (kind, name)
        for kind in options.OPTIONS.values()
        if kind not in (Method, MethodStage, Ramp)  # the options of losses have a test of their own
        for name, hint in get_type_hints(kind).items()
        if not _is_inner(hint) and get_origin(hint) is not ClassVar
    }
    assert every <= seen


@pytest.mark.parametrize("loss", [name for name in registry.names() if name != "custom"])  # see test_custom_losses.py
def test_every_option_of_a_loss_counts(loss):
    """In stage 2 each key of a term changes the hash of the run, and of nothing else."""
    before = with_term(loss, {})
    for field in fields(registry.loss_class(loss)):
        for value in OTHER_VALUES.get(f"{loss}.{field.name}") or OTHER_VALUES[field.name]:
            after = with_term(loss, {field.name: value})
            assert (after.teacher, after.hint) == (before.teacher, before.hint)
            assert after.run != before.run, field.name


OTHER_VALUES: dict[str, list[Any]] = {  # option: values other than its default
    "weight": [2.5, {"start": 0.0, "end": 2.0}, {"start": 0.0, "end": 2.0, "end_epoch": 4}],
    "reduction": ["mean", "released"],
    "layers": ["pairs"],
    "label_hint.layers": ["all"],
    "dimensions": [64],
    "negatives": [10],
    "momentum": [0.25],
    **dict.fromkeys(("temperature", "alpha", "beta", "gamma", "distance", "angle"), [3.0]),
}


def with_term(loss: str, table: dict[str, Any]) -> identity.Hashes:
    """The hashes of a run whose stage 2 has this term."""
    config = loading.load([])
    student = config.method.stages["student"]
    stages = config.method.stages | {"student": replace(student, terms=student.terms | {loss: table})}
    return identity.hashes(replace(config, method=replace(config.method, stages=stages)), "digest", "fp32")


def test_a_factor_on_the_teachers_terms_is_a_weight():
    def run(*words: str) -> str:
        return identity.hashes(loading.load(list(words)), "digest", "fp32").run

    doubled = "method.teaching_weight=2"
    weight = "method.stages.student.terms.attention.weight=2000"
    assert run("method=attention", doubled) == run("method=attention", weight) != run("method=attention")
    assert run("method=backprop", doubled) == run("method=backprop")
    assert run("method=kd", doubled) != run("method=kd")
    assert run("method=joint", doubled) == run("method=joint", "method.stages.student.terms.hint.weight=200")


@pytest.mark.parametrize("method", ["contrastive", "variational", "joint"])
def test_the_initial_weights_of_heads_count(method):
    words = ["schedule=paper", "dataset=mnist", f"method={method}"]
    first, second = (
        identity.hashes(loading.load([*words, f"schedule.regressor_init.bound={bound}"]), "digest", "fp32")
        for bound in (0.05, 0.5)
    )
    assert first.run != second.run


def test_the_order_in_which_terms_are_given_changes_nothing():
    def hashes(terms: dict[str, Any]) -> identity.Hashes:
        config = loading.load(["method=joint"])
        stages = {"student": MethodStage(terms=terms)}
        return identity.hashes(replace(config, method=replace(config.method, stages=stages)), "digest", "fp32")

    terms: dict[str, Any] = {"label": {}, "hint": {"weight": 3.0}, "kd": {}}
    assert hashes(terms) == hashes(dict(reversed(terms.items())))
    assert hashes(terms | {"mimic": {"weight": 0.0}}) == hashes(terms)  # a weight of 0 leaves a term out


def _is_inner(hint: Any) -> bool:
    """Return whether the key holds options; the walk visits their keys instead."""
    return any(is_dataclass(kind) for kind in (hint, *get_args(hint)))


def test_the_keys_without_a_say_in_the_result_are_these():
    marked = {
        f"{name}.{field.name}"
        for name, kind in options.OPTIONS.items()
        for field in fields(kind)
        if "neutral" in field.metadata and field.name != "name"
    }
    assert marked == set().union(*NEUTRAL.values())


_AS_BEFORE = " ".join(
    f"schedule.{stage}.optimizer.lr=3e-3 schedule.{stage}.max_grad_norm=null"
    for stage in ("teacher", "hint", "student")
)
"""former values of schedules, with which the hashes were stored"""
GOLDEN = {  # overrides: hashes of teacher, stage 1 and run. If one changes, stored results are lost
    "":
        "36abffdf86b02d41 bd28e9b6319a6946 48f80d8f7bae97a7",
    "dataset=mnist schedule=paper":
        "fd256124f5bf2703 fed22037f31d477d 6493b51a02a883cd",
    "dataset=cifar10 schedule=released student=fitnet1":
        "56ee76787f13a47a 26b0b676b6a1a4ae 012e891eacb525d5",
    "dataset=svhn student=thin hint_layer=middle method=joint schedule=modern "
    "schedule.teacher.augmentation.pad=0 schedule.student.augmentation.pad=0 " + _AS_BEFORE:
        "4e4d5245d4f45fc1 None 09fbf00dc8f639ca",
    "dataset=cifar100 teacher=resnet student=wrn hint_layer=middle method=labels_then_kd " + _AS_BEFORE:
        "4a7e6ae3e2eafef6 a95d280c04c8a663 614c16de96b56748",
    "method=dsn":
        "36abffdf86b02d41 None f40a0bd963b4a8b4",
    "dataset=mnist method=mimic schedule=released":
        "fd256124f5bf2703 None 9ae844f2727cb384",
}  # fmt: skip


@pytest.mark.parametrize(("words", "golden"), GOLDEN.items())
def test_a_new_version_finds_the_results_of_an_older_one(words, golden):
    assert " ".join(map(str, identity.hashes(loading.load(words.split()), "digest", "fp32"))) == golden


def test_a_key_that_is_added_with_a_default_leaves_old_hashes_alone(monkeypatch):
    def make(**later: Any) -> type:
        monkeypatch.setattr(options, "OPTIONS", dict(options.OPTIONS))
        return option(type("Grown", (), {"__annotations__": {"lr": float, **dict.fromkeys(later, float)}, **later}))

    old, new = make(), make(slope=added(default=4.0))
    assert content_hash(new(lr=0.5)) == content_hash(new(lr=0.5, slope=4)) == content_hash(old(lr=0.5))
    assert content_hash(new(lr=0.5, slope=5)) != content_hash(old(lr=0.5))
    assert restore({"_type_": "Grown", "lr": 0.5}) == new(lr=0.5)  # an older config.yaml


@pytest.mark.parametrize(
    ("chosen", "same"), [("conv", "conv regressor.pad=0"), ("auto", "conv"), ("conv", "conv regressor.stride=1")]
)
def test_a_choice_left_open_is_what_it_comes_to(chosen, same):
    first, second = (
        identity.hashes(loading.load(f"regressor={one}".split()), "digest", "fp32") for one in (chosen, same)
    )
    assert first == second


class TestHashes:
    def test_stored_yaml_gives_the_configuration_back(self):
        for words in ([], ["dataset=mnist", "schedule=paper", "student=thin", "method=kd"]):
            config = loading.load(words)
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
        assert content_hash(loading.load([words])) == content_hash(loading.load([]))

    @pytest.mark.parametrize(
        "words", ["seed=1", "teacher.seed=1", "dataset.seed=1", "schedule.kd.weight=5", "regressor=conv"]
    )
    def test_what_can_is(self, words):
        assert content_hash(loading.load([words])) != content_hash(loading.load([]))

    @pytest.mark.parametrize(
        ("words", "changed"),
        [
            ("seed=1", "hint run"),
            ("seed=1 method=kd", "run"),
            ("teacher.seed=1", "teacher hint run"),
            ("dataset.seed=1", "teacher hint run"),
            ("dataset.validation_images=299", "teacher hint run"),
            ("schedule.teacher.epochs=9", "teacher hint run"),
            ("schedule.teacher.dropout.hidden=0.1", "teacher hint run"),
            ("schedule.hint.epochs=9", "hint run"),
            ("schedule.hint.epochs=9 method=kd", "run"),  # equal totals
            ("schedule.hint.epochs=9 method=kd schedule.equal_epochs=false", ""),
            ("schedule.hint.optimizer.lr=9 method=kd", ""),
            ("schedule.student.epochs=9", "run"),
            ("schedule.kd.weight=9", "run"),
            ("schedule.kd.weight=9 method=backprop", ""),
            ("schedule.hint_loss=released", "hint run"),
            ("schedule.hint_loss=released method=kd", ""),
            ("dataset/preprocessing=standardize", "teacher hint run"),
            ("schedule.teacher.max_steps=9", "teacher hint run"),
            ("schedule.retrain_teacher=true", "teacher hint run"),
            ("schedule.retrain_student=true", "run"),
            ("schedule.student.augmentation.flip=true", "run"),
            ("schedule.hint.augmentation.flip=true", "hint run"),
            ("schedule.hint.augmentation.flip=true method=labels_then_kd", "hint run"),
            ("schedule.hint.augmentation.flip=true method=joint", ""),
            ("schedule.kd.weight=9 method=joint", ""),
            ("schedule.kd.weight=9 method=labels_then_kd", "run"),
            ("schedule.kd.weight=9 method=labels_then_labels", ""),
            ("schedule.kd.weight=9 method=mimic", ""),
            ("schedule.hint_loss=released method=joint", ""),
            ("regressor=fc method=joint", "run"),
            ("regressor=fc method=labels_then_kd", ""),
            ("student.guided=conv4 method=labels_with_kd", "run"),
            ("teacher.hint=conv1 method=labels_with_kd", ""),
            ("student.guided=conv4 method=dsn", ""),
            ("regressor=fc", "hint run"),
            ("regressor=fc method=kd", ""),
            ("teacher.hint=conv1", "hint run"),
            ("teacher.hint=conv1 method=kd", ""),
            ("hint_layer=named hint_layer.teacher=conv2 hint_layer.student=conv5", ""),  # the paper's pair by name
            ("student.convs.0.units=13", "hint run"),
            ("engine.device=cpu engine.threads=1 tracker=none store=/elsewhere test=false rerun=true", ""),
        ],
    )
    def test_artifacts_change_with_what_determines_them(self, words, changed):
        given = words.split()
        shared = [word for word in given if word.startswith(("method=", "schedule.equal_epochs="))]
        before = identity.hashes(loading.load(shared), "digest", "fp32")
        after = identity.hashes(loading.load(given), "digest", "fp32")
        different = [kind for kind in before._fields if getattr(before, kind) != getattr(after, kind)]
        assert different == changed.split()

    @pytest.mark.parametrize(("method", "shared"), [("labels_then_labels", True), ("hints", False)])
    def test_methods_share_a_stage_1_that_is_the_same(self, method, shared):
        first, second = (
            identity.hashes(loading.load([f"method={name}"]), "digest", "fp32") for name in (method, "labels_then_kd")
        )
        assert (first.hint == second.hint, first.run == second.run) == (shared, False)

    def test_methods_of_one_stage_have_no_stage_1(self):
        assert identity.hashes(loading.load(["method=kd"]), "digest", "fp32").hint is None

    def kinship(self, *words):
        return identity.comparison_keys(loading.load(list(words)), "digest", "fp32")

    def test_methods_share_a_setting_and_have_parts_of_their_own(self):
        for words in (
            "seed=1",
            "teacher.seed=2",
            "method=kd",
            "student.guided=conv4",
            "schedule.kd.weight=9",
            "schedule.hint.epochs=3",
        ):
            assert self.kinship(words).setting == self.kinship().setting
        for words in (
            "dataset.seed=1",
            "schedule.student.optimizer.lr=0.1",
            "student=thin",
            "schedule.teacher.epochs=3",
        ):
            assert self.kinship(words).setting != self.kinship().setting

    def test_what_a_method_does_not_use_is_no_part_of_it(self):
        for words in ("student.guided=conv4", "schedule.kd.weight=9", "schedule.hint.optimizer.lr=0.1", "regressor=fc"):
            assert self.kinship(words).method != self.kinship().method
            assert self.kinship(words, "method=backprop") == self.kinship("method=backprop")
        assert self.kinship("schedule.kd.weight=9", "method=kd").kd == self.kinship("schedule.kd.weight=9").kd
        assert self.kinship("method=backprop").kd is None
        assert self.kinship("regressor=auto").method == self.kinship("regressor=conv").method

    def test_equal_totals_are_part_of_every_method(self):
        words = ("method=backprop", "schedule.hint.epochs=3")
        assert self.kinship(*words).method != self.kinship("method=backprop").method

    def test_the_seeds_of_a_teacher_share_its_setting(self):
        assert self.kinship("teacher.seed=2", "student=thin").teacher_setting == self.kinship().teacher_setting
        assert self.kinship("schedule.teacher.epochs=3").teacher_setting != self.kinship().teacher_setting

    def test_nan_has_no_hash(self):
        config = loading.load([])
        with pytest.raises(ValueError, match="not JSON compliant"):
            content_hash(replace(config.schedule.kd, weight=float("nan")))


@pytest.mark.parametrize(
    ("words", "described"),
    [
        (["schedule/student_init=lsuv"], "lsuv"),
        (["schedule=paper"], "uniform 0.005"),
        (["student=custom", "student.target=own_models.small", "hint_layer=none", "method=kd"], "its own"),
    ],
)
def test_initial_weights_are_described_as_they_are_drawn(words, described):
    assert identity.initial_weights(loading.load(words)) == described
