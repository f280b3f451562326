"""Adapts a user's model to the `Network` interface: the model runs unchanged, and hooks read its layers' outputs."""

import copy
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fitnets.config import CustomNet, CustomTeacher, Preprocessing, Standardize
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.errors import ConfigError, suggest
from fitnets.models.custom import advice, copies, factory, middle
from fitnets.models.custom.advice import in_short
from fitnets.models.custom.hooks import Reached, Tap, hookable, hooks
from fitnets.models.custom.part import TrainedPart
from fitnets.models.layers import LINEAR, LOGITS, RELU, as_float32
from fitnets.models.network import Network
from fitnets.system.imports import last_line


class CustomNetwork(Network):
    """A user's model as a network.

    Its layers are the model's modules, by their dotted names. If a module is called several times in a forward pass,
    its second call is the layer `NAME:2`.

    The model takes images in its own resolution, channels and normalisation, and trains with its own dropout.

    Building the network tries a copy of the model on two random images. It finds the layers, their shapes and
    multiplications, and the number of classes, and raises ConfigError if the model cannot be used.

    model: the user's module.
    net: its options.
    image_shape: (C, H, W) of the data set.
    side: "teacher" or "student", for messages."""

    any_layout = False
    image_scale: Tensor
    image_shift: Tensor

    def __init__(self, model: nn.Module, net: CustomNet, image_shape: tuple[int, int, int], side: str):
        super().__init__({})
        self.model = model
        self.net = net
        self.image_shape = image_shape
        self.side = side
        if net.mean is not None:  # unknown until `set_preprocessing`
            unknown = torch.full((1, net.channels or image_shape[0], 1, 1), torch.nan)
            self.register_buffer("image_scale", unknown)
            self.register_buffer("image_shift", unknown.clone())
        self._trained_below: dict[str, list[str]] = {}  # by layer, see `_parameters_below`
        self._value_bytes: dict[str, int] = {}
        advice.check_can_be_guided(model, self._place, side)
        if next(self.parameters(), None) is None:
            raise ConfigError(advice.without_parameters(model, self._place))
        self.grows = False
        """whether the first call of the model adds buffers to its state dict"""
        self.no_copy = copies.why_not(model, net, image_shape)
        """reason why `copy.deepcopy` cannot copy the model; None if it can"""
        self.taps, self.multiplications, self._classes = self._probed()

    # --- the Network interface ---

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits and features as in `Network.forward`.

        The features are copies, since later modules of the model may change their inputs in place."""
        features: dict[str, Tensor] = {}

        def keep(name: str, output: Tensor) -> None:
            features[name] = output.clone()

        with self._hooks_on(wanted, keep), self.arithmetic():
            output = self.model(self._model_input(images))
        if len(features) < len(wanted):
            raise self._not_reached(next(name for name in wanted if name not in features))
        features = {name: _usable_in_training(values) for name, values in features.items()}
        return as_float32(_usable_in_training(self._logits(output))), features

    def features(self, images: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """Return the outputs of some layers. An exception from the hook of the last one ends the forward pass there."""
        features: dict[str, Tensor] = {}

        def keep(name: str, output: Tensor) -> None:
            if len(features) < len(wanted) - 1:
                features[name] = output.clone()  # later modules of the model may change it in place
                return
            features[name] = output
            raise Reached

        with suppress(Reached), self._hooks_on(wanted, keep), self.arithmetic():
            self.model(self._model_input(images))
        if len(features) < len(wanted):
            raise self._not_reached(next(name for name in wanted if name not in features))
        return {name: _usable_in_training(values) for name, values in features.items()}

    def _not_reached(self, layer: str) -> ConfigError:
        return ConfigError(
            f"{self._place}: the model did not call its layer {layer}: which layers it calls depends on the images or "
            f"on chance: give another hint_layer.{self.side}"
        )

    @property
    def hint_layer_names(self) -> list[str]:
        return list(self.taps)

    @property
    def last_hidden_layer(self) -> str:
        """The last layer whose output is not as large as the logits. Raises ConfigError if there is none."""
        hidden = [name for name, tap in self.taps.items() if tap.out_shape != (self._own_classes,)]
        if not hidden:
            raise ConfigError(self.why_no_layers or advice.no_layers(self.model, self._place, self.side))
        return hidden[-1]

    @property
    def has_middle(self) -> bool:
        """True if the model has layers that can be in a pair."""
        return bool(self.taps) and self.multiplications > 0

    @property
    def why_no_layers(self) -> str | None:
        """A message why no layer can be in a pair, with a way out; None if some can."""
        return None if self.has_middle else advice.no_layers(self.model, self._place, self.side)

    @property
    def middles(self) -> dict[str, float]:
        """The layers that can be the middle of the model (`middle.candidates`).

        The values are their distances from half of the multiplications, 0 to 0.5. Raises ConfigError if the model has
        no layers."""
        if not self.has_middle:
            raise ConfigError(self.why_no_layers)
        names = middle.candidates(self.model, self.taps, self.multiplications)
        return {name: middle.distance(self.taps[name], self.multiplications) for name in names}

    @property
    def classes(self) -> int:
        return self._classes

    def layer_output(self, layer: str) -> Tap:
        """Describe a layer's output. Raises ConfigError if there is no such layer."""
        if layer not in self.taps:
            raise ConfigError(
                f"hint_layer.{self.side}={layer}: no such layer in {self.net.name}"
                f"{suggest(layer, self.hint_layer_names)} (fitnets layers, with the same options, lists them)"
            )
        return self.taps[layer]

    def bytes_per_value(self, layer: str) -> int:
        if self.precision == "fp32":
            return 4
        if layer not in self._value_bytes:  # a model may compute some layers in fp32
            with torch.no_grad():
                output = _evaluation_copy(self).forward_until(self._random_images(), layer)
                self._value_bytes[layer] = output.element_size()
        return self._value_bytes[layer]

    def trainable_parts(self, *up_to: str) -> dict[str, nn.Module]:
        """Return the parameters to train, as one part.

        up_to: train only the parameters that get a gradient from the outputs of these layers. Parameters above the
            layers, and parameters that the model never uses, get none."""
        if not up_to:
            trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
            return {"custom": TrainedPart(self.model, trained or [name for name, _ in self.model.named_parameters()])}
        for layer in up_to:
            if layer not in self._trained_below:
                self._trained_below[layer] = self._parameters_below(layer)
        below = {name for layer in up_to for name in self._trained_below[layer]}
        in_order = [name for name, _ in self.model.named_parameters() if name in below]
        return {"custom": TrainedPart(self.model, in_order)}

    def set_preprocessing(self, preprocessing: Preprocessing, fitted: FittedPreprocessing) -> None:
        """Prepare to replace the data set's preprocessing by the model's own normalisation, if it has one."""
        if self.net.mean is None or self.net.std is None:
            return
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.net.mean, self.net.std))
        scale, shift = torch.ones(1), torch.zeros(1)  # image in [0, 1] = scale * preprocessed image + shift
        if isinstance(preprocessing, Standardize):
            scale, shift = fitted["deviation"].view(1, -1, 1, 1), fitted["mean"].view(1, -1, 1, 1)
        self.image_scale.copy_(scale / std)
        self.image_shift.copy_((shift - mean) / std)

    # --- the model's inputs and outputs ---

    @property
    def _place(self) -> str:
        return f"{self.side}.target={self.net.target}"

    def _model_input(self, images: Tensor) -> Tensor:
        """Convert preprocessed images to the model's channels, normalisation and resolution."""
        images = factory.repeated(self.net, images)
        if self.net.mean is not None:
            images = images * self.image_scale + self.image_shift
        return factory.sized(self.net, images)

    def _logits(self, output: Any) -> Tensor:
        """Take the logits (N, classes) of the data set's classes out of the model's output. Raises ConfigError if they
        are not there."""
        logits = self._all_logits(output)
        chosen = self.net.outputs if isinstance(self.net, CustomTeacher) else None
        if chosen is None:
            return logits
        beyond = [number for number in chosen if number >= logits.shape[1]]
        if beyond or len(set(chosen)) < len(chosen):
            problem = f"it has {logits.shape[1]} logits, from 0" if beyond else "a number occurs twice"
            raise ConfigError(f"{self.side}.outputs={chosen}: {problem}: give one number for each class of the data")
        return logits[:, chosen]

    def _all_logits(self, output: Any) -> Tensor:
        """Take the logits (N, classes) out of the model's output. Raises ConfigError if they are not there."""
        way_out = f"give {self.side}.logits=NAME, or a module whose forward returns logits (N, classes)"
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
            wanted = f" without the logits that {self.side}.logits={name} names" if name else ""
            raise ConfigError(f"{self._place}: its forward returns {_in_words(output)}{wanted}: {way_out}")
        if logits.ndim != 2:
            raise ConfigError(f"{self._place}: its logits are {_in_words(logits)}: {way_out}")
        return logits

    @contextmanager
    def _hooks_on(self, wanted: Collection[str], take: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Call `take(layer, output)` for each wanted layer as soon as the model has computed it."""
        names: dict[str, dict[int, str]] = defaultdict(dict)
        for name in wanted:
            tap = self.layer_output(name)
            names[tap.module][tap.call] = name

        def take_wanted(module: str, call: int, output: Tensor) -> None:
            if call in names[module]:
                take(names[module][call], output)

        with hooks(self.model, names, take_wanted):
            yield

    # --- the trial with random images ---

    def _random_images(self) -> Tensor:
        return factory.random_images(self.image_shape).to(next(self.parameters()).device)

    @torch.no_grad()
    def _probed(self) -> tuple[dict[str, Tap], int, int]:
        """Try the model on random images. Return its layers, the multiplications for one image, and its classes."""
        trial, taps = _evaluation_copy(self), []
        if self.net.mean is not None:
            trial.set_preprocessing(Standardize(), {"mean": torch.zeros(1), "deviation": torch.ones(1)})
        images, model = trial._model_input(self._random_images()), trial.model
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:

            def note(module: str, call: int, output: Tensor) -> None:
                if output.is_floating_point() and output.ndim > 1 and len(output) == factory.PROBED:
                    multiplications = counter.get_total_flops() // (2 * factory.PROBED)
                    taps.append(_tap(module, call, output, multiplications))

            with (
                in_short(self.net, self.side, self.image_shape, model),
                hooks(model, hookable(model), note),
                warnings.catch_warnings(),
            ):
                warnings.filterwarnings("ignore", "Using `torch.compile")  # about the hooks that the counter needs
                output = model(images)
        self.grows = model.state_dict().keys() != self.model.state_dict().keys()
        logits, self._own_classes = self._logits(output), self._all_logits(output).shape[1]
        if len(logits) != factory.PROBED:
            raise ConfigError(f"{self._place}: for {factory.PROBED} images it returns logits for {len(logits)}")
        if not bool(logits.isfinite().all()):
            raise ConfigError(f"{self._place}: its logits on random images are not finite: give other weights")
        self._check_batches(model, images)
        if self.side == "student":
            self._check_trainable(model, trial._model_input(self._random_images()))
        calls = Counter(tap.module for tap in taps)
        by_name = {
            tap.module if calls[tap.module] == 1 and tap.module != LOGITS else f"{tap.module}:{tap.call + 1}": tap
            for tap in taps
        }
        return by_name, counter.get_total_flops() // (2 * factory.PROBED), logits.shape[1]

    def _check_batches(self, trial: nn.Module, images: Tensor) -> None:
        """Raise ConfigError if the model only takes one batch size, as some traced and exported models do."""
        way_out = "its forward must take batches of any size (torch.export: dynamic_shapes)"
        for count, batch in ((1, images[:1]), (3, torch.cat([images, images[:1]]))):
            what = f"takes batches of {factory.PROBED} but not of {count}"
            with in_short(self.net, self.side, self.image_shape, trial, what=what, way_out=way_out):
                logits = self._logits(trial(batch.clone()))
            if len(logits) != count:
                raise ConfigError(f"{self._place}: for {count} images it returns logits for {len(logits)}: {way_out}")

    def _check_trainable(self, trial: nn.Module, images: Tensor) -> None:
        """Raise ConfigError if a student cannot be trained, or its weights cannot be stored.

        trial: a copy of the model, which is left in training mode."""
        trained = {name: values for name, values in trial.named_parameters() if values.requires_grad}
        if not trained:
            raise ConfigError(
                f"{self._place}: all its parameters have requires_grad=False: set it to True for those to be trained"
            )
        for name, values in trained.items():
            if values.is_complex():
                raise ConfigError(
                    f"{self._place}: its parameter {name} is complex, and only real ones can be trained here: make "
                    "torch.view_as_real of it the parameter"
                )
        for name, values in trial.state_dict().items():
            if not isinstance(values, Tensor) or values.layout != torch.strided or values.is_quantized:
                raise ConfigError(
                    f"{self._place}: {name} in its state_dict() is {_kind(values)}, and a student's weights are stored "
                    "as plain tensors: keep it out of the state_dict, or make it a dense tensor"
                )
        try:
            trial.load_state_dict(trial.state_dict())
        except Exception as error:  # from PyTorch or the user's module
            raise ConfigError(
                f"{self._place}: its load_state_dict does not take its own state_dict() ({last_line(error)}), so the "
                "student could not be loaded again: give a module whose load_state_dict does"
            ) from error
        what, way_out = "cannot be trained with", "its forward must take images alone in training mode too"
        with in_short(self.net, self.side, self.image_shape, trial, what=what, way_out=way_out), torch.enable_grad():
            logits = self._logits(trial.train()(images))
        if not logits.requires_grad:
            raise ConfigError(
                f"{self._place}: its logits have no gradient: leave torch.no_grad, inference_mode and detach out of "
                "its forward"
            )

    # --- copies ---

    def __deepcopy__(self, memo: dict[int, Any]) -> "CustomNetwork":
        """Copy the network with its model. If PyTorch cannot copy the model, the factory builds it again."""
        if self.no_copy is not None:
            memo[id(self.model)] = copies.rebuilt(self.model, self.net, self.image_shape, self.side, self.no_copy)
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def settle(self) -> None:
        """Call the model once if its first call adds buffers. Afterwards its state dict is complete."""
        if self.grows:
            factory.run(self.model, self.net, self.image_shape)

    def redraw(self, seed: int) -> None:
        """Load the initial weights that the factory draws with this seed."""
        drawn = factory.build(self.net, self.image_shape, self.side, seed).state_dict()
        self.model.load_state_dict(drawn, strict=not self.grows)

    def _parameters_below(self, layer: str) -> list[str]:
        """Names of the parameters that get a gradient from a layer's output. Raises ConfigError if there are none."""
        trial = _evaluation_copy(self)
        parameters = {name: p for name, p in trial.model.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            output = trial.forward_until(self._random_images(), layer)
            if not output.requires_grad:
                raise ConfigError(
                    f"hint_layer.{self.side}={layer}: nothing up to that layer is trained: its parameters have "
                    "requires_grad=False, or its forward detaches them: give a later layer, or train them"
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


def _kind(values: Any) -> str:
    if not isinstance(values, Tensor):
        return f"a {type(values).__name__}"
    return "a quantised tensor" if values.is_quantized else "a sparse tensor"


def _usable_in_training(values: Tensor) -> Tensor:
    """Copy a tensor that was made under `torch.inference_mode`, which autograd does not take."""
    return values.clone() if values.is_inference() else values


def _evaluation_copy(network: CustomNetwork) -> CustomNetwork:
    return copy.deepcopy(network).eval()
