"""Every regressor on every pair of a hint layer and a guided layer in the paper."""

import pytest
import torch
import torch.nn.functional as F

from fitnets.composition import loading
from fitnets.config import AutoRegressor, ConvRegressor, FcRegressor, IdentityRegressor
from fitnets.errors import ConfigError
from fitnets.models import build, hint_pair, teachers
from fitnets.models.layers import Activation, Conv2d

TABLE_6 = [
    f"table6 student.layers={layers} student.budget={budget}" for layers in (5, 7, 9, 11) for budget in (30, 107)
]
PAIRS = [
    "dataset=mnist",
    *(
        f"dataset=cifar10 student={student}"
        for student in ("fitnet1", "fitnet2", "fitnet3", "fitnet3_table5", "fitnet4")
    ),
    *(f"dataset=cifar10 student={student}" for student in TABLE_6),
    "dataset=cifar100 student=fitnet4",
    *(f"dataset=svhn student={student}" for student in ("fitnet3", "fitnet3_table5", "fitnet4")),
    "dataset=svhn student=fitnet3 teacher.hint=conv3",
    "dataset=svhn student=fitnet3 student.guided=conv4",
    *(f"dataset=aflw dataset.path=patches student={student}" for student in ("fitnet_aflw1", "fitnet_aflw2")),
]
KERNELS = {  # (kernel, pad). Section 2.2: guided size - hint size + 1; for a larger hint: hint size - guided size + 1
    "dataset=mnist": (1, 0),
    "dataset=svhn student=fitnet3": (3, 2),
    "dataset=svhn student=fitnet3_table5": (3, 2),
    "dataset=svhn student=fitnet4": (3, 2),
    "dataset=svhn student=fitnet3 teacher.hint=conv3": (3, 0),
    "dataset=svhn student=fitnet3 student.guided=conv4": (7, 0),
    "dataset=aflw dataset.path=patches student=fitnet_aflw1": (5, 0),
    "dataset=aflw dataset.path=patches student=fitnet_aflw2": (5, 0),
}


def layers_of(pair: str):
    """Return (guided layer, hint layer)."""
    config = loading.load(pair.split())
    hint, guided = hint_pair.hint_pair(config)
    student = build.network(config.student, config.dataset, "student")
    return student.layer_output(guided), teachers.build_teacher(config).layer_output(hint)


def check_output(regressor, guided, hint):
    guided_output = torch.randn(2, *guided.out_shape)
    assert regressor(guided_output).shape == (2, *hint.out_shape)


@pytest.mark.parametrize("pair", PAIRS)
def test_conv_has_the_kernel_of_section_2_2(pair):
    guided, hint = layers_of(pair)
    for choice in (AutoRegressor(), ConvRegressor()):
        regressor = build.regressor(choice, guided, hint)
        check_output(regressor, guided, hint)
        kernel, pad = KERNELS.get(pair, (2, 0))
        conv = regressor.mapping
        assert isinstance(conv, Conv2d)
        assert (conv.kernel_size, conv.padding) == ((kernel, kernel), (pad, pad))
        assert conv.activation == hint.activation
        assert conv.tied_biases == hint.tied_biases
        pieces = hint.activation.pieces
        assert conv.weight.numel() == kernel**2 * guided.out_shape[0] * hint.out_shape[0] * pieces


@pytest.mark.parametrize("pair", PAIRS)
def test_each_pixel_of_padding_enlarges_the_kernel_by_two(pair):
    guided, hint = layers_of(pair)
    for choice in (ConvRegressor(pad=2), ConvRegressor(pad=3)):
        regressor = build.regressor(choice, guided, hint)
        check_output(regressor, guided, hint)
        assert regressor.mapping.kernel_size[0] == guided.out_shape[1] + 2 * choice.pad - hint.out_shape[1] + 1


@pytest.mark.parametrize("pair", PAIRS)
def test_a_stride_needs_a_guided_map_that_is_large_enough(pair):
    guided, hint = layers_of(pair)
    fits = guided.out_shape[1] >= 2 * (hint.out_shape[1] - 1) + 1
    if not fits:
        with pytest.raises(ConfigError, match=r"with pad . and stride 2: .* give a larger pad or a smaller stride"):
            build.regressor(ConvRegressor(stride=2), guided, hint)
    enough = max(0, 2 * hint.out_shape[1] - guided.out_shape[1])  # the kernel is then at least 2 wide
    for choice in [ConvRegressor(stride=2, pad=enough), *([ConvRegressor(stride=2)] if fits else [])]:
        regressor = build.regressor(choice, guided, hint)
        check_output(regressor, guided, hint)
        assert regressor.mapping.stride == (2, 2)


@pytest.mark.parametrize("pair", PAIRS)
def test_fc_has_the_papers_number_of_weights(pair):
    guided, hint = layers_of(pair)
    with torch.device("meta"):  # up to 200 million weights
        regressor = build.regressor(FcRegressor(), guided, hint)
        check_output(regressor, guided, hint)
    inputs, outputs = (torch.Size(layer.out_shape).numel() for layer in (guided, hint))
    assert regressor.mapping.weight.numel() == inputs * outputs * hint.activation.pieces


@pytest.mark.parametrize("pair", PAIRS)
def test_identity_needs_equal_shapes(pair):
    guided, hint = layers_of(pair)
    with pytest.raises(ConfigError, match="regressor=identity: the guided layer gives .*: give regressor=auto"):
        build.regressor(IdentityRegressor(), guided, hint)
    for choice in (IdentityRegressor(), AutoRegressor()):
        regressor = build.regressor(choice, hint, hint)
        output = torch.randn(2, *hint.out_shape)
        assert torch.equal(regressor(output), output)
        assert regressor.describe() == "no regressor"


def test_a_larger_hint_map_gets_a_full_convolution():
    """Every position of the hint sees the guided map, and the middle ones see it through the whole kernel."""
    guided, hint = layers_of("dataset=svhn student=fitnet3")
    conv = build.regressor(AutoRegressor(), guided, hint).mapping
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.zeros_(conv.bias)
    ones = torch.ones(1, *guided.out_shape)
    seen = F.conv2d(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3), padding=2)[0, 0]
    assert seen.min() == 1
    torch.testing.assert_close(conv(ones)[0, 0], 80 * seen)


def test_descriptions_name_kernel_activation_pad_and_size():
    def description(pair, choice):
        return build.regressor(choice, *layers_of(pair)).describe()

    assert description("dataset=svhn student=fitnet3", AutoRegressor()) == (
        "a 3x3 maxout convolution with pad 2 (184,320 weights)"
    )
    assert description("dataset=cifar10 student=fitnet4", AutoRegressor()) == (
        "a 2x2 maxout convolution (122,880 weights)"
    )
    assert description("dataset=aflw dataset.path=p student=fitnet_aflw1", AutoRegressor()) == (
        "a 5x5 ReLU convolution (409,600 weights)"
    )
    padded = description("dataset=svhn student=fitnet3 student.guided=conv4", ConvRegressor(stride=1, pad=1))
    assert padded == "a 9x9 maxout convolution with pad 1 (1,327,104 weights)"
    assert Activation("maxout", 2) == layers_of("dataset=mnist")[1].activation
