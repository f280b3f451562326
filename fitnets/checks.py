"""The rules that a composed configuration must fulfil. They are checked before anything heavy is loaded."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from fitnets.config import (
    Architecture,
    Config,
    CustomNet,
    CustomStudent,
    Dataset,
    EarlierRunTeacher,
    Ensemble,
    Folder,
    HubImages,
    LocalContrast,
    NoPair,
    NoTeacher,
    OwnImages,
    PaperPair,
    PretrainedTeacher,
    Ramp,
    Resnet,
    RunTeacher,
    Scale,
    SeveralPairs,
    Sgd,
    StageSettings,
    Standardize,
    Thin,
    Whiten,
    Wrn,
    measures,
)
from fitnets.config import layer_names as config_layer_names
from fitnets.config.layer_names import layer_names
from fitnets.config.methods import STAGES
from fitnets.config.options import Bounds, bounds_of, locations
from fitnets.errors import ConfigError, list_first, suggest
from fitnets.models.hint_pair import guided_layers, hint_pair
from fitnets.store import earlier_runs
from fitnets.terms import registry


def check(config: Config) -> Config:
    """Check all rules and return the configuration itself. Raises ConfigError with one line for each broken rule."""
    broken = [
        *_empty_paths(config),
        *_out_of_range(config),
        *_broken_dataset(config),
        *_broken_networks(config),
        *_broken_schedule(config),
        *_broken_optimizers(config),
        *_broken_augmentation(config),
        *_broken_stages(config),
    ]
    broken += [*_broken_custom(config), *_broken_sweep(config)]
    if not broken:  # rules about terms and layers need valid stages and networks
        broken = [*_broken_terms(config), *_broken_without_teacher(config)]
        broken += [*_broken_hints(config), *_broken_scales(config)]
    if broken:
        raise ConfigError(list_first(broken))
    return config


def check_dataset(config: Config) -> None:
    """Check the rules of data sets alone. Raises ConfigError."""
    broken = [line for line in _out_of_range(config) if line.startswith("dataset.")] + [*_broken_dataset(config)]
    if broken:
        raise ConfigError(list_first(broken))


def _empty_paths(config: Config) -> Iterator[str]:
    for option, name, key in locations(config):
        path = getattr(option, name)
        if isinstance(path, str) and not path.strip():
            yield f"{key}= is empty: give a path"
        if isinstance(path, list) and not all(member.strip() for member in path):
            yield f"{key}={path}: a path of the list is empty: give all paths"


def _out_of_range(config: Config) -> Iterator[str]:
    for key, value, bounds in _bounded_numbers(config):
        if not bounds.allow(value):
            yield f"{key}={value} is out of range: {bounds}"


def _bounded_numbers(value: Any, key: str = "", bounds: Bounds | None = None) -> Iterator[tuple[str, float, Bounds]]:
    """Yield (dotted key, number, bounds) of every number whose field has bounds, in lists and tables too.

    bounds: bounds of the field that holds the value"""
    if is_dataclass(value):
        for field in fields(value):
            dotted = f"{key}.{field.name}" if key else field.name
            yield from _bounded_numbers(getattr(value, field.name), dotted, bounds_of(field))
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _bounded_numbers(item, f"{key}.{name}", bounds)
    elif bounds is not None and isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value, bounds


_MOST_WHITENED = 3 * 64 * 64  # largest number of values of an image; their covariance matrix takes 1 GB


def _broken_folder(dataset: Folder) -> Iterator[str]:
    if dataset.crop_share < 1 and dataset.stored_size is None:
        yield (
            f"dataset.crop_share={dataset.crop_share:g}: images that are stored at {dataset.width}x{dataset.height} "
            "pixels have no margin to crop: give dataset.stored_size=auto"
        )
    if isinstance(dataset.stored_size, int) and dataset.stored_size < dataset.resized_side:
        yield (
            f"dataset.stored_size={dataset.stored_size}: the short side must be at least {dataset.resized_side} pixels "
            f"for images of {dataset.width}x{dataset.height} with dataset.crop_share={dataset.crop_share:g}"
        )
    if dataset.squash and dataset.stored_size is None:
        yield "dataset.squash=true needs images that are stored with their proportions: give dataset.stored_size=auto"
    if dataset.validation_share + dataset.test_share > 0.9:
        yield "dataset.validation_share and dataset.test_share leave less than a tenth to train on: give smaller ones"


def _broken_dataset(config: Config) -> Iterator[str]:
    dataset = config.dataset
    values = dataset.channels * dataset.height * dataset.width
    if isinstance(dataset.preprocessing, Whiten) and values > _MOST_WHITENED:
        yield (
            f"dataset/preprocessing=whiten needs the covariance of all {values} values of an image, and at most "
            f"{_MOST_WHITENED} are allowed: give smaller images, or dataset/preprocessing=standardize"
        )
    if isinstance(dataset.preprocessing, LocalContrast) and dataset.preprocessing.window % 2 == 0:
        yield f"dataset.preprocessing.window={dataset.preprocessing.window} is even: give an odd number of pixels"
    if isinstance(dataset, Folder):
        yield from _broken_folder(dataset)
    if isinstance(dataset, Folder | OwnImages):
        return
    has_own_split = isinstance(dataset, HubImages) and dataset.validation_split is not None
    if dataset.validation_images == 0 and not has_own_split:
        yield "dataset.validation_images=0 is out of range: at least 1"
    if not isinstance(dataset, HubImages):
        return
    splits = [dataset.train_split, dataset.extra_split, dataset.validation_split, dataset.test_split]
    names = [split for split in splits if split is not None]
    if len(set(names)) < len(names):
        yield f"dataset: train, extra, validation and test split are {', '.join(names)}: give different splits"
    if dataset.validation_split is not None and dataset.validation_images + dataset.extra_validation > 0:
        yield (
            f"dataset.validation_split={dataset.validation_split} and "
            f"dataset.validation_images={dataset.validation_images}: give "
            "dataset.validation_images=0, or dataset.validation_split=null"
        )
    if dataset.extra_split is None and dataset.extra_validation > 0:
        yield f"dataset.extra_validation={dataset.extra_validation} without dataset.extra_split: give 0"


def _broken_networks(config: Config) -> Iterator[str]:
    for side in ("teacher", "student"):
        net = getattr(config, side)
        if isinstance(net, Resnet | Wrn):
            rest = 4 if isinstance(net, Wrn) else 2
            if net.depth < 6 + rest or (net.depth - rest) % 6:
                yield f"{side}.depth={net.depth}: {net.name} has depth 6 n + {rest}: give {6 + rest}, {12 + rest}, ..."
        if isinstance(net, Resnet) and net.shortcut == "pad" and net.stem > 16 * net.width:
            yield f"{side}.stem={net.stem}: shortcut=pad cannot narrow to {16 * net.width} channels: give shortcut=conv"
    if isinstance(config.student, Thin) and (config.student.width is None) == (config.student.budget is None):
        yield "student.width and student.budget: give one of them, and null for the other"
    if isinstance(config.teacher, Ensemble):
        paths = config.teacher.members
        if len(set(paths)) != len(paths):
            yield f"teacher.members={paths}: a folder is listed twice: list each once"
        if config.teacher.hint_member not in paths:
            yield f"teacher.hint_member={config.teacher.hint_member}: not in teacher.members={paths}"
            return
    if isinstance(config.teacher, EarlierRunTeacher):
        yield from _broken_members(config, config.teacher)


def _broken_without_teacher(config: Config) -> Iterator[str]:
    """Rules of teacher=none."""
    if not isinstance(config.teacher, NoTeacher):
        return
    method = config.method.name
    if registry.needs_teacher(config.method):
        yield (
            f"method={method} needs a teacher: give teacher=..., or with teacher=none method=backprop, dsn, "
            "labels_then_labels or labels_with_labels"
        )
    for name in config.sweep.budgets:
        if name in measures.NEED_TEACHER:
            cost = name.removeprefix("relative_")
            yield f"sweep.budgets.{name} compares with a teacher, and teacher=none: give sweep.budgets.{cost}"
    for name in _returned(config):
        if name in measures.NEED_TEACHER:
            yield (
                f"return_measures={name} compares with a teacher, and teacher=none: give another measure, or a teacher"
            )


def _broken_custom(config: Config) -> Iterator[str]:
    for side in ("teacher", "student"):
        net = getattr(config, side)
        if isinstance(net, CustomNet):
            yield from _broken_options(net, side, config.dataset)
    if not isinstance(config.student, CustomStudent):
        return
    for section in ("hint", "student"):
        dropout = getattr(config.schedule, section).dropout
        if dropout.input or dropout.hidden:
            yield (
                f"schedule.{section}.dropout: a custom student trains with its own dropout: give "
                f"'schedule.{section}.dropout={{input: 0, hidden: 0}}'"
            )


def _broken_options(net: CustomNet, side: str, dataset: Dataset) -> Iterator[str]:
    if not isinstance(net.args, dict | None) or not all(isinstance(name, str) for name in net.args or {}):
        yield f"{side}.args={net.args}: give arguments by name, '{side}.args={{num_classes: 10}}'"
    elif not _is_plain(net.args):
        yield f"{side}.args={net.args}: give finite numbers, text, lists and tables whose keys are text"
    if net.channels not in (None, 3):
        yield f"{side}.channels={net.channels}: grey images can be repeated to 3 channels: give 3, or null"
    if (net.mean is None) != (net.std is None) or len(net.mean or []) != len(net.std or []):
        yield f"{side}.mean={net.mean} and {side}.std={net.std}: give one number for each channel in both, or null"
    if any(value <= 0 for value in net.std or []):
        yield f"{side}.std={net.std}: give numbers above 0"
    channels = net.channels or dataset.channels
    if net.mean and len(net.mean) not in (1, channels):
        yield f"{side}.mean has {len(net.mean)} numbers for images of {channels} channels: give one for each"
    if net.mean and not isinstance(dataset.preprocessing, Scale | Standardize):
        yield (
            f"{side}.mean: images that dataset/preprocessing={dataset.preprocessing.name} has changed cannot be "
            f"restored: give dataset/preprocessing=standardize or scale, or {side}.mean=null {side}.std=null"
        )


def _is_plain(value: Any) -> bool:
    """Return whether a value stays the same when it is written as JSON and read again."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except ValueError:
        return False


def _broken_members(config: Config, teacher: EarlierRunTeacher) -> Iterator[str]:
    """Stored networks get the same preprocessed images as the student, so they must have been trained on such
    images."""
    try:
        networks = earlier_runs.members(teacher)
    except ConfigError as error:
        yield str(error)
        return
    for path, member in networks.items():
        key = f"teacher.path={path}" if isinstance(teacher, RunTeacher) else f"teacher.members: {path}"
        for name in ("channels", "height", "width", "classes", "pixel_max", "preprocessing"):
            theirs, ours = getattr(member.config.dataset, name), getattr(config.dataset, name)
            if theirs != ours:
                yield (
                    f"{key}: that network was trained on {member.config.dataset.name} with {name} {theirs}, and "
                    f"dataset={config.dataset.name} has {ours}: give the same"
                )


def _broken_stages(config: Config) -> Iterator[str]:
    stages = config.method.stages
    for name in stages:
        if name not in STAGES:
            yield (
                f"method.stages.{name}: no such stage: a method has `student`, and before it `hint` if the student is "
                "first trained up to its guided layer"
            )
    if "student" not in stages:
        yield f"method={config.method.name} has no stage that trains the whole student: give method.stages.student"
    for name, stage in stages.items():
        if not stage.terms:
            yield f"method.stages.{name}.terms is empty: give '+method.stages.{name}.terms.label={{}}'"
        for term in stage.terms:
            if not re.fullmatch(r"[A-Za-z_]\w*", term, re.ASCII):
                yield f"method.stages.{name}.terms.{term}: give a name of letters, digits and _"


def _broken_terms(config: Config) -> Iterator[str]:
    for name in config.method.stages:
        options = registry.given_options(config.method, name)
        if all(registry.is_nothing(option.weight) for option in options.values()):
            yield f"method.stages.{name}.terms: all weights are 0: give one of them another weight"
        for term, option in options.items():
            key = registry.term_key(name, term)
            for number_key, value, bounds in _bounded_numbers(option, key):
                if not bounds.allow(value):
                    yield f"{number_key}={value} is out of range: {bounds}"
            ramp = option.weight
            if isinstance(ramp, Ramp) and ramp.end_epoch is not None and ramp.start_epoch > ramp.end_epoch:
                yield (
                    f"{key}.weight.start_epoch={ramp.start_epoch} is after {key}.weight.end_epoch={ramp.end_epoch}: "
                    f"give a start_epoch of at most {ramp.end_epoch}"
                )
            if name == "hint" and option.at is None:
                yield (
                    f"{key}: stage 1 trains the student up to its guided layer, and the loss {option.kind} reads "
                    "layers above it: give it in method.stages.student"
                )
            yield from option.problems(key, config)
        yield from _broken_mixing(config, name)
        settings: StageSettings = getattr(config.schedule, name)
        if settings.label_smoothing and not any(option.smooths_labels for option in options.values()):
            yield (
                f"schedule.{name}.label_smoothing={settings.label_smoothing}: in this stage method="
                f"{config.method.name} has no cross-entropy of the output with the labels: give 0"
            )


def _broken_optimizers(config: Config) -> Iterator[str]:
    for name in ("teacher", "hint", "student"):
        sgd = getattr(config.schedule, name).optimizer
        if isinstance(sgd, Sgd) and sgd.nesterov and min(sgd.momentum, sgd.momentum_end) == 0:
            yield (
                f"schedule.{name}.optimizer.nesterov=true needs momentum: give a momentum and a momentum_end above 0, "
                "or nesterov=false"
            )


def _broken_augmentation(config: Config) -> Iterator[str]:
    dataset = config.dataset
    for name in STAGES if isinstance(config.teacher, NoTeacher | PretrainedTeacher) else ("teacher", *STAGES):
        key = f"schedule.{name}.augmentation"
        augmentation = getattr(config.schedule, name).augmentation
        if not augmentation.in_8_bits:
            continue
        if not isinstance(dataset.preprocessing, Scale | Standardize):
            yield (
                f"{key} changes images before they are preprocessed, batch by batch, and dataset/preprocessing="
                f"{dataset.preprocessing.name} is computed once: give dataset/preprocessing=standardize or scale, or "
                "flip and pad alone"
            )
        if dataset.pixel_max != 255:
            yield (
                f"{key} is made for pixel values from 0 to 255, and those of dataset={dataset.name} go to "
                f"{dataset.pixel_max:g}: give flip and pad alone"
            )


def _broken_mixing(config: Config, stage: str) -> Iterator[str]:
    if not getattr(config.schedule, stage).augmentation.mixes:
        return
    for term, option in registry.given_options(config.method, stage).items():
        if option.needs_one_class:
            yield (
                f"{registry.term_key(stage, term)}: the loss {option.kind} needs images of one class, and "
                f"schedule.{stage}.augmentation mixes them: give mixup=0 and cutmix=0 there"
            )


def _broken_hints(config: Config) -> Iterator[str]:
    if not registry.needs_pair(config.method):
        return
    method, teacher = config.method.name, earlier_runs.architecture(config.teacher)
    if isinstance(config.hint_layer, NoPair):
        yield f"method={method} needs a hint layer and hint_layer is none: give hint_layer=middle, or method=kd"
        return
    if isinstance(config.hint_layer, SeveralPairs):
        yield from _broken_pairs(config, config.hint_layer)
        return
    if teacher is None:  # the guided layer learns the labels
        yield from _broken_guided(config)
        return
    pair = hint_pair(config)
    if pair is None:
        side = "teacher" if config_layer_names.published_hint(teacher) is None else "student"
        name = getattr(config, side).name
        yield f"hint_layer=paper: the paper has no pair for {side} {name}: give hint_layer=middle or named"
        return
    published = isinstance(config.hint_layer, PaperPair)
    sides: list[tuple[str, Architecture, str]] = [
        ("student.guided" if published else "hint_layer.student", config.student, pair[1])
    ]
    if registry.reads_hints(config.method):
        sides.insert(0, ("teacher.hint" if published else "hint_layer.teacher", teacher, pair[0]))
    for key, net, layer in sides:
        if isinstance(net, CustomNet):
            continue  # `models.layer_pairs.resolve_pair` builds it and checks its layers
        yield from _broken_layer(key, net, layer)


def _broken_pairs(config: Config, option: SeveralPairs) -> Iterator[str]:
    if not option.pairs:
        yield "hint_layer.pairs is empty: give '+hint_layer.pairs={low: {teacher: conv1, student: conv2}}'"
    for name, pair in sorted(option.pairs.items()):
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            yield f"hint_layer.pairs.{name}: give a name of letters, digits and _"
        sides = (("teacher", earlier_runs.architecture(config.teacher), pair.teacher),)
        for side, net, layer in (*sides, ("student", config.student, pair.student)):
            if net is not None and not isinstance(net, CustomNet):
                yield from _broken_layer(f"hint_layer.pairs.{name}.{side}", net, layer)
    if option.pairs and all(pair.weight == 0 for pair in option.pairs.values()):
        yield "hint_layer.pairs: all weights are 0: give one of them another weight"


def _broken_guided(config: Config) -> Iterator[str]:
    """Rules of a guided layer that learns the labels, without a hint layer."""
    guided = guided_layers(config)
    if not guided:
        name = config.student.name
        yield f"hint_layer=paper: the paper has no guided layer for student {name}: give hint_layer=middle or named"
    elif not isinstance(config.student, CustomNet):
        yield from _broken_layer("hint_layer.student", config.student, guided[0])


def _broken_layer(key: str, net: Architecture, layer: str) -> Iterator[str]:
    names = layer_names(net)[:-1]
    if layer not in names:
        listed_names = f"{suggest(layer, names)} (layers: {', '.join(names) or 'none'})"
        yield f"{key}={layer}: no such layer in {net.name}{listed_names}"


def _broken_schedule(config: Config) -> Iterator[str]:
    kd = config.schedule.kd
    if kd.end_epoch is not None and kd.start_epoch > kd.end_epoch:
        yield (
            f"schedule.kd.start_epoch={kd.start_epoch} is after schedule.kd.end_epoch={kd.end_epoch}: "
            f"give a start_epoch of at most {kd.end_epoch}"
        )


def _broken_sweep(config: Config) -> Iterator[str]:
    for name in config.sweep.budgets:
        if name not in measures.COSTS:
            costs = list(measures.COSTS)
            yield f"sweep.budgets.{name}: no such cost{suggest(name, costs)} (costs: {', '.join(costs)})"
    for name in _returned(config):
        if name not in measures.NAMES:
            names = list(measures.NAMES)
            yield f"return_measures={name}: no such measure{suggest(str(name), names)} (measures: {', '.join(names)})"


def _returned(config: Config) -> list[str]:
    """The measures of `return_measures`."""
    names = config.return_measures
    return [names] if isinstance(names, str) else list(names or [])


def _broken_scales(config: Config) -> Iterator[str]:
    kinds = ["conv", "dense", "block", "softmax", "sigmoid"]
    student, teacher = layer_names(config.student), earlier_runs.architecture(config.teacher)
    sections = dict.fromkeys(("hint", "student"), [*kinds, "regressor", "head", *student])
    if teacher is not None:
        sections = {"teacher": [*kinds, *layer_names(teacher)], **sections}
    for section, names in sections.items():
        stage: StageSettings = getattr(config.schedule, section)
        for key in ("lr_scale", "max_norm"):
            for name in getattr(stage, key):
                if name not in names:
                    yield (
                        f"schedule.{section}.{key}.{name}: no such layer or kind{suggest(name, names)} "
                        f"(layers and kinds: {', '.join(dict.fromkeys(names))}); ~schedule.{section}.{key}.{name} "
                        "leaves it out"
                    )
