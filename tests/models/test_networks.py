import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fitnets.composition import loading
from fitnets.config import Dropout, OrthogonalInit, layer_names
from fitnets.errors import ConfigError
from fitnets.models import build, hint_pair, teachers, unit_variance
from fitnets.models.layers import LINEAR, RELU, Activation, Conv2d
from fitnets.models.network import freeze
from fitnets.models.residual import ResidualBlock
from fitnets.terms.losses.kd import softened_loss
from fitnets.terms.losses.label import label_loss


def mnist_pair():
    config = loading.load(["dataset=mnist"])
    return [build.network(getattr(config, side), config.dataset, side) for side in ("teacher", "student")]


def linear_weights(network):
    return [(name, part.weight) for name, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def test_mnist_networks_have_the_papers_maps():
    teacher, student = mnist_pair()
    shapes = [[layer.out_shape for layer in net.layers.values()] for net in (teacher, student)]
    assert shapes[0] == [(48, 10, 10), (48, 4, 4), (24, 3, 3), (10,)]
    assert shapes[1] == [(16, 24, 24), (16, 10, 10), (16, 12, 12), (16, 4, 4), (12, 8, 8), (12, 3, 3), (10,)]


def test_declared_shapes_are_those_of_the_features():
    for net in mnist_pair():
        logits, features = net(torch.randn(2, 1, 28, 28), net.hint_layer_names)
        assert logits.shape == (2, 10)
        assert list(features) == net.hint_layer_names == list(net.layers)[:-1]
        for name, output in features.items():
            assert output.shape[1:] == net.layer_output(name).out_shape


def test_forward_until_gives_the_layers_features_and_computes_no_layer_above_it():
    _, student = mnist_pair()
    images = torch.randn(2, 1, 28, 28)
    _, features = student(images, student.hint_layer_names)
    called = []
    for name, layer in student.layers.items():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    torch.testing.assert_close(student.forward_until(images, "conv4"), features["conv4"], rtol=0, atol=0)
    assert called == ["conv1", "conv2", "conv3", "conv4"]
    assert list(student.trainable_parts("conv4")) == called


@pytest.mark.parametrize(
    ("depth", "groups"),
    [(1, (0, 0, 1)), (2, (0, 1, 1)), (3, (1, 1, 1)), (9, (3, 3, 3)), (11, (3, 4, 4)), (17, (5, 6, 6))],
)
def test_thin_family_has_even_groups_and_pools_to_one_pixel(depth, groups):
    config = loading.load(["dataset=mnist", "student=thin", f"student.depth={depth}", "student.width=4"])
    network = build.network(config.student, config.dataset, "student")
    convs = [layer for name, layer in network.layers.items() if name != "softmax"]
    assert tuple(sum(layer.out_shape[0] == units for layer in convs) for units in (4, 8, 12)) == groups
    assert convs[-1].out_shape == (12, 1, 1)
    assert network(torch.randn(2, 1, 28, 28))[0].shape == (2, 10)


def test_dropout_acts_on_every_layers_input_and_only_in_training_mode():
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


CIFAR_MAPS = {
    "maxout_cifar10": [(96, 16, 16), (192, 7, 7), (192, 5, 5), (500,), (10,)],
    "maxout_svhn": [(64, 18, 18), (128, 10, 10), (128, 6, 6), (400,), (10,)],
}


@pytest.mark.parametrize(("teacher", "dataset"), [("maxout_cifar10", "cifar10"), ("maxout_svhn", "svhn")])
def test_teachers_have_the_papers_maps(teacher, dataset):
    config = loading.load([f"dataset={dataset}"])
    network = build.network(config.teacher, config.dataset, "teacher")
    assert [layer.out_shape for layer in network.layers.values()] == CIFAR_MAPS[teacher]


@pytest.mark.parametrize(
    ("student", "guided", "shape", "depth"),
    [("fitnet1", "conv6", (32, 8, 8), 11), ("fitnet2", "conv6", (80, 8, 8), 11), ("fitnet3", "conv8", (80, 8, 8), 13),
     ("fitnet4", "conv11", (80, 8, 8), 19)],
)  # fmt: skip
def test_students_have_the_papers_depth_and_guided_map(student, guided, shape, depth):
    config = loading.load(["dataset=cifar10", f"student={student}"])
    network = build.network(config.student, config.dataset, "student")
    assert hint_pair.hint_pair(config) == ("conv2", guided)
    assert network.layer_output(guided).out_shape == shape
    assert len(network.layers) == depth
    *_, last, dense, _ = (layer.out_shape for layer in network.layers.values())
    assert (last[1:], dense) == ((1, 1), (500,))


@pytest.mark.parametrize(("layers", "guided"), [(5, "conv2"), (7, "conv4"), (9, "conv5"), (11, "conv7")])
@pytest.mark.parametrize("budget", [30, 107])
def test_table_6_has_its_layers_and_guided_layers(layers, guided, budget):
    words = ("dataset=cifar10", "student=table6", f"student.layers={layers}", f"student.budget={budget}")
    config = loading.load(list(words))
    network = build.network(config.student, config.dataset, "student")
    assert len(network.layers) == layers
    assert hint_pair.hint_pair(config) == ("conv2", guided)
    assert network.layer_output(guided).out_shape[1:] in ((8, 8),)


class TestAflw:
    config = loading.load(["dataset=aflw", "dataset.path=patches", "student=fitnet_aflw1"])

    def networks(self):
        return [build.network(getattr(self.config, side), self.config.dataset, side) for side in ("teacher", "student")]

    def test_networks_have_the_papers_maps(self):
        teacher, student = self.networks()
        assert [layer.out_shape for layer in teacher.layers.values()] == [(128, 7, 7), (512, 6, 6), (512, 2, 2), (2,)]
        sizes = [layer.out_shape for layer in student.layers.values()]
        assert sizes[:-1] == [(16, 14, 14), *((32, side, side) for side in (12, 10, 8, 6, 4, 2))]
        assert hint_pair.hint_pair(self.config) == ("conv3", "conv5")
        assert (teacher.layer_output("conv1").conv(torch.randn(1, 3, 16, 16)) >= 0).all()

    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    def test_losses_are_the_binary_cross_entropies_of_one_sigmoid_unit(self, temperature):
        teacher, student = self.networks()
        images, labels = torch.randn(20, 3, 16, 16), torch.arange(20) % 2
        (logits, _), (teacher_logits, _) = student(images), teacher(images)
        unit, teacher_unit = logits[:, 1], teacher_logits[:, 1]
        assert not logits[:, 0].any()
        torch.testing.assert_close(label_loss(logits, labels), F.binary_cross_entropy_with_logits(unit, labels.float()))
        torch.testing.assert_close(
            softened_loss(logits, teacher_logits, temperature),
            F.binary_cross_entropy_with_logits(unit / temperature, torch.sigmoid(teacher_unit / temperature)),
        )

    def test_other_class_counts_are_refused(self):
        with pytest.raises(ConfigError, match="ends in one sigmoid unit, for two classes: mnist has 10"):
            teachers.build_teacher(loading.load(["dataset=mnist", "teacher=relu_aflw"]))


class TestResidual:
    @pytest.mark.parametrize(
        "words",
        ["student=resnet", "student=resnet student.shortcut=pad", "student=resnet student.depth=8 student.width=4",
         "student=wrn"],
    )  # fmt: skip
    def test_declared_names_and_shapes_are_those_of_the_features(self, words):
        config = loading.load(["dataset=cifar100", "teacher=wrn", *words.split()])
        network = build.network(config.student, config.dataset, "student").eval()
        images = torch.randn(2, 3, 32, 32)
        logits, features = network(images, network.hint_layer_names)
        assert logits.shape == (2, 100)
        assert [*features, "softmax"] == layer_names.layer_names(config.student) == list(network.layers)
        for name, output in features.items():
            assert output.shape[1:] == network.layer_output(name).out_shape
            negative = (output < 0).any().item()
            assert negative == (network.layer_output(name).activation.kind == "linear")

    def test_the_middle_is_the_end_of_the_second_group(self):
        config = loading.load(["dataset=cifar100", "teacher=resnet", "student=resnet"])
        assert hint_pair.hint_pair(config) == ("group2_block9", "group2_block3")
        config = loading.load(["dataset=cifar100", "teacher=wrn", "student=wrn"])
        assert hint_pair.hint_pair(config) == ("group2_block6", "group2_block2")

    def test_padding_shortcuts_subsample_and_add_zeros(self):
        block = ResidualBlock((2, 4, 4), 4, stride=2, pad_shortcut=True)
        images = torch.randn(3, 2, 4, 4)
        shortcut = block.shortcut(images)
        assert torch.equal(shortcut[:, :2], images[:, :, ::2, ::2])
        assert not shortcut[:, 2:].any()

    def test_forward_until_keeps_the_statistics_of_layers_above(self):
        config = loading.load(["dataset=cifar100", "teacher=resnet", "student=resnet", "student.depth=8"])
        network = build.network(config.student, config.dataset, "student").train()
        before = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
        network.forward_until(torch.randn(4, 3, 32, 32), "group2_block1")
        moved = {
            name.split(".")[1] for name, value in before.items() if not torch.equal(network.state_dict()[name], value)
        }
        assert moved == {"conv1", "group1_block1", "group2_block1"}


class TestInitialWeights:
    def test_uniform_weights_are_within_their_bound_and_biases_are_zero(self):
        teacher, _ = mnist_pair()
        build.initialise(teacher, loading.load(["dataset=mnist", "schedule=paper"]).schedule.teacher_init, seed=1)
        for name, parameter in teacher.named_parameters():
            if name.endswith("weight"):
                assert 0.0049 < parameter.abs().max().item() <= 0.005
            else:
                assert not parameter.any()

    @pytest.mark.parametrize("pieces", [1, 2, 3, 5])
    def test_variance_keeps_the_second_moment_through_any_number_of_pieces(self, pieces):
        config = loading.load(
            [f"teacher.dense=[{{units: 2000, pieces: {pieces}}}]", "teacher.convs=[]", "hint_layer=none", "method=kd"]
        )
        network = build.network(config.teacher, config.dataset, "teacher")
        build.initialise(network, config.schedule.teacher_init, seed=0)
        generator = torch.Generator().manual_seed(0)
        output = network.layer_output("dense1")(torch.randn(500, 1, 8, 8, generator=generator))
        assert output.square().mean().item() == pytest.approx(1, abs=0.05)

    def test_variance_keeps_the_second_moment_through_relu(self):
        layer = Conv2d((50, 12, 12), 400, (3, 3), RELU)
        build.initialise(layer, loading.load([]).schedule.student_init, seed=0)
        output = layer(torch.randn(20, 50, 12, 12, generator=torch.Generator().manual_seed(0)))
        assert output.square().mean().item() == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("activation", [RELU, Activation("maxout", 2)])
    def test_orthogonal_weights_keep_the_second_moment_and_are_orthogonal(self, activation):
        layer = Conv2d((50, 12, 12), 60, (3, 3), activation)
        build.initialise(layer, OrthogonalInit(), seed=0)
        output = layer(torch.randn(20, 50, 12, 12, generator=torch.Generator().manual_seed(0)))
        assert output.square().mean().item() == pytest.approx(1, abs=0.1)
        rows = F.normalize(layer.weight.flatten(1))
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("student", ["fitnet1", "resnet", "thin"])
    def test_lsuv_gives_each_linear_output_variance_1_on_its_images(self, student):
        config = loading.load(["dataset=cifar10", f"student={student}", "schedule/student_init=lsuv"])
        network = build.network(config.student, config.dataset, "student")
        build.initialise(network, config.schedule.student_init, seed=0)
        images = 3 * torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1)) + 1
        directions = {name: F.normalize(weight.flatten(1)) for name, weight in linear_weights(network)}
        unit_variance.scale(network, images)
        deviations = {}

        def record(layer, inputs):
            (values,) = inputs
            kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
            plain = copy.deepcopy(layer)
            plain.activation, plain.norm = LINEAR, None
            values = values if kind is nn.Conv2d else values.flatten(1)
            deviations[layer] = float(kind.forward(plain, values).std())

        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_pre_hook(record)
        with torch.no_grad():
            network(images)
        assert list(deviations.values()) == pytest.approx([1.0] * len(deviations), abs=1e-4)
        for name, weight in linear_weights(network):  # only their lengths have changed
            torch.testing.assert_close(F.normalize(weight.flatten(1)), directions[name])

    def test_batch_normalisation_starts_as_the_identity(self):
        config = loading.load(["dataset=cifar100", "teacher=resnet", "student=resnet"])
        network = build.network(config.student, config.dataset, "student")
        build.initialise(network, config.schedule.student_init, seed=0)
        norm = network.layer_output("conv1").norm
        assert (norm.weight == 1).all()
        assert not norm.bias.any()

    def test_weights_are_a_function_of_the_seed(self):
        weights = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(weights))  # the global generator must not matter
            _, student = mnist_pair()
            build.initialise(student, loading.load([]).schedule.student_init, seed)
            weights.append(student.layer_output("conv3").conv.weight.clone())
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])


class TestFastTeacher:
    @pytest.mark.parametrize(
        ("dataset", "shapes"),
        [
            (["dataset=cifar10"], [(24, 31, 31), (64, 15, 15), (256, 7, 7), (256, 3, 3), (10,)]),
            (["dataset=mnist"], [(8, 27, 27), (64, 13, 13), (256, 6, 6), (256, 3, 3), (10,)]),
            ([], [(8, 9, 9), (64, 4, 4), (256, 2, 2), (256, 1, 1), (10,)]),
            (  # larger images are taken in patches
                [
                    "dataset=folder",
                    "dataset.path=images",
                    "dataset.classes=3",
                    "dataset.height=224",
                    "dataset.width=256",
                ],
                [(24, 31, 36), (64, 15, 18), (256, 7, 9), (256, 3, 4), (3,)],
            ),
        ],
        ids=["cifar", "mnist", "digits", "photos"],
    )
    def test_fits_images_of_any_size(self, dataset, shapes):
        config = loading.load([*dataset, "teacher=fast", "hint_layer=none", "method=kd"])
        network = build.network(config.teacher, config.dataset, "teacher")
        assert [layer.out_shape for layer in network.layers.values()] == shapes
        size = (config.dataset.channels, config.dataset.height, config.dataset.width)
        logits, features = network(torch.randn(2, *size), network.hint_layer_names)
        assert [features[name].shape[1:] for name in network.hint_layer_names] == shapes[:-1]
        assert logits.shape == (2, *shapes[-1])

    def test_too_many_groups_are_named(self):
        config = loading.load(["teacher=fast", "teacher.groups=[8,8,8,8]", "hint_layer=none", "method=kd"])
        with pytest.raises(ConfigError, match="teacher=fast, group4: 2x2 pooling does not fit its 1x1 map"):
            build.network(config.teacher, config.dataset, "teacher")

    @pytest.mark.parametrize(("student", "guided"), [("fitnet1", "conv6"), ("fitnet3", "conv8"), ("fitnet4", "conv11")])
    def test_its_middle_group_takes_the_place_of_the_published_hint(self, student, guided):
        config = loading.load(["dataset=cifar10", "teacher=fast", f"student={student}"])
        assert hint_pair.hint_pair(config) == ("group2", guided)
        middle = loading.load(["dataset=cifar10", "teacher=fast", "student=thin"])
        assert hint_pair.hint_pair(middle)[0] == "group2"
