"""A network answers with its logits and with the output of its layers by name."""

import math
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from fitnets.config import Dropout, Precision, Preprocessing
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.models.layers import Layer, LayerOutput, as_float32, hidden_dropout, input_dropout

M = TypeVar("M", bound=nn.Module)


class Network(nn.Module):
    """Layers in order, the last one giving the logits. `dropout` acts in training mode only, on each layer's input.

    `precision`: of convolutions and products; weights, their gradients and logits are fp32 all the same. `any_layout`:
    whether it may be laid out channels last."""

    any_layout: ClassVar[bool] = True

    def __init__(self, layers: dict[str, Layer]):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.dropout = Dropout()
        self.precision: Precision = "fp32"

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """(N, C, H, W) -> logits (N, classes) and the features of the wanted layers, by name."""
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
        """The layers that can give hints or be guided, in order: all but that of the logits."""
        return list(self.layers)[:-1]

    @property
    def classes(self) -> int:
        return self.layer_output(list(self.layers)[-1]).out_shape[0]

    def arithmetic(self) -> AbstractContextManager[None]:
        """The context of its computations, and of those by layers that are trained beside it."""
        kind = next(self.parameters()).device.type
        if self.precision == "fp32" or kind == "meta":
            return nullcontext()
        return torch.autocast(kind, torch.bfloat16)

    def train_with(self, dropout: Dropout) -> None:
        """Training mode, with these rates."""
        self.train()
        self.dropout = dropout

    def forward_until(self, images: Tensor, layer: str) -> Tensor:
        """The output of one layer; nothing above it is computed."""
        output = images
        with self.arithmetic():
            for index, (name, module) in enumerate(self.layers.items()):
                output = module(self._drop(output, first=index == 0))
                if name == layer:
                    break
        return output

    def layer_output(self, layer: str) -> LayerOutput:
        return cast(Layer, self.layers[layer])

    def bytes_per_value(self, layer: str) -> int:
        """Of what a hidden layer answers."""
        return 2 if self.precision == "bf16" else 4

    def trainable_parts(self, up_to: str | None = None) -> dict[str, nn.Module]:
        """What is trained, by name: all of it, or as much as a layer's output depends on (W_Guided of the paper's
        algorithm 1)."""
        names = list(self.layers)
        count = len(names) if up_to is None else names.index(up_to) + 1
        return {name: self.layers[name] for name in names[:count]}

    def set_preprocessing(self, preprocessing: Preprocessing, fitted: FittedPreprocessing) -> None:
        """What was done to the images that it will get, for a network that wants them otherwise."""

    def _drop(self, values: Tensor, *, first: bool) -> Tensor:
        rate = self.dropout.input if first else self.dropout.hidden
        if not self.training or rate == 0:
            return values
        return input_dropout(values, rate) if first else hidden_dropout(values, rate)


class EnsembleNetwork(Network):
    """Several networks that answer as one teacher.

    Its logits z are those with softmax(z / temperature) = the mean of the members' softened outputs; without a
    temperature they are the mean of the members' logits. Its layers and features are those of one member."""

    def __init__(self, members: list[Network], hint_member: int, temperature: float | None):
        super().__init__({})
        self.members = nn.ModuleList(members)
        self.hint_member = hint_member
        self.temperature = temperature
        self.layers = self.hinting.layers

    @property
    def hinting(self) -> Network:
        """The member whose layers and features are the ensemble's."""
        return cast(Network, self.members[self.hint_member])

    @property
    def hint_layer_names(self) -> list[str]:
        return self.hinting.hint_layer_names

    @property
    def classes(self) -> int:
        return self.hinting.classes

    def layer_output(self, layer: str) -> LayerOutput:
        return self.hinting.layer_output(layer)

    def forward_until(self, images: Tensor, layer: str) -> Tensor:
        return self.hinting.forward_until(images, layer)

    def bytes_per_value(self, layer: str) -> int:
        return self.hinting.bytes_per_value(layer)

    def trainable_parts(self, up_to: str | None = None) -> dict[str, nn.Module]:
        return self.hinting.trainable_parts(up_to)

    def set_preprocessing(self, preprocessing: Preprocessing, fitted: FittedPreprocessing) -> None:
        for member in self.members:
            cast(Network, member).set_preprocessing(preprocessing, fitted)

    def forward(self, images: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        answers: list[tuple[Tensor, dict[str, Tensor]]] = [
            member(images, wanted if index == self.hint_member else ()) for index, member in enumerate(self.members)
        ]
        logits, features = torch.stack([logits for logits, _ in answers]), answers[self.hint_member][1]
        if self.temperature is None:
            return logits.mean(dim=0), features
        softened = torch.log_softmax(logits / self.temperature, dim=2)
        return self.temperature * (torch.logsumexp(softened, dim=0) - math.log(len(answers))), features


def place(module: M, device: torch.device, precision: Precision) -> M:
    """The module on the device, laid out in the way that is faster there; its networks compute in this precision."""
    for part in module.modules():
        if isinstance(part, Network):
            part.precision = precision
    channels_first = device.type == "cuda" and precision == "fp32"
    layout = torch.contiguous_format if channels_first else torch.channels_last
    module.to(device)
    networks = [part for part in module.modules() if isinstance(part, Network)]
    left = {part for network in networks if not network.any_layout for part in network.modules()}
    for part in module.modules():
        for values in [*part.parameters(recurse=False), *part.buffers(recurse=False)]:
            if values.ndim == 4 and part not in left:
                values.data = values.data.contiguous(memory_format=layout)
    return module


def place_like(network: Network, module: M) -> M:
    """The module where and as the network is."""
    return place(module, next(network.parameters()).device, network.precision)


def freeze(network: Network) -> Network:
    """In evaluation mode and without gradients: a teacher never moves."""
    return network.requires_grad_(False).eval()
