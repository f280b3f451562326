"""Any `nn.Module` as teacher or student: found by import path, run as it is, listened to with hooks.

Hooks are here alone: the project's own networks answer with named features."""

import copy
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fitnets import digests, foreign
from fitnets.config import CustomNet, Dataset, Preprocessing, Standardize
from fitnets.layers import LINEAR, RELU, Activation
from fitnets.losses import full
from fitnets.networks import Network
from fitnets.options import ConfigError, near, plain, restore
from fitnets.preprocessing import Fitted
from fitnets.seeds import seed_of

_PROBED = 2
"""images that a model is tried with: one could not be told from a dimension of size 1"""


def network(net: CustomNet, dataset: Dataset, side: str) -> "CustomNetwork":
    """The model for images of this data set. side: "teacher" or "student", for messages.

    Raises ConfigError where there is no such model, or it does not take the images or tell the classes apart."""
    weights = Path(net.weights).expanduser() if net.weights else None
    stamp = weights.stat().st_mtime_ns if weights is not None and weights.exists() else None
    shape = (dataset.channels, dataset.height, dataset.width)
    prototype = _prototype(json.dumps(plain(net)), stamp, shape, side)
    if prototype.classes != dataset.classes:
        raise ConfigError(
            f"{side}.target={net.target}: it tells {prototype.classes} classes apart and dataset={dataset.name} has "
            f"{dataset.classes}: give {side}.args with the number of classes, and weights that were trained so"
        )
    return copy.deepcopy(prototype)


@lru_cache(maxsize=4)
def _prototype(option: str, _stamp: int | None, image_shape: tuple[int, int, int], side: str) -> "CustomNetwork":
    """option: in JSON; stamp: of its weights."""
    net: CustomNet = restore(json.loads(option))
    return CustomNetwork(made(net, side, seed=0), net, image_shape, side)


def made(net: CustomNet, side: str, seed: int) -> nn.Module:
    """What the factory makes, with the weights of its file or those that it draws with a seed."""
    factory = foreign.find(net.target, f"{side}.target")
    with torch.random.fork_rng(), torch.device("cpu"):
        torch.manual_seed(seed_of("custom weights", seed))
        model = foreign.call(factory, net.args or {}, side, net.target)
    if net.weights is not None:
        foreign.read_weights(Path(net.weights).expanduser(), model, f"{side}.weights")
    else:
        foreign.check_finite(model.state_dict(), f"{side}.target={net.target}")
    return model


def source_digest(net: CustomNet, side: str, root: Path) -> str | None:
    """Of the factory's source file. root: of the store that remembers it."""
    source = foreign.source_file(foreign.find(net.target, f"{side}.target"))
    return None if source is None else digests.of_file(source, root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """An output of one of a model's modules (`layers.Output`). call: the how manieth of the module in a forward pass,
    from 0; multiplications: of one image, until it is there."""

    module: str
    call: int
    out_shape: tuple[int, ...]
    activation: Activation
    multiplications: int
    tied_biases: bool = True


class CustomNetwork(Network):
    """A model of the user's. Its layers are its modules by their dotted names; the second call of a module that is
    called several times goes by `NAME:2`.

    The model takes images in its own resolution, channels and normalisation, and trains with its own dropout."""

    image_scale: Tensor
    image_shift: Tensor

    def __init__(self, model: nn.Module, net: CustomNet, image_shape: tuple[int, int, int], side: str):
        super().__init__({})
        self.model = model
        self.net = net
        self.image_shape = image_shape
        self.side = side
        if net.mean is not None:  # unknown until `sees`
            unknown = torch.full((1, len(net.mean), 1, 1), torch.nan)
            self.register_buffer("image_scale", unknown)
            self.register_buffer("image_shift", unknown.clone())
        self._below: dict[str, list[str]] = {}
        self._value_bytes: dict[str, int] = {}
        self.taps, self.multiplications, logits = self._probed()
        self._classes = logits.shape[1]

    # --- as a network ---

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The features are copies: what follows may change its input in place."""
        features: dict[str, Tensor] = {}

        def keep(name: str, output: Tensor) -> None:
            features[name] = output.clone()

        with self._listening(wanted, keep), self.arithmetic():
            output = self.model(self._as_taken(images))
        return full(self._logits(output)), features

    def up_to(self, images: Tensor, layer: str) -> Tensor:
        def leave(_name: str, output: Tensor) -> None:
            raise _Reached(output)

        try:
            with self._listening([layer], leave), self.arithmetic():
                self.model(self._as_taken(images))
        except _Reached as reached:
            return reached.output
        raise ConfigError(f"{self._place}: its layer {layer} was not reached: its way depends on the images")

    @property
    def hidden(self) -> list[str]:
        return list(self.taps)

    @property
    def middle(self) -> str:
        """The block (a module with modules in it, in a row of such), or else any layer, that is nearest to half of the
        multiplications."""
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
            return {"custom": Part(self.model, [name for name, _ in self.model.named_parameters()])}
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

    def begin(self, seed: int) -> None:
        """The weights that its factory gives it with this seed, or those of its file."""
        self.model.load_state_dict(made(self.net, self.side, seed).state_dict())

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
        return images

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

        with _hooks(self.model, names, take_wanted):
            yield

    # --- tried once, with random images ---

    def _random_images(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(_PROBED, *self.image_shape, generator=generator)
        return images.to(next(self.parameters()).device)

    @torch.no_grad()
    def _probed(self) -> tuple[dict[str, Tap], int, Tensor]:
        """Its layers, multiplications of an image, logits."""
        if next(self.parameters(), None) is None:
            raise ConfigError(f"{self._place}: a module without parameters: give one that answers images with logits")
        found: list[tuple[str, int, Tensor, int]] = []
        trial = _evaluating(self)
        if self.net.mean is not None:
            trial.sees(Standardize(), {"mean": torch.zeros(1), "deviation": torch.ones(1)})
        modules = [name for name, _ in trial.model.named_modules() if name]
        with torch.device("cpu"), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:

            def note(module: str, call: int, output: Tensor) -> None:
                found.append((module, call, output.clone(), counter.get_total_flops() // (2 * _PROBED)))

            try:
                with _hooks(trial.model, modules, note):
                    output = trial.model(trial._as_taken(self._random_images()))
            except Exception as error:  # of the user's code
                raise ConfigError(self._misfit(error)) from error
        calls = Counter(module for module, *_ in found)
        taps = {
            module if calls[module] == 1 else f"{module}:{call + 1}": Tap(
                module=module,
                call=call,
                out_shape=tuple(values.shape[1:]),
                activation=RELU if float(values.min()) >= 0 else LINEAR,
                multiplications=multiplications,
            )
            for module, call, values, multiplications in found
            if values.is_floating_point() and values.ndim > 1 and len(values) == _PROBED
        }
        logits = self._logits(output)
        if not bool(logits.isfinite().all()):
            raise ConfigError(f"{self._place}: its logits on random images are not finite: give other weights")
        return taps, counter.get_total_flops() // (2 * _PROBED), logits

    def _misfit(self, error: Exception) -> str:
        channels, height, width = self.image_shape
        told = f"{self._place} cannot take images of {channels}x{height}x{width}"
        if self.net.size is not None:
            told += f", resized to {self.net.size}x{self.net.size}"
        first = next((part for part in self.model.modules() if isinstance(part, nn.Conv2d)), None)
        taken = self.net.channels or channels
        if first is not None and first.in_channels != taken:
            way_out = f"its first convolution takes {first.in_channels} channels: give "
            way_out += (
                f"{self.side}.channels={first.in_channels}, which repeats the grey one"
                if channels == 1
                else f"dataset.channels={first.in_channels}, or a model for {channels} channels"
            )
        else:
            way_out = f"give {self.side}.size=PIXELS if it wants another resolution"
        return f"{told} ({type(error).__name__}: {foreign.first_line(error)}): {way_out}"

    def _parameters_below(self, layer: str) -> list[str]:
        trial = _evaluating(self)
        parameters = {name: p for name, p in trial.model.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            output = trial.up_to(self._random_images(), layer)
            gradients = torch.autograd.grad(output.float().sum(), list(parameters.values()), allow_unused=True)
        return [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


class Part(nn.Module):
    """Some of a model's parameters and all of its buffers, as what is trained. The model is not a child of it."""

    kind: ClassVar[str] = "custom"

    def __init__(self, model: nn.Module, names: list[str]):
        super().__init__()
        self._model = (model,)
        self.names = names

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        parameters = dict(self._model[0].named_parameters())
        return ((name, parameters[name]) for name in self.names)

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        """Those with one of the parameters."""
        owners = {name.rpartition(".")[0]: None for name in self.names}
        return (self._model[0].get_submodule(owner) for owner in owners)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]
        state, buffers = self._model[0].state_dict(), dict(self._model[0].named_buffers())
        return {name: state[name] for name in [*self.names, *(name for name in buffers if name in state)]}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return self._model[0].load_state_dict(state_dict, strict=False)


class _Reached(BaseException):
    """Ends a forward pass where the wanted output is there."""

    def __init__(self, output: Tensor):
        super().__init__()
        self.output = output


@contextmanager
def _hooks(model: nn.Module, names: Collection[str], take: Callable[[str, int, Tensor], None]) -> Iterator[None]:
    """Hand over (module, the how manieth call from 0, first tensor of its output) of these modules' calls."""
    calls: Counter[str] = Counter()

    def hook(module: str, output: Any) -> None:
        call = calls[module]
        calls[module] += 1
        values = _first_tensor(output)
        if values is not None:
            take(module, call, values)

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _module, _given, output, name=name: hook(name, output))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(output: Any) -> Tensor | None:
    """Of a tensor, tuple, list, dict or ModelOutput."""
    match output:
        case Tensor():
            return output
        case Mapping():
            return next((item for item in output.values() if isinstance(item, Tensor)), None)
        case tuple() | list():
            return next((item for item in output if isinstance(item, Tensor)), None)
        case _:
            return None


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
