"""A model of the user's as a network: run as it is, listened to with hooks."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fitnets import foreign
from fitnets.config import CustomNet, Preprocessing, Standardize
from fitnets.custom.part import Part
from fitnets.custom.taps import Reached, Tap, hooks
from fitnets.layers import LINEAR, LOGITS, RELU
from fitnets.losses import full
from fitnets.networks import Network
from fitnets.options import ConfigError, near
from fitnets.preprocessing import Fitted

_PROBED = 2
"""images that a model is tried with: one could not be told from a dimension of size 1"""


class CustomNetwork(Network):
    """A model of the user's. Its layers are its modules by their dotted names; the second call of a module that is
    called several times goes by `NAME:2`.

    The model takes images in its own resolution, channels and normalisation, and trains with its own dropout."""

    any_layout = False
    image_scale: Tensor
    image_shift: Tensor

    def __init__(self, model: nn.Module, net: CustomNet, image_shape: tuple[int, int, int], side: str):
        super().__init__({})
        self.model = model
        self.net = net
        self.image_shape = image_shape
        self.side = side
        if net.mean is not None:  # unknown until `sees`
            unknown = torch.full((1, net.channels or image_shape[0], 1, 1), torch.nan)
            self.register_buffer("image_scale", unknown)
            self.register_buffer("image_shift", unknown.clone())
        self._below: dict[str, list[str]] = {}
        self._value_bytes: dict[str, int] = {}
        self.taps, self.multiplications, self._classes = self._probed()

    # --- as a network ---

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The features are copies: what follows may change its input in place."""
        features: dict[str, Tensor] = {}

        def keep(name: str, output: Tensor) -> None:
            features[name] = output.clone()

        with self._listening(wanted, keep), self.arithmetic():
            output = self.model(self._as_taken(images))
        if len(features) < len(wanted):
            raise self._not_reached(next(name for name in wanted if name not in features))
        return full(self._logits(output)), features

    def up_to(self, images: Tensor, layer: str) -> Tensor:
        def leave(_name: str, output: Tensor) -> None:
            raise Reached(output)

        try:
            with self._listening([layer], leave), self.arithmetic():
                self.model(self._as_taken(images))
        except Reached as reached:
            return reached.output
        raise self._not_reached(layer)

    def _not_reached(self, layer: str) -> ConfigError:
        return ConfigError(
            f"{self._place}: its layer {layer} was not reached: its way depends on the images or on chance: give "
            f"another hint_layer.{self.side}"
        )

    @property
    def hidden(self) -> list[str]:
        return list(self.taps)

    @property
    def middle(self) -> str:
        """The block (a module with modules in it, in a row of such), or else any layer, that is nearest to half of the
        multiplications."""
        if not self.taps or self.multiplications == 0:
            raise ConfigError(
                f"{self._place}: it has no modules whose outputs could be hints: give hint_layer=none method=kd"
            )
        below = [name for name in self.hidden if 0 < self.taps[name].multiplications < self.multiplications]
        blocks = [name for name in below if self._is_block(self.taps[name].module)]
        candidates = blocks or below or self.hidden
        return min(candidates, key=lambda name: abs(self.taps[name].multiplications / self.multiplications - 0.5))

    def _is_block(self, module: str) -> bool:
        row = self.model.get_submodule(module.rpartition(".")[0])
        return isinstance(row, nn.ModuleList | nn.Sequential) and any(self.model.get_submodule(module).children())

    @property
    def classes(self) -> int:
        return self._classes

    def named(self, layer: str) -> Tap:
        """Raises ConfigError where there is no such layer."""
        if layer not in self.taps:
            raise ConfigError(
                f"hint_layer.{self.side}={layer}: no such layer in {self.net.name}{near(layer, self.hidden)} "
                "(fitnets layers, with the same options, lists them)"
            )
        return self.taps[layer]

    def bytes_per_value(self, layer: str) -> int:
        if self.precision == "fp32":
            return 4
        if layer not in self._value_bytes:  # not all is computed in bf16
            with torch.no_grad():
                self._value_bytes[layer] = _evaluating(self).up_to(self._random_images(), layer).element_size()
        return self._value_bytes[layer]

    def parts(self, up_to: str | None = None) -> dict[str, nn.Module]:
        """The parameters that have a gradient from the layer's output; those above it, and never run, have none."""
        if up_to is None:
            trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
            return {"custom": Part(self.model, trained or [name for name, _ in self.model.named_parameters()])}
        if up_to not in self._below:
            self._below[up_to] = self._parameters_below(up_to)
        return {"custom": Part(self.model, self._below[up_to])}

    def sees(self, preprocessing: Preprocessing, fitted: Fitted) -> None:
        if self.net.mean is None or self.net.std is None:
            return
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.net.mean, self.net.std))
        scale, shift = torch.ones(1), torch.zeros(1)  # back to images in [0, 1]
        if isinstance(preprocessing, Standardize):
            scale, shift = fitted["deviation"].view(1, -1, 1, 1), fitted["mean"].view(1, -1, 1, 1)
        self.image_scale.copy_(scale / std)
        self.image_shift.copy_((shift - mean) / std)

    # --- the model ---

    @property
    def _place(self) -> str:
        return f"{self.side}.target={self.net.target}"

    def _as_taken(self, images: Tensor) -> Tensor:
        """Preprocessed images as the model wants them."""
        if self.net.channels is not None and images.shape[1] == 1:
            images = images.expand(-1, self.net.channels, -1, -1)
        if self.net.mean is not None:
            images = images * self.image_scale + self.image_shift
        size = self.net.size
        if size is not None and images.shape[2:] != (size, size):
            shrinks = size < min(images.shape[2:])
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=shrinks)
        return images.flatten(1).view(images.shape)  # channels first, as models are written for

    def _logits(self, output: Any) -> Tensor:
        """(N, classes). Raises ConfigError where there are none."""
        way_out = f"give {self.side}.logits=NAME, or a module whose forward gives logits (N, classes)"
        name = self.net.logits
        logits: Any
        match output:
            case Tensor():
                logits = output
            case Mapping():
                logits = output.get(name or "logits", _only_tensor(output.values()) if name is None else None)
            case tuple() if name is not None and hasattr(output, name):
                logits = getattr(output, name)
            case tuple() | list():
                logits = dict(enumerate(output)).get(int(name or 0) if (name or "0").isdigit() else -1)
            case _:
                logits = getattr(output, name or "logits", None)
        if not isinstance(logits, Tensor):
            wanted = f" and no logits by {self.side}.logits={name}" if name else ""
            raise ConfigError(f"{self._place}: its forward gives {_in_words(output)}{wanted}: {way_out}")
        if logits.ndim != 2:
            raise ConfigError(f"{self._place}: its logits are {_in_words(logits)}: {way_out}")
        return logits

    @contextmanager
    def _listening(self, wanted: Collection[str], take: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Hand over the wanted layers' outputs as they come."""
        names: dict[str, dict[int, str]] = defaultdict(dict)
        for name in wanted:
            tap = self.named(name)
            names[tap.module][tap.call] = name

        def take_wanted(module: str, call: int, output: Tensor) -> None:
            if call in names[module]:
                take(names[module][call], output)

        with hooks(self.model, names, take_wanted):
            yield

    # --- tried once, with random images ---

    def _random_images(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(_PROBED, *self.image_shape, generator=generator)
        return images.to(next(self.parameters()).device)

    @torch.no_grad()
    def _probed(self) -> tuple[dict[str, Tap], int, int]:
        """Its layers, multiplications of an image, classes."""
        if next(self.parameters(), None) is None:
            raise ConfigError(f"{self._place}: a module without parameters: give one that answers images with logits")
        trial, taps = _evaluating(self), []
        if self.net.mean is not None:
            trial.sees(Standardize(), {"mean": torch.zeros(1), "deviation": torch.ones(1)})
        images, model = trial._as_taken(self._random_images()), trial.model
        modules = [name for name, _ in model.named_modules() if name]
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:

            def note(module: str, call: int, output: Tensor) -> None:
                if output.is_floating_point() and output.ndim > 1 and len(output) == _PROBED:
                    multiplications = counter.get_total_flops() // (2 * _PROBED)
                    taps.append(_tap(module, call, output, multiplications))

            with self._told_in_short("cannot take", self._other_images()), hooks(model, modules, note):
                output = model(images)
        logits = self._logits(output)
        if len(logits) != _PROBED:
            raise ConfigError(f"{self._place}: it answers {_PROBED} images with logits for {len(logits)}")
        if not bool(logits.isfinite().all()):
            raise ConfigError(f"{self._place}: its logits on random images are not finite: give other weights")
        if self.side == "student":
            if not any(parameter.requires_grad for parameter in model.parameters()):
                raise ConfigError(f"{self._place}: all its parameters have requires_grad=False: train some of them")
            with self._told_in_short(
                "cannot be trained with", "its forward must take images alone in training mode too"
            ):
                self._logits(model.train()(images))
        calls = Counter(tap.module for tap in taps)
        by_name = {
            tap.module if calls[tap.module] == 1 and tap.module != LOGITS else f"{tap.module}:{tap.call + 1}": tap
            for tap in taps
        }
        return by_name, counter.get_total_flops() // (2 * _PROBED), logits.shape[1]

    @contextmanager
    def _told_in_short(self, what: str, way_out: str) -> Iterator[None]:
        """Around the user's code. what: it cannot do with such images."""
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:
            told = f"{self._place} {what} images of {'x'.join(map(str, self.image_shape))}"
            if self.net.size is not None:
                told += f", resized to {self.net.size}x{self.net.size}"
            raise ConfigError(f"{told} ({type(error).__name__}: {foreign.first_line(error)}): {way_out}") from error

    def _other_images(self) -> str:
        """The way out where the model does not take the images."""
        channels = self.image_shape[0]
        first = next((part for part in self.model.modules() if isinstance(part, nn.Conv2d)), None)
        if first is None or first.in_channels == (self.net.channels or channels):
            return f"give {self.side}.size=PIXELS if it wants another resolution"
        wanted = f"its first convolution takes {first.in_channels} channels: give "
        if channels == 1:
            return f"{wanted}{self.side}.channels={first.in_channels}, which repeats the grey one"
        return f"{wanted}dataset.channels={first.in_channels}, or a model for {channels} channels"

    def _parameters_below(self, layer: str) -> list[str]:
        """Raises ConfigError where none of them is trained."""
        trial = _evaluating(self)
        parameters = {name: p for name, p in trial.model.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            output = trial.up_to(self._random_images(), layer)
            if not output.requires_grad:
                raise ConfigError(
                    f"hint_layer.{self.side}={layer}: nothing up to that layer is trained: all its parameters have "
                    "requires_grad=False: give a later layer, or train them"
                )
            gradients = torch.autograd.grad(output.float().sum(), list(parameters.values()), allow_unused=True)
        return [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


def _tap(module: str, call: int, output: Tensor, multiplications: int) -> Tap:
    return Tap(
        module=module,
        call=call,
        out_shape=tuple(output.shape[1:]),
        activation=RELU if float(output.min()) >= 0 else LINEAR,
        multiplications=multiplications,
    )


def _only_tensor(values: Collection[Any]) -> Tensor | None:
    tensors = [value for value in values if isinstance(value, Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def _in_words(output: Any) -> str:
    match output:
        case None:
            return "nothing"
        case Tensor():
            return f"a tensor of {'x'.join(map(str, output.shape))}"
        case Mapping():
            return (
                f"a {type(output).__name__} of {', '.join(f'{key}: {_in_words(item)}' for key, item in output.items())}"
            )
        case tuple() | list():
            return f"a {type(output).__name__} of {', '.join(map(_in_words, output))}"
        case _:
            return f"a {type(output).__name__}"


def _evaluating(network: CustomNetwork) -> CustomNetwork:
    """A copy in evaluation mode, to try something with."""
    return copy.deepcopy(network).eval()
