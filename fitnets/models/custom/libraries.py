"""Published models of timm and transformers: how they want to see images, and how they are made.

Everything about a model's images comes from its own configuration, and nothing is guessed.
"""

import importlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from fitnets.config import Interpolation
from fitnets.data.reading.downloads import local_copies_without_network
from fitnets.errors import ConfigError, suggest
from fitnets.system.imports import first_line

_PIL_FILTERS: dict[int, Interpolation] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters, which transformers stores"""


@dataclass(frozen=True, slots=True)
class View:
    """How a model wants to see images.

    height, width: in pixels
    crop_share, squash, interpolation: as the keys of `dataset`
    mean, std: of each channel of images in [0, 1]
    is_fixed: whether the model takes no other size"""

    height: int
    width: int
    crop_share: float
    squash: bool
    interpolation: Interpolation
    mean: list[float]
    std: list[float]
    is_fixed: bool


def view(library: str, model: str, side: str) -> View:
    """How a model wants to see images. side: "teacher" or "student", for messages.

    Raises ConfigError if the library is not installed or does not know the model."""
    return {"timm": _timm_view, "transformers": _transformers_view}[library](model, side)


def filled(net: Any, shown: View, side: str, classes: int | None) -> dict[str, Any]:
    """The values of a network's keys that follow from its model, unless they are given.

    net: the network's keys and values.
    classes: number of classes of the data set."""
    starts_published = net["pretrained"] and net["weights"] is None
    keeps_head = side == "teacher" and starts_published  # its head is never made anew
    values: dict[str, Any] = {
        "target": f"{__name__}.{net['library']}_model",
        "args": {
            **(net["args"] or {}),
            "model": net["model"],
            "pretrained": starts_published,
            "classes": None if keeps_head else classes,
        },
    }
    if net["mean"] is None:
        values |= {"mean": shown.mean, "std": shown.std}
    return values


def version(library: str) -> str:
    """The library with its version."""
    return f"{library} {importlib.metadata.version(library)}"


# --- factories ---


def timm_model(*, model: str, pretrained: bool, classes: int | None, **arguments: Any) -> nn.Module:
    """A model of timm. classes: None: its own; others get a new head."""
    timm = _imported("timm", "teacher")
    if classes is not None:
        arguments["num_classes"] = classes
    with _published("timm", model):
        made: nn.Module = timm.create_model(model, pretrained=pretrained, **arguments)
    return made


def transformers_model(*, model: str, pretrained: bool, classes: int | None, **arguments: Any) -> nn.Module:
    """A model of transformers for image classification. classes: None: its own; others get a new head."""
    transformers = _imported("transformers", "teacher")
    head = {} if classes is None else {"num_labels": classes}
    with _published("transformers", model), _without_bars(transformers.utils.logging):
        make = transformers.AutoModelForImageClassification
        if pretrained:
            made: nn.Module = make.from_pretrained(
                model, **head, **arguments, ignore_mismatched_sizes=classes is not None
            )
        else:
            config = transformers.AutoConfig.from_pretrained(model, **head, **arguments)
            made = make.from_config(config)
    return made


@contextmanager
def _published(library: str, model: str) -> Iterator[None]:
    """Turn errors of a download into one line."""
    from huggingface_hub import constants

    try:
        with local_copies_without_network():
            yield
    except OSError as error:
        raise ConfigError(
            f"{library} model {model}: its files are neither in {constants.HF_HUB_CACHE} nor can they be downloaded "
            f"({first_line(error)}): load the model once where there is a network, with the same HF_HOME, or give "
            "pretrained=false and a file of weights"
        ) from error


@contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    """Silence the progress bars of transformers, which are shown whether or not anybody sees them."""
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _imported(library: str, side: str) -> Any:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{side}={library}: {error.name} is not installed: pip install 'fitnets[{library}]'"
        ) from error
    except Exception as error:  # torchvision beside another build of PyTorch raises RuntimeError
        raise ConfigError(
            f"{side}={library}: importing {library} failed ({type(error).__name__}: {first_line(error)}): torchvision "
            "and torch must be of one build: install both from the same index, as https://pytorch.org/get-started says"
        ) from error


# --- how models see images ---


def _timm_view(model: str, side: str) -> View:
    timm = _imported("timm", side)
    config = timm.get_pretrained_cfg(model) if timm.is_model(model) else None
    if config is None:
        raise ConfigError(
            f"{side}.model={model}: timm {importlib.metadata.version('timm')} has no such model"
            f"{suggest(model, timm.list_models(pretrained=True) + timm.list_models())}"
        )
    if config.crop_mode not in ("center", "squash", None):
        raise ConfigError(f"{side}.model={model}: its crop mode is {config.crop_mode}, and center and squash are known")
    if config.interpolation not in _PIL_FILTERS.values():
        raise ConfigError(f"{side}.model={model}: it resizes with {config.interpolation}, which is not available")
    return View(
        height=config.input_size[1],
        width=config.input_size[2],
        crop_share=float(config.crop_pct or 0.875),
        squash=config.crop_mode == "squash",
        interpolation=config.interpolation,
        mean=[float(value) for value in config.mean],
        std=[float(value) for value in config.std],
        is_fixed=bool(config.fixed_input_size),
    )


def _transformers_view(model: str, side: str) -> View:
    transformers = _imported("transformers", side)
    with _published("transformers", model):
        config = transformers.AutoConfig.from_pretrained(model)
        processor, _ = transformers.image_processing_utils.BaseImageProcessor.get_image_processor_dict(model)
    place = f"{side}.model={model}"
    height, width, share, squash = _transformers_size(processor, place)
    resample = int(processor.get("resample", 2))
    if resample not in _PIL_FILTERS:
        raise ConfigError(f"{place}: it resizes with Pillow's filter {resample}, which is not available")
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    if abs(255 * factor - 1) > 1e-3 or processor.get("rescale_offset"):
        raise ConfigError(
            f"{place}: its processor multiplies pixels of 0 to 255 by {factor:g}, and images in [0, 1] are available"
        )
    is_normalised = processor.get("do_normalize", True)
    return View(
        height=height,
        width=width,
        crop_share=share,
        squash=squash,
        interpolation=_PIL_FILTERS[resample],
        mean=[float(value) for value in processor["image_mean"]] if is_normalised else [0.0, 0.0, 0.0],
        std=[float(value) for value in processor["image_std"]] if is_normalised else [1.0, 1.0, 1.0],
        is_fixed=getattr(config, "patch_size", None) is not None and hasattr(config, "image_size"),
    )


def _transformers_size(processor: dict[str, Any], place: str) -> tuple[int, int, float, bool]:
    """Height, width, `crop_share` and `squash` of the images that a processor gives. Raises ConfigError for other ways
    to resize than to a short side or a whole size."""
    size, crop = processor.get("size", 224), processor.get("crop_size")
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    if {"height", "width"} <= set(size):
        return size["height"], size["width"], 1.0, True
    short = size.get("shortest_edge")
    if short is None or not processor.get("do_resize", True):
        raise ConfigError(f"{place}: its processor resizes images to {size}, and a short side or a size is needed")
    if processor.get("crop_pct") is not None and short < _CONVNEXT_SQUASHES:
        return short, short, float(processor["crop_pct"]), False
    if crop is not None and processor.get("do_center_crop", True):
        return crop["height"], crop["width"], max(crop["height"], crop["width"]) / short, False
    return short, short, 1.0, True


_CONVNEXT_SQUASHES = 384
"""from this size on, ConvNeXt's processor squashes images in place of cropping them"""
