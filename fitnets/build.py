"""From configuration to modules: networks, regressors, initial weights."""

import math

import torch
from torch import Tensor, nn

from fitnets import config
from fitnets.config import Dataset, MaxoutConv, MaxoutDense, Net
from fitnets.layers import ConvLayer, DenseLayer, MaxoutConv2d, MaxoutLinear, Regressor, SoftmaxLayer
from fitnets.networks import Layer, Network
from fitnets.options import ConfigError


def network(net: Net, dataset: Dataset) -> Network:
    """The network for images of this data set. Raises ConfigError where a kernel or a pooling does not fit."""
    match net:
        case config.MaxoutTeacher():
            return _stack(f"teacher={net.name}", dataset, net.convs, net.dense, tied_biases=net.tied_biases)
        case config.FitNet():
            return _stack(f"student={net.name}", dataset, net.convs, net.dense, tied_biases=net.tied_biases)
        case config.Thin():
            return _stack(f"student={net.name}", dataset, thin_convs(net, dataset), [], tied_biases=True)


def thin_convs(thin: config.Thin, dataset: Dataset) -> list[MaxoutConv]:
    """Three groups of convolutions, as even as possible, the later ones longer; the shape of FitNets 1 to 4."""
    convs: list[MaxoutConv] = []
    size = min(dataset.height, dataset.width)
    for group in range(3):
        length = thin.depth // 3 + (group >= 3 - thin.depth % 3)
        units = (group + 1) * thin.width
        convs += [MaxoutConv(units=units, kernel=3, pad=1, pieces=thin.pieces) for _ in range(length)]
        if length:
            window = size if group == 2 else min(2, size)
            convs[-1].pool = convs[-1].stride = window
            size = -(-size // window)
    return convs


def _stack(
    choice: str, dataset: Dataset, convs: list[MaxoutConv], dense: list[MaxoutDense], *, tied_biases: bool
) -> Network:
    layers: dict[str, Layer] = {}
    shape: tuple[int, ...] = (dataset.channels, dataset.height, dataset.width)
    for number, conv in enumerate(convs, start=1):
        key = f"conv{number}"
        if problem := _misfit(conv, shape):
            raise ConfigError(
                f"{choice}, {key}: {problem}\n"
                f"give a network made for {dataset.name} ({dataset.height}x{dataset.width}), or another dataset=..."
            )
        layers[key] = ConvLayer(_maxout(conv, shape, tied_biases=tied_biases), conv.pool, conv.stride)
        shape = layers[key].out_shape
    for number, units in enumerate(dense, start=1):
        layers[f"dense{number}"] = DenseLayer(math.prod(shape), units.units, pieces=units.pieces)
        shape = (units.units,)
    layers["softmax"] = SoftmaxLayer(math.prod(shape), dataset.classes)
    return Network(layers)


def _maxout(conv: MaxoutConv, shape: tuple[int, ...], *, tied_biases: bool) -> MaxoutConv2d:
    channels, height, width = shape
    return MaxoutConv2d(
        (channels, height, width),
        conv.units,
        (conv.kernel, conv.kernel),
        pad=conv.pad,
        pieces=conv.pieces,
        tied_biases=tied_biases,
    )


def _misfit(conv: MaxoutConv, shape: tuple[int, ...]) -> str | None:
    """Why a convolution cannot follow an output of this shape, if it cannot."""
    _, height, width = shape
    kernel, pad, pool = conv.kernel, conv.pad, conv.pool
    if kernel > min(height, width) + 2 * pad:
        return f"a {kernel}x{kernel} kernel with pad {pad} does not fit its {height}x{width} input"
    height, width = height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1
    if pool and pool > min(height, width):
        return f"{pool}x{pool} pooling does not fit its {height}x{width} map"
    if pool and conv.stride > pool:
        return f"stride {conv.stride} of the pooling skips values between its {pool}x{pool} windows"
    return None


# --- regressor ---


def regressor(choice: config.Regressor, guided: Layer, hint: Layer) -> Regressor:
    """The regressor from the guided layer's output to the hint layer's, with the non-linearity of the hint layer.

    Raises ConfigError where the choice does not fit the two shapes."""
    if isinstance(hint, SoftmaxLayer):
        raise ConfigError("hint_layer.teacher=softmax: logits are no hint: give a conv or dense layer, or method=kd")
    shapes = f"the guided layer gives {_shape(guided)}, the hint layer {_shape(hint)}"
    match choice:
        case config.AutoRegressor() if guided.out_shape == hint.out_shape:
            mapping: nn.Module = nn.Identity()
        case config.AutoRegressor():
            mapping = _conv_regressor(guided, hint) if _conv_fits(guided, hint) else _fc_regressor(guided, hint)
        case config.ConvRegressor():
            if not _conv_fits(guided, hint):
                raise ConfigError(
                    f"regressor=conv: {shapes}, and a valid convolution cannot enlarge a map: give regressor=fc, or an "
                    "earlier guided layer"
                )
            mapping = _conv_regressor(guided, hint)
        case config.FcRegressor():
            mapping = _fc_regressor(guided, hint)
        case config.IdentityRegressor():
            if guided.out_shape != hint.out_shape:
                raise ConfigError(f"regressor=identity: {shapes}: give regressor=auto, or layers of one shape")
            mapping = nn.Identity()
    return Regressor(mapping, hint.out_shape)


def _shape(layer: Layer) -> str:
    return "x".join(map(str, layer.out_shape))


def _conv_fits(guided: Layer, hint: Layer) -> bool:
    if len(guided.out_shape) != 3 or len(hint.out_shape) != 3:
        return False
    return all(g >= h for g, h in zip(guided.out_shape[1:], hint.out_shape[1:], strict=True))


def _conv_regressor(guided: Layer, hint: ConvLayer | DenseLayer) -> MaxoutConv2d:
    channels, height, width = guided.out_shape
    units, *hint_size = hint.out_shape
    kernel = (height - hint_size[0] + 1, width - hint_size[1] + 1)
    return MaxoutConv2d((channels, height, width), units, kernel, pieces=hint.pieces, tied_biases=hint.tied_biases)


def _fc_regressor(guided: Layer, hint: ConvLayer | DenseLayer) -> MaxoutLinear:
    return MaxoutLinear(math.prod(guided.out_shape), math.prod(hint.out_shape), pieces=hint.pieces)


# --- initial weights ---


@torch.no_grad()
def initialise(module: nn.Module, init: config.Init, seed: int) -> None:
    """Weights by the rule, biases 0, as a function of the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if not name.endswith("weight"):
            parameter.zero_()
    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        match init:
            case config.UniformInit(bound=bound):
                layer.weight.uniform_(-bound, bound, generator=generator)
            case config.VarianceInit():
                pieces = layer.pieces if isinstance(layer, MaxoutConv2d | MaxoutLinear) else 1
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, 1 / math.sqrt(fan_in * _second_moment(pieces)), generator=generator)


def _second_moment(pieces: int) -> float:
    """E[max(z_1, ..., z_pieces)^2] of independent standard normals: 1, 1, 1.28, 1.55, 1.80 for 1 to 5 pieces."""
    z: Tensor = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(z)
    return float(torch.trapezoid(z**2 * pieces * density * below ** (pieces - 1), z))
