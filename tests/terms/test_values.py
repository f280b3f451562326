"""Losses and their gradients equal references in float64 NumPy, which are written from the paper's equations."""

import numpy as np
import pytest
import torch

from fitnets.terms.losses.hint import hint_loss
from fitnets.terms.losses.kd import softened_loss
from fitnets.terms.losses.label import label_loss
from support.references import kd_reference


@pytest.mark.parametrize("soften_student", [True, False])
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.0), (3.0, 4.0), (20.0, 1.0)])
def test_kd_equals_the_reference(temperature, weight, soften_student):
    generator = np.random.default_rng(0)
    student, teacher = 3 * generator.standard_normal((2, 7, 10))
    labels = generator.integers(10, size=7)
    value, gradient = kd_reference(student, teacher, labels, temperature, weight, soften_student=soften_student)

    logits = torch.tensor(student, requires_grad=True)
    loss = label_loss(logits, torch.tensor(labels)) + weight * softened_loss(
        logits, torch.tensor(teacher), temperature, soften_student=soften_student
    )
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (5, 12)])
@pytest.mark.parametrize("reduction", ["sum", "released", "released_relu", "mean"])
def test_hint_loss_equals_the_reference(shape, reduction):
    generator = np.random.default_rng(0)
    regressed, hint = generator.standard_normal((2, *shape))
    # half the squared distance is summed over some axes and averaged over the others
    summed = {
        "sum": hint.size / len(hint),
        "released": shape[2] if len(shape) == 4 else 1,  # rows of the map
        "released_relu": shape[1] if len(shape) == 4 else 1,  # channels
        "mean": 2,
    }
    scale = summed[reduction] / hint.size
    value = scale * 0.5 * ((regressed - hint) ** 2).sum()

    guided = torch.tensor(regressed, requires_grad=True)
    loss = hint_loss(guided, torch.tensor(hint), reduction)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(guided.grad.numpy(), scale * (regressed - hint), rtol=1e-10)


def test_hint_loss_names_both_shapes():
    with pytest.raises(ValueError, match=r"the regressor gives \(3, 4, 4\) and the hint is \(3, 1, 1\)"):
        hint_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 1, 1))
