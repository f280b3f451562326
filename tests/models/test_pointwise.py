"""The pointwise regressor, between maps and tokens of any sizes."""

import pytest
import torch

from fitnets import config
from fitnets.errors import ConfigError
from fitnets.models import build
from fitnets.models.custom.hooks import Tap
from fitnets.models.layers import LINEAR, RELU, Activation
from fitnets.models.pointwise import Grid, Pointwise


def output(*shape: int, activation: Activation = LINEAR) -> Tap:
    return Tap(module="x", call=0, out_shape=shape, activation=activation, multiplications=0)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((24, 8, 6), Grid(24, 8, 6)),
        ((16, 24), Grid(24, 4, 4)),
        ((17, 24), Grid(24, 4, 4, before=1)),
        ((198, 24), Grid(24, 14, 14, before=2)),  # DeiT's distillation token
        ((261, 24), Grid(24, 16, 16, before=5)),  # four registers
        ((12, 24), Grid(24, 3, 3, before=3)),
        ((24,), Grid(24, 1, 1)),
        ((1, 24), Grid(24, 1, 1)),
    ],
)
def test_an_outputs_grid_follows_from_its_shape(shape, grid):
    assert Grid.of(shape) == grid


def test_tokens_that_form_no_square_are_a_line():
    assert Grid.of((31, 8)) == Grid(8, 1, 31)


SHAPES = [(6, 8, 8), (6, 3, 3), (16, 5), (17, 5), (65, 7), (9,)]


@pytest.mark.parametrize("hint", SHAPES, ids=str)
@pytest.mark.parametrize("guided", SHAPES, ids=str)
def test_the_output_has_the_hints_shape(guided, hint):
    regressor = build.regressor(config.PointwiseRegressor(), output(*guided), output(*hint))
    regressed = regressor(torch.randn(3, *guided, requires_grad=True))
    assert regressed.shape == (3, *hint)
    regressed.sum().backward()
    assert all(parameter.grad is not None for parameter in regressor.parameters())


def test_each_position_is_mapped_by_itself():
    """Tokens are the positions of the map, row by row."""
    mapping = Pointwise((2, 3, 3), (9, 2), LINEAR)
    with torch.no_grad():
        mapping.positions.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
        mapping.positions.bias.zero_()
    guided = torch.randn(4, 2, 3, 3)
    torch.testing.assert_close(mapping(guided), guided.flatten(2).transpose(1, 2))


def test_class_tokens_come_from_class_tokens_or_from_the_mean():
    tokens, grid = torch.randn(4, 10, 3), torch.randn(4, 3, 3, 3)
    for guided, source in (
        (tokens, tokens[:, 0]),
        (grid, grid.mean(dim=(2, 3))),
        (tokens[:, 1:], tokens[:, 1:].mean(1)),
    ):
        mapping = Pointwise(tuple(guided.shape[1:]), (10, 5), LINEAR)
        torch.testing.assert_close(mapping(guided)[:, 0], mapping.before(source))


def test_a_larger_map_is_averaged_and_a_smaller_one_interpolated():
    for side in (8, 2):
        mapping = Pointwise((1, side, side), (1, 4, 4), LINEAR)
        with torch.no_grad():
            mapping.positions.weight.fill_(1)
            mapping.positions.bias.zero_()
        constant = torch.full((1, 1, side, side), 3.0)
        torch.testing.assert_close(mapping(constant), torch.full((1, 1, 4, 4), 3.0))


def test_the_regressor_shares_the_hints_activation():
    regressed = build.regressor(config.PointwiseRegressor(), output(6, 4, 4), output(17, 5, activation=RELU))
    assert float(regressed(torch.randn(9, 6, 4, 4)).detach().min()) == 0


@pytest.mark.parametrize(
    ("guided", "hint", "kind"),
    [
        ((6, 4, 4), (17, 5), config.PointwiseRegressor),
        ((17, 5), (6, 4, 4), config.PointwiseRegressor),
        ((6, 4, 4), (5, 4, 4), config.ConvRegressor),
        ((6, 4, 4), (5,), config.FcRegressor),
        ((17, 5), (17, 5), config.IdentityRegressor),
    ],
)
def test_auto_is_pointwise_for_tokens(guided, hint, kind):
    assert isinstance(build.resolved_regressor(config.AutoRegressor(), output(*guided), output(*hint)), kind)


def test_a_convolution_needs_maps():
    with pytest.raises(ConfigError, match="a convolution needs two maps: give regressor=pointwise or fc"):
        build.regressor(config.ConvRegressor(), output(6, 4, 4), output(17, 5))


def test_its_description_has_its_number_of_weights():
    regressor = build.regressor(config.PointwiseRegressor(), output(6, 4, 4), output(17, 5))
    assert regressor.describe() == "a linear map of each position's channels (60 weights)"
