"""The value and the gradient of every loss equal an independent float64 reference; exact cases come out exact."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fitnets.terms import geometry, registry
from fitnets.terms.loss import LogitLoss
from fitnets.terms.losses import attention, contrastive, dist, dkd, relational, standardized_kd, variational
from fitnets.terms.losses.kd import softened_loss
from fitnets.terms.softened import divergence
from support import loss_references as reference

GENERATOR = np.random.default_rng(0)
LOGITS = 3 * GENERATOR.standard_normal((2, 5, 7))
LABELS = GENERATOR.integers(7, size=5)
MAPS = GENERATOR.standard_normal((5, 3, 4, 4)), GENERATOR.standard_normal((5, 6, 4, 4))
VECTORS = MAPS[0].mean((2, 3)), MAPS[1].mean((2, 3))


def option(name: str, **values):
    return registry.option("key", name, values)


def compared(name: str, student: torch.Tensor, teacher: torch.Tensor, **values) -> torch.Tensor:
    """The value of a loss on logits or on the features of one pair."""
    one = option(name, **values)
    labels = (torch.tensor(LABELS),) if isinstance(one, LogitLoss) else ()
    return one.compare(student, teacher, *labels)


CASES = {  # loss with its options: (student, teacher, reference)
    "mimic": (*LOGITS, lambda s: 0.5 * ((s - LOGITS[1]) ** 2).sum(1).mean()),
    "standardized_kd": (*LOGITS, lambda s: reference.standardized_kd(s, LOGITS[1], 2.0)),
    "dkd": (
        *LOGITS,
        lambda s: 16 * np.dot((1, 8), [part.mean() for part in reference.dkd_parts(s, LOGITS[1], LABELS, 4.0)]),
    ),
    "dist": (*LOGITS, lambda s: reference.dist(s, LOGITS[1], 1.0, 1.0, 1.0)),
    "attention": (*MAPS, lambda s: reference.attention(s, MAPS[1])),
    "similarity": (*MAPS, lambda s: reference.similarity(s, MAPS[1])),
    "relational": (
        *VECTORS,
        lambda s: 25 * reference.distances(s, VECTORS[1]) + 50 * reference.angles(s, VECTORS[1]),
    ),
    "probabilistic": (*VECTORS, lambda s: reference.probabilistic(s, VECTORS[1])),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_reference(name):
    student, teacher, expected = CASES[name]
    guided = torch.tensor(student, requires_grad=True)
    loss = compared(name, guided, torch.tensor(teacher))
    loss.backward()
    assert loss.item() == pytest.approx(expected(student), rel=1e-10)
    np.testing.assert_allclose(guided.grad, reference.slope(expected, student), rtol=1e-5, atol=1e-7)


def test_the_variational_loss_equals_the_reference():
    hint = MAPS[1][:, :3]
    variances = np.array([0.5, 1.0, 7.0])

    def expected(mean):
        return reference.variational(mean, variances, hint)

    mean = torch.tensor(MAPS[0], requires_grad=True)
    variance = torch.tensor(variances, requires_grad=True)
    loss = variational.variational_loss(mean, variance.view(-1, 1, 1), torch.tensor(hint))
    loss.backward()
    assert loss.item() == pytest.approx(expected(MAPS[0]), rel=1e-10)
    np.testing.assert_allclose(mean.grad, reference.slope(expected, MAPS[0]), rtol=1e-5, atol=1e-9)
    by_variance = reference.slope(lambda values: reference.variational(MAPS[0], values, hint), variances)
    np.testing.assert_allclose(variance.grad, by_variance, rtol=1e-5)


def test_the_contrast_equals_the_reference():
    given = np.exp(GENERATOR.standard_normal((4, 9)))

    def expected(values):
        return reference.contrast(values, 30)

    scores = torch.tensor(given, requires_grad=True)
    loss = contrastive.contrast(scores, 30)
    loss.backward()
    assert loss.item() == pytest.approx(expected(given), rel=1e-10)
    np.testing.assert_allclose(scores.grad, reference.slope(expected, given), rtol=1e-5, atol=1e-9)


# --- exact cases ---


def logits(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


S, T, LABEL = logits(0, 1, 2), logits(2, 1, 0), torch.tensor([0])


class TestSoftenedOutputs:
    def test_the_divergence_is_summed_over_classes_and_has_no_factor(self):
        assert float(divergence(S, T, 4)) == pytest.approx(0.0824769, abs=1e-7)
        for temperature, value in ((1, 1.150421), (4, 1.319630), (100, 1.333311)):
            assert temperature**2 * float(divergence(S, T, temperature)) == pytest.approx(value, abs=1e-6)

    def test_its_direction_is_from_the_teacher(self):
        assert float(divergence(logits(0, 1, 0), logits(3, 0, 0), 1)) == pytest.approx(1.139572, abs=1e-6)
        assert float(divergence(logits(3, 0, 0), logits(0, 1, 0), 1)) == pytest.approx(1.483770, abs=1e-6)

    def test_kd_is_the_divergence_and_the_teachers_entropy(self):
        entropy = float(softened_loss(T, T, 4.0))
        assert float(softened_loss(S, T, 4.0)) == pytest.approx(float(divergence(S, T, 4)) + entropy, rel=1e-12)

    def test_standardised_logits_may_be_shifted_and_scaled(self):
        value = float(compared("standardized_kd", S, T))
        assert value == pytest.approx(1.280626, abs=1e-6)
        assert float(compared("standardized_kd", 3 * S + 7, T)) == pytest.approx(value, rel=1e-12)
        assert float(compared("standardized_kd", -S, T)) != pytest.approx(value)


class TestDkd:
    def test_its_parts_add_up_to_kd(self):
        target, others = dkd.parts(S, T, LABEL, 4.0)
        assert float(target) == pytest.approx(0.0644217, abs=1e-7)
        assert float(others) == pytest.approx(0.0310883, abs=1e-7)
        of_label = float(F.softmax(T / 4, dim=1)[0, 0])
        assert of_label == pytest.approx(0.4192290, abs=1e-7)
        assert float(target + (1 - of_label) * others) == pytest.approx(0.0824769, abs=1e-7)

    @pytest.mark.parametrize("beta", [0.0, 8.0])
    def test_of_two_classes_it_is_kd(self, beta):
        student, teacher = logits(0.3, 1.2), logits(2, -1)
        expected = 16 * float(divergence(student, teacher, 4))
        value = option("dkd", alpha=1.0, beta=beta).compare(student, teacher, LABEL)
        assert float(value) == pytest.approx(expected, rel=1e-12)

    def test_probabilities_that_vanish_give_finite_parts(self):
        target, _ = dkd.parts(logits(200, 0, 0).float(), logits(0, 1, 2).float(), LABEL, 1.0)
        assert float(target) == pytest.approx(181.06053, rel=1e-6)
        sure = logits(5000, 0, 1).float().requires_grad_()
        target, others = dkd.parts(sure, logits(5000, 0, 1).float(), LABEL, 4.0)
        (target + others).sum().backward()
        assert (target.item(), others.item()) == (0, 0)
        assert sure.grad.isfinite().all()
        assert F.softmax(dkd._others(sure / 4, LABEL), dim=1).tolist()[0] == pytest.approx(
            [0.437823, 0.562177], abs=1e-6
        )


class TestDist:
    def test_a_small_class_counts_as_much_as_a_large_one(self):
        column = torch.tensor([[0.3, 0.3 + 1e-4]])
        assert float(dist.uncorrelated(column, column)) == pytest.approx(0, abs=1e-6)

    def test_a_row_that_is_constant_in_the_teacher_counts_nothing(self):
        student = torch.rand(2, 5)
        teacher = torch.stack([torch.full((5,), 0.2), student[1]])
        assert float(dist.uncorrelated(student, teacher)) == pytest.approx(0, abs=1e-6)


class TestAttention:
    def test_it_is_a_mean_over_positions(self):
        first, second = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
        first[0, 0, 0, 0] = second[0, 0, 1, 1] = 1
        assert float(attention.attention_loss(first, second)) == pytest.approx(0.5)

    def test_the_larger_map_is_pooled(self):
        small, large = torch.rand(2, 8, 4, 4), torch.rand(2, 3, 8, 8)
        expected = attention.attention_loss(small, F.avg_pool2d(large, 2))
        assert float(attention.attention_loss(small, large)) == pytest.approx(float(expected), rel=1e-6)
        assert float(attention.attention_loss(large, small)) == pytest.approx(float(expected), rel=1e-6)

    def test_the_length_and_the_order_of_channels_change_nothing(self):
        student, teacher = torch.rand(2, 8, 4, 4), torch.rand(2, 6, 4, 4)
        value = float(attention.attention_loss(student, teacher))
        assert float(attention.attention_loss(student.flip(1), 1e-12 * teacher)) == pytest.approx(value, rel=1e-5)


class TestTokens:
    def test_only_the_grid_of_tokens_is_compared(self):
        tokens, maps = torch.rand(4, 198, 6), torch.rand(4, 5, 14, 14)
        value = float(attention.attention_loss(tokens, maps))
        noisy = torch.cat([torch.rand(4, 2, 6), tokens[:, 2:]], dim=1)
        assert float(attention.attention_loss(noisy, maps)) == value
        swapped = tokens.clone()
        swapped[:, [2, 50]] = tokens[:, [50, 2]]
        assert float(attention.attention_loss(swapped, maps)) != value

    def test_tokens_are_laid_out_row_by_row(self):
        maps = torch.rand(2, 3, 4, 4)
        tokens = torch.cat([torch.rand(2, 1, 3), maps.flatten(2).transpose(1, 2)], dim=1)
        assert torch.equal(geometry.as_map(tokens, (17, 3)), maps)
        assert torch.allclose(geometry.pooled(tokens), maps.mean((2, 3)))


def test_the_variational_loss_at_a_perfect_mean_is_half_the_log_of_the_variance():
    hint = torch.rand(2, 3, 4, 4)
    for variance, value in ((5.0, 0.8047190), (0.5, 0.5 * math.log(0.5))):
        loss = variational.variational_loss(hint, torch.full((3, 1, 1), variance), hint)
        assert float(loss) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", ["standardized_kd", "dkd", "dist", "mimic"])
def test_equal_logits_have_no_loss(name):
    student = torch.tensor(LOGITS[0], requires_grad=True)
    assert compared(name, student, torch.tensor(LOGITS[0])).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["attention", "similarity", "relational", "probabilistic"])
def test_equal_features_have_no_loss(name):
    features = torch.tensor(MAPS[0])
    assert compared(name, features, features).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["similarity", "relational", "probabilistic"])
def test_relations_do_not_depend_on_the_length_or_the_order_of_channels(name):
    student, teacher = map(torch.tensor, MAPS)
    value = compared(name, student, teacher).item()
    assert compared(name, 1e3 * student.flip(1), 1e-3 * teacher).item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", ["attention", "similarity", "relational", "probabilistic"])
@pytest.mark.parametrize(
    "shapes", [((8, 8, 8), (16, 4, 4)), ((16, 4, 4), (8, 8, 8)), ((5, 6), (8, 2, 2)), ((9,), (17,))]
)
def test_features_of_different_shapes_are_compared(name, shapes):
    student, teacher = (torch.rand(6, *shape) for shape in shapes)
    student.requires_grad_()
    loss = compared(name, student, teacher)
    loss.backward()
    assert loss.shape == ()
    assert student.grad.isfinite().all()


# --- inputs that undo a formula ---

SHAPE = (6, 4, 4)
DEGENERATE = {
    "two identical images": lambda n, shape: torch.cat(
        [torch.rand(1, *shape).repeat(2, *[1] * len(shape)), torch.rand(n - 2, *shape)]
    ),
    "all images identical": lambda n, shape: torch.rand(1, *shape).repeat(n, *[1] * len(shape)),
    "all zero": lambda n, shape: torch.zeros(n, *shape),
    "constant": lambda n, shape: torch.full((n, *shape), 0.1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("other", ["like it", "ordinary"])
@pytest.mark.parametrize(
    "name", ["standardized_kd", "dkd", "dist", "mimic", "kd", "attention", "similarity", "relational", "probabilistic"]
)
def test_degenerate_batches_have_a_finite_loss_and_gradient(name, kind, other, dtype):
    shape = (7,) if name in ("kd", "mimic", "dkd", "dist", "standardized_kd") else SHAPE
    student = DEGENERATE[kind](5, shape).to(dtype).requires_grad_()
    teacher = student.detach() if other == "like it" else torch.rand(5, *shape).to(dtype)
    check_finite(name, student, teacher)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    "name", ["standardized_kd", "dkd", "dist", "attention", "similarity", "relational", "probabilistic"]
)
def test_batches_of_one_and_two_images_have_a_finite_loss_and_gradient(name, images):
    shape = (7,) if name in ("dkd", "dist", "standardized_kd") else SHAPE
    student = torch.rand(images, *shape, requires_grad=True)
    value = check_finite(name, student, torch.rand(images, *shape))
    if images == 1 and name in ("similarity", "relational", "probabilistic"):
        assert value == pytest.approx(0, abs=1e-6)
        assert float(student.grad.abs().max()) == pytest.approx(0, abs=1e-6)


def check_finite(name: str, student: torch.Tensor, teacher: torch.Tensor) -> float:
    if name == "kd":
        loss = softened_loss(student.float(), teacher.float(), 4.0)
    else:
        one = option(name)
        labels = (torch.zeros(len(student), dtype=torch.long),) if isinstance(one, LogitLoss) else ()
        loss = one.compare(student.float(), teacher.float(), *labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert float(student.grad.abs().max()) < 1e8
    return loss.item()


def test_a_bf16_loss_is_close_to_that_in_fp32():
    for name, (student, teacher, _) in CASES.items():
        first, second = (torch.tensor(values).float() for values in (student, teacher))
        exact = compared(name, first, second).item()
        assert compared(name, first.bfloat16().float(), second.bfloat16().float()).item() == pytest.approx(
            exact, rel=0.05
        )


def test_a_batch_put_in_twice_leaves_a_loss_by_image_as_it_is():
    for name in ("mimic", "standardized_kd", "dkd", "attention"):
        student, teacher, _ = CASES[name]
        once, twice = (
            [torch.tensor(np.concatenate([values] * count)) for values in (student, teacher)] for count in (1, 2)
        )
        one = option(name)
        labels = [(torch.tensor(np.tile(LABELS, count)),) if isinstance(one, LogitLoss) else () for count in (1, 2)]
        assert float(one.compare(*twice, *labels[1])) == pytest.approx(float(one.compare(*once, *labels[0])), rel=1e-9)


def test_distances_of_equal_rows_have_no_gradient():
    vectors = torch.ones(4, 3, requires_grad=True)
    relational.distance_loss(vectors, torch.rand(4, 3)).backward()
    assert torch.equal(vectors.grad, torch.zeros(4, 3))


def test_standardised_logits_have_mean_0_and_deviation_1():
    values = standardized_kd.standardized(torch.tensor(LOGITS[0]))
    assert values.mean(1).abs().max() < 1e-12
    assert torch.allclose(values.std(1), torch.ones(5, dtype=torch.float64))
