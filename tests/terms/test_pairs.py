"""Several pairs of layers: one regressor each, one table for each layer of the teacher, weights, budget."""

import math

import pytest
import torch

from fitnets.data.augmentation import Views
from fitnets.planning.identity import hashes
from fitnets.training.cache_plan import plan_cache
from support.stages import in_float64, prepared, state

CONV1 = "{teacher: conv1, student: conv2, weight: 0.5}"
BOTH = [f"+hint_layer.pairs={{a: {CONV1}, b: {CONV1}}}"]


def pairs(*words: str) -> list[str]:
    return ["hint_layer=pairs", *words]


@pytest.mark.parametrize("method", ["hints", "joint"])
def test_two_halves_of_a_pair_are_the_pair(tiny, tmp_path, method):
    halves, batch = in_float64(tiny, tmp_path, f"method={method}", *pairs(*BOTH))
    whole, _ = in_float64(tiny, tmp_path, f"method={method}")
    regressor = whole.stages[0].heads["regressor"].state_dict()
    assert set(halves.stages[0].heads) == {"regressor_a", "regressor_b"}
    for head in halves.stages[0].heads.values():
        head.load_state_dict(regressor)
    halves.teacher.load_state_dict(whole.teacher.state_dict())
    halves.student.load_state_dict(whole.student.state_dict())
    first, second = (plan.stages[0].step(batch, 0)[0].item() for plan in (halves, whole))
    assert first == pytest.approx(second, rel=1e-12)


def test_pairs_of_one_layer_have_two_regressors_and_share_a_table(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, *pairs("+hint_layer.pairs={a: {teacher: conv1, student: conv1}, b: " + CONV1 + "}"))
    hint = plan.stages[0]
    assert hint.teacher_layers == ("conv1",)
    assert hint.until == ("conv1", "conv2")
    first, second = (hint.heads[f"regressor_{name}"] for name in "ab")
    assert not torch.equal(next(first.parameters()).flatten()[:9], next(second.parameters()).flatten()[:9])


def test_neither_the_order_nor_another_pair_changes_the_start_of_a_regressor(tiny, tmp_path):
    a, b, c = ("{teacher: conv1, student: conv1}", CONV1, "{teacher: conv2, student: conv3}")
    given = (f"a: {a}, b: {b}", f"b: {b}, a: {a}", f"a: {a}, b: {b}, c: {c}")
    plans = [prepared(tiny, tmp_path, *pairs(f"+hint_layer.pairs={{{one}}}")) for one in given]
    assert plans[0].hashes == plans[1].hashes != plans[2].hashes
    for name in ("regressor_a", "regressor_b"):
        first, *others = [state(plan.stages[0].heads[name]) for plan in plans]
        for other in others:
            assert all(torch.equal(first[key], other[key]) for key in first)
    assert list(plans[0].stages[0].heads) == list(plans[1].stages[0].heads)


def test_the_student_is_trained_up_to_the_last_guided_layer(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, *pairs("+hint_layer.pairs={z: {teacher: conv1, student: conv1}, a: " + CONV1 + "}"))
    assert [name for name in plan.stages[0].layers if "regressor" not in name] == ["conv1", "conv2"]


def test_the_budget_of_the_cache_counts_all_layers_together(tiny, tmp_path):
    words = pairs("+hint_layer.pairs={a: {teacher: conv1, student: conv2}, b: {teacher: conv2, student: conv3}}")
    plan = prepared(tiny, tmp_path, *words)
    stage = plan.stages[0]
    views = Views(stage.settings.augmentation, 0)

    def cached(budget: float) -> tuple[str, ...]:
        return plan_cache(
            stage.teacher_layers,
            plan.teacher,
            stage.settings,
            plan.data,
            views=views,
            max_tables=1,
            budget_bytes=budget,
        ).cached

    sizes = plan_cache(
        stage.teacher_layers, plan.teacher, stage.settings, plan.data, views=views, max_tables=1, budget_bytes=math.inf
    ).bytes
    assert cached(sum(sizes.values())) == ("conv1", "conv2")
    assert cached(sum(sizes.values()) - 1) == ("conv1",)
    assert cached(sizes["conv1"] - 1) == ("conv2",)


def test_the_weight_of_a_pair_is_part_of_the_hash(tiny):
    first, second = (
        tiny(*pairs(f"+hint_layer.pairs={{a: {{teacher: conv1, student: conv2, weight: {weight}}}}}"))
        for weight in (1, 2)
    )
    assert hashes(first, "digest", "fp32").hint != hashes(second, "digest", "fp32").hint


def test_a_run_with_several_pairs_is_trained_and_found(command):
    from support.runs import TINY

    words = [*TINY, *pairs("+hint_layer.pairs={low: {teacher: conv1, student: conv1}, high: " + CONV1 + "}")]
    finished = command(*words)
    assert finished.code == 0, finished.err
    assert "student conv2" in finished.out
    assert "student conv1" in finished.out
    assert "found, nothing was trained" in command(*words).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["+hint_layer.pairs={a: {teacher: cnov1, student: conv2}}"],
            "hint_layer.pairs.a.teacher=cnov1: no such layer",
        ),
        (
            ["+hint_layer.pairs={a: {teacher: conv1, student: conv9}}"],
            "hint_layer.pairs.a.student=conv9: no such layer",
        ),
        (["+hint_layer.pairs={a: {teacher: conv1}}"], "hint_layer.pairs.a.student has no value"),
        (["+hint_layer.pairs={a: {teacher: conv1, student: conv2, weight: -1}}"], "hint_layer.pairs.a.weight=-1"),
        (["+hint_layer.pairs={a: {teacher: conv1, student: conv2, weight: 0}}"], "all weights are 0"),
        (["+hint_layer.pairs={a: {teacher: conv1, student: conv2, wieght: 1}}"], "Did you mean: 'weight'"),
        (["hint_layer.pairs={a: {teacher: conv1, student: conv2}}"], "add it with a + before the key"),
        ([], "hint_layer.pairs has no value"),
    ],
)
def test_mistakes(command, words, message):
    from support.runs import TINY

    finished = command(*TINY, *pairs(*words))
    assert finished.code == 1
    assert message in finished.err
    assert len(finished.err.splitlines()) <= 2
