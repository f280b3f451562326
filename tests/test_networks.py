import pytest
import torch

from fitnets import build, compose
from fitnets.config import Dropout
from fitnets.networks import freeze


def mnist_pair():
    config = compose.load(["dataset=mnist"])
    return [build.network(getattr(config, side), config.dataset, side) for side in ("teacher", "student")]


def test_mnist_networks_have_the_papers_maps():
    teacher, student = mnist_pair()
    shapes = [[layer.out_shape for layer in net.layers.values()] for net in (teacher, student)]
    assert shapes[0] == [(48, 10, 10), (48, 4, 4), (24, 3, 3), (10,)]
    assert shapes[1] == [(16, 24, 24), (16, 10, 10), (16, 12, 12), (16, 4, 4), (12, 8, 8), (12, 3, 3), (10,)]


def test_declared_shapes_are_those_of_the_features():
    for net in mnist_pair():
        logits, features = net(torch.randn(2, 1, 28, 28))
        assert logits.shape == (2, 10)
        assert list(features) == list(net.layers)[:-1]
        for name, output in features.items():
            assert output.shape[1:] == net.named(name).out_shape


def test_up_to_a_layer_gives_its_features_and_leaves_the_rest_alone():
    _, student = mnist_pair()
    images = torch.randn(2, 1, 28, 28)
    _, features = student(images)
    called = []
    for name, layer in student.layers.items():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    torch.testing.assert_close(student.up_to(images, "conv4"), features["conv4"], rtol=0, atol=0)
    assert called == ["conv1", "conv2", "conv3", "conv4"]
    assert list(student.prefix("conv4")) == called


@pytest.mark.parametrize(
    ("depth", "groups"),
    [(1, (0, 0, 1)), (2, (0, 1, 1)), (3, (1, 1, 1)), (9, (3, 3, 3)), (11, (3, 4, 4)), (17, (5, 6, 6))],
)
def test_thin_family_has_even_groups_and_pools_to_one_pixel(depth, groups):
    config = compose.load(["dataset=mnist", "student=thin", f"student.depth={depth}", "student.width=4"])
    network = build.network(config.student, config.dataset, "student")
    convs = [layer for name, layer in network.layers.items() if name != "softmax"]
    assert tuple(sum(layer.out_shape[0] == units for layer in convs) for units in (4, 8, 12)) == groups
    assert convs[-1].out_shape == (12, 1, 1)
    assert network(torch.randn(2, 1, 28, 28))[0].shape == (2, 10)


def test_dropout_acts_in_training_only_and_on_every_layers_input():
    _, student = mnist_pair()
    images = torch.rand(4, 1, 28, 28)
    plain = student.eval()(images)[0]
    student.dropout = Dropout(input=0.5, hidden=0.5)
    torch.testing.assert_close(student(images)[0], plain, rtol=0, atol=0)
    seen = []
    for layer in student.layers.values():
        layer.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0] == 0).float().mean().item()))
    student.train()(images)
    assert min(seen) > 0.4


def test_frozen_networks_are_in_evaluation_mode_without_gradients():
    teacher = freeze(mnist_pair()[0].train())
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


class TestInitialWeights:
    def test_uniform_is_within_its_bound_and_biases_are_zero(self):
        teacher, _ = mnist_pair()
        build.initialise(teacher, compose.load(["schedule=paper"]).schedule.teacher_init, seed=1)
        for name, parameter in teacher.named_parameters():
            if name.endswith("weight"):
                assert 0.0049 < parameter.abs().max().item() <= 0.005
            else:
                assert not parameter.any()

    @pytest.mark.parametrize("pieces", [1, 2, 3, 5])
    def test_variance_keeps_the_second_moment_through_any_number_of_pieces(self, pieces):
        config = compose.load(
            [f"teacher.dense=[{{units: 2000, pieces: {pieces}}}]", "teacher.convs=[]", "hint_layer=none", "method=kd"]
        )
        network = build.network(config.teacher, config.dataset, "teacher")
        build.initialise(network, config.schedule.teacher_init, seed=0)
        generator = torch.Generator().manual_seed(0)
        output = network.named("dense1")(torch.randn(500, 1, 8, 8, generator=generator))
        assert output.square().mean().item() == pytest.approx(1, abs=0.05)

    def test_weights_are_a_function_of_the_seed(self):
        weights = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(weights))  # the global generator has no part in it
            _, student = mnist_pair()
            build.initialise(student, compose.load([]).schedule.student_init, seed)
            weights.append(student.named("conv3").conv.weight.clone())
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
