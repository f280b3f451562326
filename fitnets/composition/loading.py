"""Composes groups and overrides with Hydra and turns the result into a checked `Config`."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fitnets import checks, errors, paths
from fitnets.composition import hydra_internals, method_terms, own_options, text_keys
from fitnets.composition import overrides as typed
from fitnets.composition.composer import Composer
from fitnets.composition.mistakes import MISTAKES, short_message
from fitnets.config import (
    Config,
    Ensemble,
    Folder,
    LibraryStudent,
    LibraryTeacher,
    OwnImages,
    Photos,
    RunTeacher,
    Thin,
    options,
)
from fitnets.data.reading import folder_layout
from fitnets.errors import ConfigError, suggest
from fitnets.models import hint_pair
from fitnets.store import earlier_runs
from fitnets.terms import registry

T = TypeVar("T")
CONF = paths.CONF

OmegaConf.register_resolver("run_command", lambda: paths.COMMAND, replace=True)  # for --help
for _name, _class in options.OPTIONS.items():
    # Below hydra/ the classes do not appear among the user's groups in --help.
    ConfigStore.instance().store(group="hydra/fitnets", name=_name, node=_class)
for _former, _name in options.FORMER_NAMES.items():
    ConfigStore.instance().store(group="hydra/fitnets", name=_former, node=options.OPTIONS[_name])
for _former, _make in options.FORMER_OPTIONS.items():
    ConfigStore.instance().store(group="hydra/fitnets", name=_former, node=_make())
own_options.install()


def to_config(composed: DictConfig) -> Config:
    """Turn the composed tree into checked dataclasses. Raises ConfigError with all unknown and missing keys, or with
    all broken rules."""
    try:
        config = _checked(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(short_message(error)) from error
    if isinstance(config.student, Thin) and config.student.width is None:
        from fitnets.models import costs  # imports torch

        config = costs.within_budget(config, config.student)
    if hint_pair.has_custom(config):
        from fitnets.models import layer_pairs  # imports torch

        config = layer_pairs.resolve_pair(config, needed=registry.needs_pair(config.method))
    return config


def _checked(composed: DictConfig) -> Config:
    _count_classes(composed)
    _describe_own_images(composed)
    _describe_library_models(composed)
    _locate_teachers(composed)
    method_terms.complete(composed.get("method"))
    problems = [*_unknown_keys(composed)]
    problems += [_missing(key) for key in sorted(OmegaConf.missing_keys(composed))]
    if problems:
        raise ConfigError(errors.list_first(problems))
    return checks.check(cast(Config, OmegaConf.to_object(composed)))


def _count_classes(composed: DictConfig) -> None:
    """Set the number of classes of dataset=folder to the number of its class folders, unless it is given."""
    dataset = composed.dataset
    is_uncounted = OmegaConf.get_type(dataset) in (Folder, Photos) and OmegaConf.is_missing(dataset, "classes")
    if is_uncounted and not OmegaConf.is_missing(dataset, "path"):
        store = None if OmegaConf.is_missing(composed, "store") else composed.store
        dataset.classes = max(2, len(folder_layout.structure(dataset.path, store).classes))


def _describe_own_images(composed: DictConfig) -> None:
    """Set the size and the number of classes of dataset=custom to those of its training set, unless they are given."""
    dataset = composed.dataset
    if OmegaConf.get_type(dataset) is not OwnImages:
        return
    if OmegaConf.is_missing(dataset, "target"):
        raise ConfigError("dataset.target has no value: give dataset.target=my_data.make, a function of yours")
    missing = [name for name in ("channels", "height", "width", "classes") if OmegaConf.is_missing(dataset, name)]
    if not missing:
        return
    from fitnets.data.reading import own  # imports NumPy

    arguments = OmegaConf.to_container(dataset.args) if OmegaConf.is_config(dataset.args) else dataset.args
    description = own.describe(dataset.target, arguments)
    for name in missing:
        value = getattr(description, name)
        if value is None:
            raise ConfigError(
                f"dataset.target={dataset.target}: its training set has no attribute `classes`: give dataset.classes"
            )
        dataset[name] = value


def _describe_library_models(composed: DictConfig) -> None:
    """Fill in what the models of a library say of themselves, unless it is given: their factory, mean and standard
    deviation, and the size of photos."""
    dataset, views = composed.dataset, {}
    for side in ("teacher", "student"):
        net = composed[side]
        kind = OmegaConf.get_type(net) if isinstance(net, DictConfig) else None
        if kind not in (LibraryTeacher, LibraryStudent) or OmegaConf.is_missing(net, "model"):
            continue
        from fitnets.models.custom import libraries  # imports torch

        views[side] = libraries.view(net.library, net.model, side)
        filled = libraries.filled(OmegaConf.to_container(net), views[side], side, _known(dataset, "classes"))
        for key, value in filled.items():
            net[key] = value
    if OmegaConf.get_type(dataset) is Photos:
        shown = views.get("teacher") or views.get("student")
        for key, usual in _USUAL_PHOTO.items():
            if OmegaConf.is_missing(dataset, key):
                dataset[key] = usual if shown is None else getattr(shown, key)
    for side, shown in views.items():
        if shown.is_fixed and composed[side].size is None and _known(dataset, "height") != shown.height:
            composed[side].size = shown.height


def _known(dataset: DictConfig, key: str) -> Any:
    """The value of a data set's key, or of a constant of its class; None if it has none yet."""
    if key not in dataset:
        return None if OmegaConf.is_missing(dataset, key) else getattr(OmegaConf.get_type(dataset), key)
    return dataset[key]


_USUAL_PHOTO = {"height": 224, "width": 224, "crop_share": 0.875, "squash": False, "interpolation": "bicubic"}
"""the view of photos if no model of a library has one of its own"""


def _locate_teachers(composed: DictConfig) -> None:
    """Replace hashes of earlier runs, and beginnings of such hashes, by their folders in the store."""
    teacher = composed.teacher

    def located(key: str, path: str) -> str:
        return earlier_runs.locate(path, paths.expanded(str(composed.store)), f"teacher.{key}")

    kind = OmegaConf.get_type(teacher) if isinstance(teacher, DictConfig) else None
    for key in {RunTeacher: ["path"], Ensemble: ["hint_member", "members"]}.get(cast(Any, kind), []):
        if OmegaConf.is_missing(teacher, key):
            continue
        path = teacher[key]
        teacher[key] = located(key, path) if isinstance(path, str) else [located(key, str(one)) for one in path]


def load(overrides: list[str], config_dir: str | None = None) -> Config:
    """The Config that `python run.py OVERRIDES` would use. Nothing is written.

    config_dir: folder of the user's own options

    Raises ConfigError for every mistake."""
    if config_dir is not None:
        if not config_dir or not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        folder = f"file://{Path(config_dir).resolve()}"
        overrides = [f"hydra.searchpath=[{typed.quoted(folder)}]", *overrides]
    return _loaded(partial(compose, "config"), overrides)


def loader() -> Callable[[list[str]], Config]:
    """A function like `load` that is faster for many configurations: it composes each choice of options once."""
    return partial(_loaded, Composer(lambda overrides: compose("config", overrides)))


def _loaded(composes: Callable[[list[str]], DictConfig], overrides: list[str]) -> Config:
    try:
        with hydra_internals.apart_from_host(), initialize_config_dir(str(CONF)):
            composed = composes(typed.all_typed(overrides))
    except MISTAKES as error:
        raise ConfigError(short_message(error)) from error
    return to_config(composed)


def adapted(option: T, key: str, overrides: list[str]) -> T:
    """A copy of an option with other values of some of its keys.

    key: dotted key of the option
    overrides: words of the form `key.name=value`

    Raises ConfigError for every mistake."""
    names = [f.name for f in fields(cast(Any, option))]
    changed = OmegaConf.structured(option)
    try:
        for override in OverridesParser.create().parse_overrides(typed.all_typed(overrides)):
            name = override.key_or_group.removeprefix(f"{key}.")
            if name.split(".")[0] not in names:
                close = suggest(name, _field_names(type(option)))
                raise ConfigError(f"{key}.{name}: no such key{close} (keys of {key}: {', '.join(names)})")
            OmegaConf.update(changed, name, override.value())
        return cast(T, OmegaConf.to_object(changed))
    except MISTAKES as error:
        raise ConfigError(short_message(error)) from error


def _missing(key: str) -> str:
    group = key.replace(".", "/")
    return f"{key} has no value: give {group if (CONF / group).is_dir() else key}=..."


def _field_names(kind: Any) -> dict[str, str]:
    """The present name of each field of an option class, by that name and by its former one."""
    present = {field.name: field.name for field in fields(kind)}
    return {options.stored_name(field): field.name for field in fields(kind)} | present


def _unknown_keys(node: Any, key: str = "") -> Iterator[str]:
    """Yield a line for every key that is no field of its node's class. Hydra itself accepts `+student.nonsense=1`."""
    if isinstance(node, ListConfig):
        for index, item in enumerate(node):
            yield from _unknown_keys(item, f"{key}[{index}]")
    if not isinstance(node, DictConfig):
        return
    kind = OmegaConf.get_type(node)
    names = [f.name for f in fields(kind)] if kind is not None and is_dataclass(kind) else None
    for name in map(str, node):
        dotted = f"{key}.{name}" if key else name
        if names is not None and name not in names:
            close = suggest(name, _field_names(kind)) or "".join(
                f"; {other}=..." for other in text_keys.keys_ending(dotted)
            )
            yield f"{dotted}: no such key{close} (keys of {key or 'the config'}: {', '.join(names)})"
        elif not OmegaConf.is_missing(node, name):
            yield from _unknown_keys(node[name], dotted)
