"""Terms in a stage: gradients, weights, order, half precision, what stops a run."""

import pytest
import torch

from fitnets.composition import loading
from fitnets.composition.loading import CONF
from fitnets.models.network import freeze
from fitnets.planning import doctor, readiness
from fitnets.planning import plan as planning
from fitnets.planning.identity import hashes
from fitnets.terms.losses.hint import hint_loss
from fitnets.training import metrics
from support.datasets import SILENCE
from support.runs import TINY
from support.stages import in_float64, prepared, state, train

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


@pytest.mark.parametrize("method", METHODS)
def test_every_term_reaches_the_student_and_not_the_teacher(tiny, tmp_path, method):
    plan = prepared(tiny, tmp_path, f"method={method}")
    teachers = [*plan.teacher.requires_grad_(True).parameters()]  # a loss that reached them would show
    for stage in plan.stages:
        _, values = stage.step(plan.data.train.batch(plan.data.train.rows[:20]), 0)
        parameters = [p for part in plan.student.trainable_parts(*stage.until).values() for p in part.parameters()]
        losses = {name: value for name, value in values.items() if name.endswith("_loss")} or {
            "stage": stage.step(plan.data.train.batch(plan.data.train.rows[:20]), 0)[0]
        }
        for name, loss in losses.items():
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            assert any(gradient is not None and bool(gradient.any()) for gradient in gradients), name
            assert set(torch.autograd.grad(loss, teachers, retain_graph=True, allow_unused=True)) == {None}, name


@pytest.mark.parametrize(("method", "count"), [("hints", 1), ("joint", 1), ("variational_kd", 1), ("attention", 0)])
def test_the_plan_knows_the_regressors_of_every_loss(tiny, tmp_path, method, count):
    assert len(prepared(tiny, tmp_path, f"method={method}").regressors) == count


@pytest.mark.parametrize("term", ["attention", "kd", "dist"])
def test_twice_the_weight_is_twice_the_gradient(tiny, tmp_path, term):
    def gradient(weight: int) -> torch.Tensor:
        words = [f"+method.stages.student.terms.{term}={{weight: {weight}}}"]
        plan, batch = in_float64(tiny, tmp_path, "method=backprop", *words)
        stage = plan.stages[0]
        total, values = stage.step(batch, 0)
        parameter = plan.student.layers["conv1"].conv.weight
        return torch.autograd.grad(total - values["train_label_loss"], parameter)[0]

    once, twice = gradient(1), gradient(2)
    torch.testing.assert_close(twice, 2 * once, rtol=1e-12, atol=1e-14)


def test_the_weight_of_kd_multiplies_lambda(tiny, tmp_path):
    plan, batch = in_float64(tiny, tmp_path, "method=kd", "+method.stages.student.terms.kd.weight=0.5")
    plain, _ = in_float64(tiny, tmp_path, "method=kd")
    assert plan.stages[0].step(batch, 0)[1]["kd_weight"] == 0.5 * plain.stages[0].step(batch, 0)[1]["kd_weight"] > 0
    assert plan.hashes.run != plain.hashes.run


def test_a_ramp_is_logged_by_epoch(tiny, tmp_path):
    ramp = "{start: 0.25, end: 1, end_epoch: 3}"
    words = ["schedule.student.epochs=5", "schedule.equal_epochs=false"]
    plan = prepared(tiny, tmp_path, "method=backprop", f"+method.stages.student.terms.dkd={{weight: {ramp}}}", *words)
    _, observer = train(plan, plan.stages[0])
    assert [epoch.train["dkd_weight"] for epoch in observer.epochs] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_smoothed_labels_change_the_label_term_alone(tiny, tmp_path):
    values = {}
    for smoothing in (0.0, 0.1):
        plan, batch = in_float64(tiny, tmp_path, "method=kd", f"schedule.student.label_smoothing={smoothing}")
        values[smoothing] = plan.stages[0].step(batch, 0)[1]
    assert values[0.0]["train_kd_loss"].item() == values[0.1]["train_kd_loss"].item()
    logits = plan.student(batch.images)[0].log_softmax(1)
    smoothed = -0.9 * logits[torch.arange(len(logits)), batch.labels].mean() - 0.1 * logits.mean()
    assert values[0.1]["train_label_loss"].item() == pytest.approx(smoothed.item(), rel=1e-12)


def test_smoothing_without_a_label_term_is_refused(command):
    finished = command(*TINY, "method=mimic", "schedule.student.label_smoothing=0.1")
    assert finished.code == 1
    assert "in this stage method=mimic has no cross-entropy of the output with the labels" in finished.err
    finished = command(*TINY, "schedule.hint.label_smoothing=0.1")
    assert "schedule.hint.label_smoothing=0.1" in finished.err


def test_one_method_under_two_names_is_one_run(tiny):
    first, second = (hashes(tiny("method=attention", f"method.name={name}"), "digest", "fp32") for name in ("a", "b"))
    assert first == second


def test_a_loss_that_is_not_finite_is_named_with_stage_epoch_step_and_weight(command):
    words = ["+method.stages.student.terms.mimic={weight: 1e38}", "schedule.student.optimizer.lr=1e30"]
    finished = command(*TINY, "method=backprop", *words)
    assert finished.code == 1
    for part in ("the student stage diverged in epoch", "by step", "train_mimic_loss", "mimic_weight 1e+38"):
        assert part in finished.err


def test_half_a_squared_sum_beyond_half_precision_is_exact():
    hint = torch.full((1, 256, 8, 8), 3.0, dtype=torch.bfloat16)
    loss = hint_loss(torch.zeros_like(hint), hint)
    assert (loss.item(), loss.dtype) == (73_728, torch.float32)


@pytest.mark.parametrize("method", ["attention_kd", "relational", "variational", "contrastive", "dkd", "dist"])
def test_losses_of_bf16_networks_are_fp32(tiny, tmp_path, method):
    plan = prepared(tiny, tmp_path, f"method={method}", "engine.precision=bf16")
    _, values = plan.stages[-1].step(plan.data.train.batch(plan.data.train.rows[:20]), 0)
    losses = {name: value for name, value in values.items() if name.endswith("_loss")}
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert all(value.isfinite() for value in losses.values())


def test_attention_of_a_map_of_one_position_is_pointed_out(tiny, tmp_path):
    pair = ["hint_layer=named", "hint_layer.teacher=conv2", "hint_layer.student=conv3"]
    words = [*pair, "teacher.convs=[{units: 8, kernel: 8}, {units: 8, kernel: 1}]"]
    examination = doctor.examine(tiny("method=attention", f"store={tmp_path}", *words), SILENCE)
    assert any("the attention loss has no gradient" in warning for warning in examination.warnings)


def test_the_teacher_answers_alike_before_and_after_a_run(tmp_path):
    words = [word for word in TINY if not word.startswith("teacher.")]
    words += ["method=attention", "teacher=resnet", "teacher.depth=8", "hint_layer=middle", f"store={tmp_path}"]
    plan = planning.prepare(loading.load(words), SILENCE)
    freeze(plan.teacher)
    batch = plan.data.train.batch(plan.data.train.rows[:20])
    before, weights = plan.teacher(batch.images)[0], state(plan.teacher)
    train(plan, plan.stages[0])
    assert torch.equal(plan.teacher(batch.images)[0], before)
    assert all(torch.equal(weights[key], value) for key, value in plan.teacher.state_dict().items())


def test_a_teacher_that_returns_probabilities_is_pointed_out(tiny, tmp_path, monkeypatch):
    plan = prepared(tiny, tmp_path, "method=kd")
    real = metrics.predict

    def predict(network, split, batch_size):
        logits, labels = real(network, split, batch_size)
        return logits.softmax(1), labels

    assert not any("probabilities" in warning for warning in readiness.evaluate(plan).warnings())
    monkeypatch.setattr(metrics, "predict", predict)
    assert any("look like probabilities" in warning for warning in readiness.evaluate(plan).warnings())


def test_a_warm_up_from_0_has_a_gradient_in_the_examination(tiny, tmp_path):
    ramp = "+method.stages.student.terms.dkd={weight: {start: 0, end: 2, end_epoch: 5}}"
    words = ("method=kd", ramp, "schedule.student.epochs=9")
    examination = doctor.examine(tiny(f"store={tmp_path}", *words), SILENCE)
    (loss,) = [loss for loss in examination.losses if loss.term == "dkd"]
    assert (loss.weight, loss.gradient > 0) == (2, True)
    assert not any("no gradient" in warning for warning in examination.warnings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["+method.stages.student.terms.dkd={weight: {start: 0, end: 1, start_epoch: 9, end_epoch: 3}}"],
            "weight.start_epoch=9 is after method.stages.student.terms.dkd.weight.end_epoch=3",
        ),
        (["+method.stages.student.terms.relational={distance: 0, angle: 0}"], "leave nothing to learn"),
        (["+method.stages.student.terms.dist={beta: 0, gamma: 0}"], "leave nothing to learn"),
        (["+method.stages.student.terms.mine={loss: kd, target: math.dist}"], "loss=kd and target=math.dist"),
        (["hint_layer=pairs", "hint_layer.pairs={}", "method=hints"], "hint_layer.pairs is empty"),
        (["method=attention", "method.stages.student.terms.attention.wieght=3"], "no such key; did you mean weight?"),
    ],
)
def test_mistakes_in_options_are_reported_before_training(command, words, message):
    finished = command(*TINY, "method=backprop", *words)
    assert finished.code == 1
    assert message in finished.err
    assert len(finished.err.splitlines()) == 1


def test_a_ramp_of_zeros_and_a_pair_of_weight_0_are_left_out(tiny, tmp_path):
    zero = "+method.stages.student.terms.dkd={weight: {start: 0, end: 0}}"
    plan = prepared(tiny, tmp_path, "method=backprop", zero)
    assert ([term.name for term in plan.stages[0].terms], plan.stages[0].teacher) == (["label"], None)
    pairs = "{a: {teacher: conv1, student: conv1}, b: {teacher: conv2, student: conv3, weight: 0}}"
    plan = prepared(tiny, tmp_path, "hint_layer=pairs", f"+hint_layer.pairs={pairs}")
    assert plan.stages[0].until == ("conv1",)


def test_no_pairs_are_no_obstacle_for_a_method_that_needs_none(command):
    finished = command(*TINY, "method=kd", "hint_layer=pairs", "hint_layer.pairs={}")
    assert finished.code == 0, finished.err


def test_two_terms_with_labels_at_hidden_layers_have_heads_of_their_own(tiny, tmp_path):
    deep = "+method.stages.student.terms.deep={loss: label_hint, layers: all}"
    plan = prepared(tiny, tmp_path, "method=labels_with_labels", deep)
    assert {"classifier_conv2", "classifier_conv2_deep"} <= set(plan.stages[-1].heads)


@pytest.mark.parametrize("terms", ["{similarity: {layers: pairs}}", "{similarity: {layers: pairs}, hint: {}}"])
def test_a_first_stage_of_other_losses_selects_by_its_loss(tiny, tmp_path, terms):
    plan = prepared(tiny, tmp_path, "method=kd", f"+method.stages.hint.terms={terms}", "schedule.hint.epochs=2")
    stage = plan.stages[0]
    assert stage.selected_by == ("valid_hint_loss",)
    _, observer = train(plan, stage)
    assert all(set(epoch.valid) == {"valid_hint_loss"} for epoch in observer.epochs)


def test_errors_of_a_first_stage_with_labels_are_counted_exactly(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "method=labels_then_kd")
    stage = plan.stages[0]
    by_tens, at_once = (stage.validate(plan.data.valid, size)["valid_error"] for size in (10, 1000))
    assert by_tens == at_once
    assert by_tens * len(plan.data.valid) == pytest.approx(round(by_tens * len(plan.data.valid)), abs=1e-9)
