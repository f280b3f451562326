import itertools

import pytest

from fitnets.composition import loading
from fitnets.config import AdamW, CosineLr, Distillation, ExponentialLr, LinearLr, Sgd, StageSettings, TriangularLr
from fitnets.terms.losses.kd import kd_weight
from fitnets.training import schedules


def kd(**changes) -> Distillation:
    numbers = {
        "temperature": 3,
        "weight": 4,
        "weight_end": 1,
        "start_epoch": 0,
        "end_epoch": None,
        "soften_student": True,
    }
    return Distillation(**{**numbers, **changes})


class TestLambda:
    def test_meets_its_end_points_over_the_whole_stage(self):
        weights = [kd_weight(kd(), epoch, epochs=31) for epoch in range(31)]
        assert (weights[0], weights[30]) == (4, 1)
        steps = [before - after for before, after in zip(weights, weights[1:], strict=False)]
        assert steps == pytest.approx([0.1] * 30)

    def test_meets_its_end_points_in_the_papers_mnist_schedule(self):
        paper = loading.load(["dataset=mnist", "schedule=paper"]).schedule
        weights = [kd_weight(paper.kd, epoch, paper.student.epochs) for epoch in (0, 75, 150, 151, 499)]
        assert weights == pytest.approx([4, 2.5, 1, 1, 1])

    @pytest.mark.parametrize(("dataset", "saturate", "final"), [("mnist", 150, 0), ("cifar10", 400, 1)])
    def test_equals_the_released_codes_decay(self, dataset, saturate, final):
        """The released code computes init - step * (count - start + 1), step = (init - final) / (saturate - start + 1).

        Its count is 1 in the first epoch, since it monitors once before that epoch."""
        released = loading.load([f"dataset={dataset}", "schedule=released"]).schedule.kd
        start, initial = 5, 4
        step = (initial - final) / (saturate - start + 1)
        for count in range(1, 500):
            if count < start:
                expected = initial
            elif count < saturate:
                expected = initial - step * (count - start + 1)
            else:
                expected = final
            assert kd_weight(released, count - 1, 10_000) == pytest.approx(expected)

    def test_is_the_final_weight_in_a_stage_of_one_epoch(self):
        assert kd_weight(kd(), 0, epochs=1) == 1


def stage(decay, epochs=10) -> StageSettings:
    optimizer = AdamW(lr=0.1, weight_decay=0.0)
    return StageSettings(epochs=epochs, patience=None, batch_size=1, optimizer=optimizer, lr_decay=decay)


def test_linear_decay_reaches_its_factor_and_stays():
    rates = [schedules.learning_rate(stage(LinearLr(final_factor=0.01, epochs=5)), step, 2) for step in (0, 5, 10, 19)]
    assert rates == pytest.approx([0.1, 0.0505, 0.001, 0.001])


def test_exponential_decay_divides_after_each_update_down_to_the_minimum():
    rates = [schedules.learning_rate(stage(ExponentialLr(divisor=2, minimum=0.01)), step, 2) for step in (0, 1, 3, 9)]
    assert rates == pytest.approx([0.1, 0.05, 0.0125, 0.01])


def test_cosine_warms_up_peaks_and_falls_to_nearly_zero():
    rates = [schedules.learning_rate(stage(CosineLr(warmup=1)), step, 4) for step in range(40)]
    assert rates[:4] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert max(rates) == rates[4] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
def test_triangle_rises_for_its_share_of_the_updates_and_falls_in_a_line_to_nearly_zero(warmup):
    rates = [schedules.learning_rate(stage(TriangularLr(warmup=warmup)), step, 10) for step in range(100)]
    peak = round(100 * warmup)
    assert rates[peak] == max(rates) == pytest.approx(0.1, rel=0.05)
    rising, falling = rates[: peak + 1], rates[peak:]
    assert [after - before for before, after in itertools.pairwise(rising)] == pytest.approx(
        [0.1 / (peak + 1)] * peak, abs=1e-9
    )
    assert [before - after for before, after in itertools.pairwise(falling)] == pytest.approx(
        [0.1 / (100 - peak)] * (99 - peak), abs=1e-9
    )
    assert 0 < rates[-1] <= 0.1 / (100 - peak) + 1e-9


def test_momentum_grows_linearly_then_stays():
    sgd = Sgd(lr=1, momentum=0.5, momentum_end=0.7, momentum_epochs=250)
    assert [schedules.momentum(sgd, epoch) for epoch in (0, 125, 250, 400)] == pytest.approx([0.5, 0.6, 0.7, 0.7])
