"""The network interface: a forward pass returns logits and the outputs of named layers."""

import math
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from fitnets.config import Dropout, Precision, Preprocessing
from fitnets.data.placement import Placement
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.models.layers import Layer, LayerOutput, as_float32, hidden_dropout, input_dropout

M = TypeVar("M", bound=nn.Module)


class Network(nn.Module):
    """A sequence of named layers, the last of which gives the logits.

    layers: the layers by name, in order.
    dropout: rates on each layer's input; dropout acts in training mode only.
    precision: number format of convolutions and matrix products. Weights, their gradients and logits are always fp32.
    any_layout: whether the network may be laid out channels last."""

    any_layout: ClassVar[bool] = True

    def __init__(self, layers: dict[str, Layer]):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.dropout = Dropout()
        self.precision: Precision = "fp32"

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and the features of some layers.

        images: (N, C, H, W).
        wanted: names of the layers whose features are returned.

        The logits are (N, classes) in fp32. The features are returned by layer name."""
        features: dict[str, Tensor] = {}
        output = images
        with self.arithmetic():
            for index, (name, layer) in enumerate(self.layers.items()):
                output = layer(self._drop(output, first=index == 0))
                if name in wanted:
                    features[name] = output
        return as_float32(output), features

    @property
    def hint_layer_names(self) -> list[str]:
        """Names of the layers that can give hints or be guided, in order: all except that of the logits."""
        return list(self.layers)[:-1]

    @property
    def last_hidden_layer(self) -> str:
        """The last layer before that of the logits. Raises ConfigError if there is none."""
        return self.hint_layer_names[-1]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.layer_output(list(self.layers)[-1]).out_shape[0]

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return the context that gives computations the network's precision.

        Layers that are trained beside the network, such as a regressor, compute in this context too."""
        kind = next(self.parameters()).device.type
        autocasts = Placement(kind, self.precision).autocasts
        return torch.autocast(kind, torch.bfloat16) if autocasts else nullcontext()

    def train_with(self, dropout: Dropout) -> None:
        """Switch to training mode with these dropout rates."""
        self.train()
        self.dropout = dropout

    def forward_until(self, images: Tensor, layer: str) -> Tensor:
        """Return the output of one layer without computing the layers above it. images: (N, C, H, W)."""
        return self.features(images, [layer])[layer]

    def features(self, images: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """Return the outputs of some layers, by name, without computing the layers above them. images: (N, C, H, W)."""
        features: dict[str, Tensor] = {}
        output = images
        with self.arithmetic():
            for index, (name, layer) in enumerate(self.layers.items()):
                output = layer(self._drop(output, first=index == 0))
                if name in wanted:
                    features[name] = output
                    if len(features) == len(wanted):
                        break
        return features

    def layer_output(self, layer: str) -> LayerOutput:
        """Describe the output of a layer: shape, activation and biases."""
        return cast(Layer, self.layers[layer])

    def bytes_per_value(self, layer: str) -> int:
        """Size in bytes of a value in a hidden layer's output."""
        return 2 if self.precision == "bf16" else 4

    def trainable_parts(self, *up_to: str) -> dict[str, nn.Module]:
        """Return the modules to train, by name.

        up_to: train only what the outputs of these layers depend on (W_Guided of the paper's algorithm 1); without them
            all."""
        names = list(self.layers)
        count = max(map(names.index, up_to), default=len(names) - 1) + 1
        return {name: self.layers[name] for name in names[:count]}

    def set_preprocessing(self, preprocessing: Preprocessing, fitted: FittedPreprocessing) -> None:
        """Receive the preprocessing of the inputs. A custom network undoes it; other networks ignore it."""

    def _drop(self, values: Tensor, *, first: bool) -> Tensor:
        rate = self.dropout.input if first else self.dropout.hidden
        if not self.training or rate == 0:
            return values
        return input_dropout(values, rate) if first else hidden_dropout(values, rate)


class EnsembleNetwork(Network):
    """Several networks that form one teacher.

    With a temperature, its logits z fulfil softmax(z / temperature) = mean of the members' softened outputs. Without
    one, its logits are the mean of the members' logits. Its layers and features are those of one member.

    hint_member: index of that member."""

    def __init__(self, members: list[Network], hint_member: int, temperature: float | None):
        super().__init__({})
        self.members = nn.ModuleList(members)
        self.hint_member = hint_member
        self.temperature = temperature
        self.layers = self.hinting.layers

    @property
    def hinting(self) -> Network:
        """The member that gives the ensemble its layers and features."""
        return cast(Network, self.members[self.hint_member])

    @property
    def hint_layer_names(self) -> list[str]:
        return self.hinting.hint_layer_names

    @property
    def last_hidden_layer(self) -> str:
        return self.hinting.last_hidden_layer

    @property
    def classes(self) -> int:
        return self.hinting.classes

    def layer_output(self, layer: str) -> LayerOutput:
        return self.hinting.layer_output(layer)

    def features(self, images: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        return self.hinting.features(images, wanted)

    def bytes_per_value(self, layer: str) -> int:
        return self.hinting.bytes_per_value(layer)

    def trainable_parts(self, *up_to: str) -> dict[str, nn.Module]:
        return self.hinting.trainable_parts(*up_to)

    def set_preprocessing(self, preprocessing: Preprocessing, fitted: FittedPreprocessing) -> None:
        for member in self.members:
            cast(Network, member).set_preprocessing(preprocessing, fitted)

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        outputs: list[tuple[Tensor, dict[str, Tensor]]] = [
            member(images, wanted if index == self.hint_member else ()) for index, member in enumerate(self.members)
        ]
        logits, features = torch.stack([logits for logits, _ in outputs]), outputs[self.hint_member][1]
        if self.temperature is None:
            return logits.mean(dim=0), features
        softened = torch.log_softmax(logits / self.temperature, dim=2)
        return self.temperature * (torch.logsumexp(softened, dim=0) - math.log(len(outputs))), features


def place(module: M, device: torch.device, precision: Precision) -> M:
    """Move a module to a device, in the memory layout that is faster there, and set its networks' precision."""
    set_precision(module, precision)
    layout = Placement(device.type, precision).layout
    module.to(device)
    networks = [part for part in module.modules() if isinstance(part, Network)]
    fixed_layout = {part for network in networks if not network.any_layout for part in network.modules()}
    for part in module.modules():
        for values in [*part.parameters(recurse=False), *part.buffers(recurse=False)]:
            if values.ndim == 4 and part not in fixed_layout:
                values.data = values.data.contiguous(memory_format=layout)
    return module


def set_precision(module: nn.Module, precision: Precision) -> None:
    """Set the precision of all networks in a module."""
    for part in module.modules():
        if isinstance(part, Network):
            part.precision = precision


def place_like(network: Network, module: M) -> M:
    """Move a module to the network's device, with the network's precision."""
    return place(module, next(network.parameters()).device, network.precision)


def freeze(network: Network) -> Network:
    """Freeze a teacher: put it into evaluation mode and switch its gradients off."""
    return network.requires_grad_(False).eval()
