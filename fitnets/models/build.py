"""Builds modules from the configuration: networks, regressors, classifiers, and their initial weights."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from fitnets import config
from fitnets.config import Dataset, MaxoutConv, MaxoutDense, image_shape
from fitnets.config.layer_names import groups, residual_blocks
from fitnets.errors import ConfigError
from fitnets.models.custom import wrapping
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.models.layers import (
    LINEAR,
    RELU,
    Activation,
    Conv2d,
    ConvLayer,
    Dense,
    DenseLayer,
    Layer,
    LayerOutput,
    Regressor,
    SigmoidLayer,
    SoftmaxLayer,
)
from fitnets.models.network import Network
from fitnets.models.pointwise import Pointwise
from fitnets.models.residual import PooledSoftmaxLayer, PoolingBlock, PreActivationBlock, ResidualBlock, Stem
from fitnets.models.whitening import WhiteningLayer

MapShape = tuple[int, ...]
"""shape of a layer's output for one image, usually (C, H, W)"""


def network(net: config.Architecture, dataset: Dataset, side: str) -> Network:
    """Build a network for the images of a data set.

    side: "teacher" or "student", for messages.

    Raises ConfigError if a kernel, a pooling or the number of classes does not fit."""
    choice = f"{side}={net.name}"
    match net:
        case config.MaxoutTeacher() | config.FitNet():
            return _maxout_network(
                choice, dataset, net.convs, net.dense, tied_biases=net.tied_biases, normalized=_is_normalized(net)
            )
        case config.GroupedFitNet() | config.Table6() | config.Thin():
            pieces = 2 if isinstance(net, config.Table6) else net.pieces
            convs = grouped_convs(groups(net), pieces, dataset)
            dense = [] if isinstance(net, config.Thin) else net.dense
            return _maxout_network(choice, dataset, convs, dense, tied_biases=True, normalized=_is_normalized(net))
        case config.ReluTeacher() | config.ReluFitNet():
            return _relu_network(choice, dataset, net.convs, normalized=_is_normalized(net))
        case config.Resnet() | config.Wrn() | config.FastTeacher():
            return _residual_network(choice, net, dataset)
        case config.CustomNet():
            return wrapping.network(net, dataset, side)


# --- maxout and ReLU networks ---


def _is_normalized(net: config.Architecture) -> bool:
    """Return whether batch normalisation follows the linear maps of the hidden layers. Maxout and ReLU teachers have
    none."""
    return isinstance(net, config.NormalizableStudent) and net.normalization == "batch"


def grouped_convs(units_by_group: list[list[int]], pieces: int, dataset: Dataset) -> list[MaxoutConv]:
    """Return 3x3 convolutions with pad 1 in groups. Each group ends with 2x2 pooling; the last one pools the whole map.

    units_by_group: units of each convolution, by group.
    pieces: maxout pieces of every convolution."""
    convs: list[MaxoutConv] = []
    size = min(dataset.height, dataset.width)
    for number, units_of_group in enumerate(units_by_group, start=1):
        convs += [MaxoutConv(units=units, kernel=3, pad=1, pieces=pieces) for units in units_of_group]
        if units_of_group:
            window = size if number == len(units_by_group) else min(2, size)
            convs[-1].pool = convs[-1].stride = window
            size = -(-size // window)
    return convs


def _maxout_network(
    choice: str,
    dataset: Dataset,
    convs: list[MaxoutConv],
    dense: list[MaxoutDense],
    *,
    tied_biases: bool,
    normalized: bool,
) -> Network:
    layers: dict[str, Layer] = {}
    shape: MapShape = image_shape(dataset)
    for number, conv in enumerate(convs, start=1):
        name = f"conv{number}"
        activation = Activation("maxout", conv.pieces)
        place = f"{choice}, {name}"
        layers[name] = _conv_layer(
            place, dataset, shape, conv, activation, tied_biases=tied_biases, normalized=normalized
        )
        shape = layers[name].out_shape
    for number, units in enumerate(dense, start=1):
        activation = Activation("maxout", units.pieces)
        layers[f"dense{number}"] = DenseLayer(math.prod(shape), units.units, activation, normalized=normalized)
        shape = (units.units,)
    layers["softmax"] = SoftmaxLayer(math.prod(shape), dataset.classes)
    return Network(layers)


def _relu_network(choice: str, dataset: Dataset, convs: list[config.ReluConv], *, normalized: bool) -> Network:
    if dataset.classes != 2:
        raise ConfigError(f"{choice} ends in one sigmoid unit, for two classes: {dataset.name} has {dataset.classes}")
    layers: dict[str, Layer] = {}
    shape: MapShape = image_shape(dataset)
    for number, relu in enumerate(convs, start=1):
        name = f"conv{number}"
        conv = MaxoutConv(units=relu.units, kernel=relu.kernel, pieces=1, pool=relu.pool, stride=relu.pool or 1)
        place = f"{choice}, {name}"
        layers[name] = _conv_layer(place, dataset, shape, conv, RELU, tied_biases=True, normalized=normalized)
        shape = layers[name].out_shape
    layers["sigmoid"] = SigmoidLayer(math.prod(shape))
    return Network(layers)


def _conv_layer(
    place: str,
    dataset: Dataset,
    shape: MapShape,
    conv: MaxoutConv,
    activation: Activation,
    *,
    tied_biases: bool,
    normalized: bool,
) -> ConvLayer:
    if problem := _misfit(conv, shape):
        raise ConfigError(
            f"{place}: {problem}\n"
            f"give a network made for {dataset.name} ({dataset.height}x{dataset.width}), or another dataset=..."
        )
    channels, height, width = shape
    kernel = (conv.kernel, conv.kernel)
    linear = Conv2d(
        (channels, height, width),
        conv.units,
        kernel,
        activation,
        pad=conv.pad,
        tied_biases=tied_biases,
        normalized=normalized,
    )
    return ConvLayer(linear, conv.pool, conv.stride)


def _misfit(conv: MaxoutConv, shape: MapShape) -> str | None:
    """Return why a convolution cannot follow an output of this shape; None if it can."""
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


# --- residual networks ---


def _residual_network(choice: str, net: config.Resnet | config.Wrn | config.FastTeacher, dataset: Dataset) -> Network:
    match net:
        case config.Resnet():
            return _resnet(net, dataset)
        case config.Wrn():
            return _wrn(net, dataset)
        case config.FastTeacher():
            return _fast(choice, net, dataset)


def _resnet(net: config.Resnet, dataset: Dataset) -> Network:
    stem = Stem(image_shape(dataset), net.stem, normalized=True)
    layers: dict[str, Layer] = {"conv1": stem}
    shape = stem.out_shape
    for name, group, stride in residual_blocks(net):
        channels = 16 * 2**group * net.width
        layers[name] = ResidualBlock(shape, channels, stride, pad_shortcut=net.shortcut == "pad")
        shape = layers[name].out_shape
    layers["softmax"] = PooledSoftmaxLayer(shape, dataset.classes, normalized=False)
    return Network(layers)


def _wrn(net: config.Wrn, dataset: Dataset) -> Network:
    stem = Stem(image_shape(dataset), 16, normalized=False)
    layers: dict[str, Layer] = {"conv1": stem}
    shape = stem.out_shape
    for name, group, stride in residual_blocks(net):
        layers[name] = PreActivationBlock(shape, 16 * 2**group * net.width, stride)
        shape = layers[name].out_shape
    layers["softmax"] = PooledSoftmaxLayer(shape, dataset.classes, normalized=True)
    return Network(layers)


def _fast(choice: str, net: config.FastTeacher, dataset: Dataset) -> Network:
    stem = WhiteningLayer(image_shape(dataset), net.stem, patch=-(-min(dataset.height, dataset.width) // 32))
    layers: dict[str, Layer] = {"conv1": stem}
    shape = stem.out_shape
    for number, channels in enumerate(net.groups, start=1):
        if min(shape[1:]) < 2:
            raise ConfigError(
                f"{choice}, group{number}: 2x2 pooling does not fit its {shape[1]}x{shape[2]} map\n"
                f"give fewer than {number} teacher.groups, or larger images"
            )
        layers[f"group{number}"] = PoolingBlock(shape, channels)
        shape = layers[f"group{number}"].out_shape
    layers["softmax"] = PooledSoftmaxLayer(shape, dataset.classes, normalized=False)
    return Network(layers)


# --- regressor ---


def regressor(choice: config.Regressor, guided: LayerOutput, hint: LayerOutput) -> Regressor:
    """Build the regressor from the guided layer's output to the hint layer's, with the hint layer's activation.

    Raises ConfigError if the choice does not fit the two shapes."""
    match resolved_regressor(choice, guided, hint):
        case config.ConvRegressor(pad=int(pad), stride=stride):
            mapping: nn.Module = _conv_regressor(guided, hint, pad=pad, stride=stride)
        case config.PointwiseRegressor():
            mapping = Pointwise(guided.out_shape, hint.out_shape, hint.activation)
        case config.FcRegressor():
            mapping = Dense(math.prod(guided.out_shape), math.prod(hint.out_shape), hint.activation)
        case _:
            mapping = nn.Identity()
    return Regressor(mapping, hint.out_shape)


def resolved_regressor(choice: config.Regressor, guided: LayerOutput, hint: LayerOutput) -> config.Regressor:
    """Return the concrete regressor for this pair: `auto` becomes a kind, and a convolution gets its pad.

    A concrete kind is returned as it is. Raises ConfigError if the choice does not fit the two shapes."""
    shapes = f"the guided layer gives {_shape(guided)}, the hint layer {_shape(hint)}"
    are_maps = len(guided.out_shape) == len(hint.out_shape) == 3
    match choice:
        case config.AutoRegressor():
            if guided.out_shape == hint.out_shape:
                return config.IdentityRegressor()
            has_tokens = any(len(output.out_shape) == 2 for output in (guided, hint))
            other = config.PointwiseRegressor() if has_tokens else config.FcRegressor()
            return resolved_regressor(config.ConvRegressor() if are_maps else other, guided, hint)
        case config.ConvRegressor() if not are_maps:
            raise ConfigError(
                f"regressor=conv: {shapes}, and a convolution needs two maps: give regressor=pointwise or fc"
            )
        case config.ConvRegressor(pad=None):
            larger = (h - g for g, h in zip(guided.out_shape[1:], hint.out_shape[1:], strict=True))
            return replace(choice, pad=max(0, *larger))
        case config.IdentityRegressor() if guided.out_shape != hint.out_shape:
            raise ConfigError(f"regressor=identity: {shapes}: give regressor=auto, or layers of one shape")
        case _:
            return choice


def _shape(layer: LayerOutput) -> str:
    return "x".join(map(str, layer.out_shape))


def _conv_regressor(guided: LayerOutput, hint: LayerOutput, *, pad: int, stride: int) -> Conv2d:
    """The convolution of section 2.2, between maps of any two sizes.

    Kernel size = guided size + 2 pad - stride (hint size - 1)."""
    channels, *guided_size = guided.out_shape
    units, *hint_size = hint.out_shape
    height, width = (g + 2 * pad - stride * (h - 1) for g, h in zip(guided_size, hint_size, strict=True))
    if min(height, width) < 1:
        raise ConfigError(
            f"regressor=conv with pad {pad} and stride {stride}: the guided layer gives {_shape(guided)}, the hint "
            f"layer {_shape(hint)}, the kernel would be {height}x{width}: give a larger pad or a smaller stride"
        )
    return Conv2d(
        (channels, guided_size[0], guided_size[1]),
        units,
        (height, width),
        hint.activation,
        pad=pad,
        stride=stride,
        tied_biases=hint.tied_biases,
    )


def classifier(layer: LayerOutput, classes: int) -> SoftmaxLayer:
    """Build a softmax layer for a hidden layer that learns the labels. It is dropped after training."""
    return SoftmaxLayer(math.prod(layer.out_shape), classes)


# --- initial weights ---


@torch.no_grad()
def initialise(module: nn.Module, init: config.StudentInit, seed: int) -> None:
    """Draw a module's initial weights, as a function of the seed alone.

    Weights follow the rule `init`, biases are set to 0, and batch normalisation keeps its scale of 1. A custom network
    takes the weights of its factory or file instead. `LsuvInit` draws orthonormal weights here; `unit_variance.scale`
    does the rest."""
    if isinstance(module, CustomNetwork):
        module.redraw(seed)
        return
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
                std = _gain(layer) / math.sqrt(layer.weight[0].numel())
                layer.weight.normal_(0, std, generator=generator)
            case config.OrthogonalInit():
                nn.init.orthogonal_(layer.weight, _gain(layer), generator)
            case config.LsuvInit():
                nn.init.orthogonal_(layer.weight, generator=generator)


def _gain(layer: nn.Conv2d | nn.Linear) -> float:
    """The factor on the weights that makes up for the second moment that the activation loses or adds."""
    return 1 / math.sqrt(_second_moment(_activation_after(layer)))


def _activation_after(layer: nn.Conv2d | nn.Linear) -> Activation:
    if isinstance(layer, Conv2d | Dense):
        return layer.activation
    return RELU if isinstance(layer, nn.Conv2d) else LINEAR  # only residual networks use plain convolutions


def _second_moment(activation: Activation) -> float:
    """E[f(z)^2] for standard normal z: 1/2 for ReLU; 1, 1, 1.28, 1.55, 1.80 for maxout of 1 to 5 pieces."""
    if activation.kind == "relu":
        return 0.5
    z: Tensor = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(z)
    return float(torch.trapezoid(z**2 * activation.pieces * density * below ** (activation.pieces - 1), z))
