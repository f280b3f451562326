"""A network answers with its logits and with the output of each layer by name."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from fitnets.config import Dropout
from fitnets.layers import Layer, hidden_dropout, input_dropout


class Network(nn.Module):
    """Layers in order, the last one giving the logits. `dropout` acts in training mode only, on each layer's input."""

    def __init__(self, layers: dict[str, Layer]):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.dropout = Dropout()

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(N, C, H, W) -> logits (N, classes) and the features of every other layer, by name."""
        features: dict[str, Tensor] = {}
        output = images
        for name, layer in self.layers.items():
            output = layer(self._drop(output, first=not features))
            features[name] = output
        logits = features.pop(name)
        return logits, features

    def train_with(self, dropout: Dropout) -> None:
        """Training mode, with these rates."""
        self.train()
        self.dropout = dropout

    def up_to(self, images: Tensor, layer: str) -> Tensor:
        """The output of one layer; nothing above it is computed."""
        output = images
        for index, (name, module) in enumerate(self.layers.items()):
            output = module(self._drop(output, first=index == 0))
            if name == layer:
                break
        return output

    def named(self, layer: str) -> Layer:
        return cast(Layer, self.layers[layer])

    def prefix(self, layer: str) -> dict[str, nn.Module]:
        """The layers up to and including one: W_Guided or W_Hint of the paper's algorithm 1."""
        names = list(self.layers)
        return {name: self.layers[name] for name in names[: names.index(layer) + 1]}

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
        self.layers = members[hint_member].layers
        self.members = nn.ModuleList(members)
        self.hint_member = hint_member
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        answers: list[tuple[Tensor, dict[str, Tensor]]] = [member(images) for member in self.members]
        logits, features = torch.stack([logits for logits, _ in answers]), answers[self.hint_member][1]
        if self.temperature is None:
            return logits.mean(dim=0), features
        softened = torch.log_softmax(logits / self.temperature, dim=2)
        return self.temperature * (torch.logsumexp(softened, dim=0) - math.log(len(answers))), features


def freeze(network: Network) -> Network:
    """In evaluation mode and without gradients: a teacher never moves."""
    return network.requires_grad_(False).eval()
