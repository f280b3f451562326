import pytest
import torch
import torch.nn.functional as F

from fitnets.models.layers import Activation, Conv2d, ConvLayer, Dense, input_dropout, maxout


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
@pytest.mark.parametrize("tied", [True, False])
def test_maxout_convolution_is_the_maximum_of_separate_convolutions(pieces, tied):
    torch.manual_seed(0)
    layer = Conv2d((3, 9, 7), 4, (3, 2), Activation("maxout", pieces), pad=1, tied_biases=tied)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    images = torch.randn(2, 3, 9, 7)

    weights = layer.weight.view(pieces, 4, 3, 3, 2)
    biases = layer.bias.view(pieces, 4, 1, 1) if tied else layer.untied_bias.view(pieces, 4, 9, 8)
    separate = [F.conv2d(images, weights[piece], padding=1) + biases[piece] for piece in range(pieces)]

    expected = torch.stack(separate).max(dim=0).values
    torch.testing.assert_close(layer(images), expected)
    assert layer.out_shape == tuple(expected.shape[1:])


def test_maxout_dense_is_the_maximum_of_separate_products():
    torch.manual_seed(0)
    layer = Dense(12, 4, Activation("maxout", 5))
    features = torch.randn(2, 3, 2, 2)
    separate = [
        features.flatten(1) @ layer.weight[4 * piece : 4 * piece + 4].T + layer.bias[4 * piece : 4 * piece + 4]
        for piece in range(5)
    ]
    torch.testing.assert_close(layer(features), torch.stack(separate).max(dim=0).values)


def test_maxout_gradient_goes_to_the_winning_piece():
    linear = torch.tensor([[1.0, 5.0, 2.0, 3.0]], requires_grad=True)  # two pieces of two units
    maxout(linear, 2).sum().backward()
    assert linear.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
@pytest.mark.parametrize("units", [5, 16, 32])  # channels last, pieces end within a CPU vector or at its end
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maxout_and_its_gradient_are_those_of_the_maximum(layout, pieces, units, dtype):
    torch.manual_seed(0)
    linear = torch.randn(4, pieces * units, 6, 5).to(dtype).contiguous(memory_format=layout).requires_grad_()
    maximum = maxout(linear, pieces)
    expected = linear.detach().view(4, pieces, units, 6, 5).max(dim=1).values
    gradient = torch.randn_like(maximum)
    maximum.backward(gradient)
    assert torch.equal(maximum, expected)
    gradients = linear.grad.view(4, pieces, units, 6, 5)
    assert torch.equal(gradients.sum(dim=1), gradient)  # one piece gets it all, even if pieces tie
    assert ((gradients != 0).sum(dim=1) <= 1).all()
    largest = linear.detach().view(4, pieces, units, 6, 5).gather(1, gradients.abs().argmax(dim=1, keepdim=True))
    assert torch.equal(largest.squeeze(1)[gradient != 0], expected[gradient != 0])
    assert linear.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("size", "pool", "stride", "pooled"), [(33, 4, 2, 16), (15, 4, 2, 7), (9, 2, 2, 5), (21, 4, 2, 10), (36, 3, 2, 18)]
)
def test_pooling_keeps_the_windows_over_the_edge(size, pool, stride, pooled):
    """Only ceil mode gives the map sizes of paper.md, sections 3.1, 3.4 and 3.5."""
    layer = ConvLayer(Conv2d((1, size, size), 2, (1, 1), Activation("maxout", 2)), pool, stride)
    assert layer.out_shape == (2, pooled, pooled)
    assert layer(torch.randn(1, 1, size, size)).shape == (1, 2, pooled, pooled)


def test_input_dropout_does_not_scale_the_kept_values():
    torch.manual_seed(0)
    images = torch.full((100, 100), 3.0)
    dropped = input_dropout(images, 0.2)
    assert set(dropped.unique().tolist()) == {0.0, 3.0}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
