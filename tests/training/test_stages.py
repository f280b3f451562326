"""Stages and the training loop: which weights move in which stage (the paper's algorithm 1), and in which mode."""

from dataclasses import replace

import pytest
import torch

from fitnets.config import ConstantLr
from fitnets.config.seeds import seed_of
from fitnets.data.augmentation import augment
from fitnets.errors import DivergedError
from fitnets.models.network import freeze
from fitnets.training import methods
from fitnets.training.loop import fit
from fitnets.training.stages import Stage
from support.references import kd_reference
from support.stages import Observer, changed, in_float64, prepared, state, train


def test_stage_1_moves_the_student_up_to_the_guided_layer_and_nothing_else(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "schedule.hint.epochs=3", "schedule.hint.optimizer.weight_decay=0.1")
    hint = plan.stages[0]
    assert hint.until == ("conv2",)
    (head,) = hint.heads.values()
    teacher, student, regressor = state(plan.teacher), state(plan.student), state(head)
    train(plan, hint)
    assert changed(teacher, plan.teacher.state_dict()) == set()
    assert changed(student, plan.student.state_dict()) == {
        f"layers.{layer}.conv.{part}" for layer in ("conv1", "conv2") for part in ("weight", "bias")
    }
    assert changed(regressor, head.state_dict()) == set(regressor)


def test_stage_2_starts_from_stage_1_moves_the_whole_student_and_not_the_teacher(tiny, tmp_path):
    plan = prepared(tiny, tmp_path)
    hint, distill = plan.stages
    assert (hint.is_partial, distill.is_partial) == (True, False)
    assert distill.network is hint.network is plan.student
    train(plan, hint)
    teacher, student = state(plan.teacher), state(plan.student)
    train(plan, distill)
    assert changed(teacher, plan.teacher.state_dict()) == set()
    assert changed(student, plan.student.state_dict()) == set(student)


def test_neither_network_is_computed_beyond_the_pair_in_stage_1(tiny, tmp_path):
    plan = prepared(tiny, tmp_path)
    called = set()
    for side, network in (("teacher", plan.teacher), ("student", plan.student)):
        for name, layer in network.layers.items():
            layer.register_forward_hook(lambda *_, key=(side, name): called.add(key))
    train(plan, plan.stages[0])
    assert called == {("teacher", "conv1"), ("student", "conv1"), ("student", "conv2")}


def test_only_the_student_is_in_training_mode_and_only_at_steps(tiny, tmp_path):
    """The student is in training mode at every step and in evaluation mode on validation, in every epoch."""
    plan = prepared(tiny, tmp_path, "schedule.hint.epochs=3", "schedule.student.epochs=3")
    modes = {"teacher": [], "student": []}
    plan.teacher.layers["conv1"].register_forward_hook(lambda layer, *_: modes["teacher"].append(layer.training))
    plan.student.layers["conv1"].register_forward_hook(
        lambda layer, *_: modes["student"].append((layer.training, torch.is_grad_enabled()))
    )
    for stage in plan.stages:
        modes["student"].clear()
        train(plan, stage)
        steps = len(plan.data.train) // stage.settings.batch_size
        validations = -(-len(plan.data.valid) // 500)
        assert modes["student"] == ([(True, True)] * steps + [(False, False)] * validations) * 3
    assert set(modes["teacher"]) == {False}


@pytest.mark.parametrize("stage", [0, 1])
def test_a_teacher_that_could_move_is_refused(tiny, tmp_path, stage):
    plan = prepared(tiny, tmp_path)
    plan.teacher.train()
    with pytest.raises(AssertionError, match="left evaluation mode"):
        train(plan, plan.stages[stage])
    freeze(plan.teacher).requires_grad_(True)
    with pytest.raises(AssertionError, match="can move"):
        train(plan, plan.stages[stage])


@pytest.mark.parametrize("soften_student", [True, False])
def test_stage_2_steps_on_eq_2(tiny, tmp_path, soften_student):
    """Both networks' logits, temperature, lambda and `soften_student` reach the loss."""
    plan, batch = in_float64(
        tiny, tmp_path, "method=kd", "schedule.equal_epochs=false", "schedule.student.epochs=5",
        "schedule.kd.temperature=2", f"schedule.kd.soften_student={soften_student}",
    )  # fmt: skip
    loss, _ = plan.stages[0].step(batch, 1)
    with torch.no_grad():
        student, teacher = plan.student(batch.images)[0].numpy(), plan.teacher(batch.images)[0].numpy()
    value, _ = kd_reference(student, teacher, batch.labels.numpy(), 2, 3.25, soften_student=soften_student)
    assert loss.item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "released"])
def test_stage_1_steps_on_eq_3(tiny, tmp_path, reduction):
    plan, batch = in_float64(tiny, tmp_path, f"schedule.hint_loss={reduction}")
    hint = plan.stages[0]
    loss, _ = hint.step(batch, 0)
    with torch.no_grad():
        target = plan.teacher(batch.images, ["conv1"])[1]["conv1"]
        square = (hint.heads["regressor"](plan.student(batch.images, ["conv2"])[1]["conv2"]) - target) ** 2
    per_image = square.sum(dim=(1, 2, 3)) if reduction == "sum" else 4 * square.mean(dim=(1, 2, 3))
    assert loss.item() == pytest.approx(0.5 * per_image.mean().item(), rel=1e-12)


def test_lambda_of_each_epoch_is_in_its_record(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "method=kd", "schedule.equal_epochs=false", "schedule.student.epochs=4")
    _, observer = train(plan, plan.stages[0])
    assert [epoch.train["kd_weight"] for epoch in observer.epochs] == pytest.approx([4, 3, 2, 1])
    for epoch in observer.epochs:
        values = epoch.train
        total = values["train_label_loss"] + values["kd_weight"] * values["train_kd_loss"]
        assert values["train_loss"] == pytest.approx(total, rel=1e-5)


def test_equal_epochs_adds_the_epochs_of_stage_1_to_methods_without_it(tiny):
    bounded = tiny("method=kd", "schedule.hint.max_steps=5", "schedule.student.max_steps=7")
    assert methods.student_stage(bounded).max_steps == 12
    epochs = ("schedule.hint.epochs=5", "schedule.student.epochs=7")
    for method, equal, expected in (
        ("hints", "true", 7),
        ("kd", "true", 12),
        ("backprop", "true", 12),
        ("backprop", "false", 7),
    ):
        config = tiny(*epochs, f"method={method}", f"schedule.equal_epochs={equal}")
        assert methods.student_stage(config).epochs == expected


class TestLoop:
    def scripted(self, plan, valid_errors, losses=None):
        """Return the plan's backprop stage with the given values on validation, one per epoch."""
        stage = plan.stages[0]
        values = iter(zip(valid_errors, losses or [1.0] * len(valid_errors), strict=True))

        class Scripted(Stage):
            def validate(self, valid, batch_size, _group):
                return dict(zip(("valid_error", "valid_loss"), next(values), strict=True))

        return Scripted(name="student", network=stage.network, settings=stage.settings, terms=stage.terms)

    def backprop(self, tiny, tmp_path, *overrides):
        return prepared(tiny, tmp_path, "method=backprop", "schedule.equal_epochs=false", *overrides)

    def test_the_best_epochs_weights_are_kept(self, tiny, tmp_path):
        weights = {}
        for epochs in (2, 4):
            plan = self.backprop(tiny, tmp_path, f"schedule.student.epochs={epochs}")
            plan.stages[0].settings.lr_decay = ConstantLr()  # the same steps, however many follow
            outcome, _ = train(plan, self.scripted(plan, [0.5, 0.2, 0.3, 0.2][:epochs]))
            assert (outcome.best_epoch, outcome.epochs, outcome.stopped_by) == (1, epochs, "epochs")
            weights[epochs] = state(plan.student)
        assert changed(weights[2], weights[4]) == set()

    def test_ties_go_to_the_smaller_loss(self, tiny, tmp_path):
        plan = self.backprop(tiny, tmp_path, "schedule.student.epochs=4", "schedule.student.patience=3")
        scripted = self.scripted(plan, [0.2, 0.2, 0.2, 0.2], losses=[0.9, 0.5, 0.7, 0.8])
        outcome, observer = train(plan, scripted)
        assert (outcome.best_epoch, outcome.epochs) == (1, 4)
        assert [epoch.best for epoch in observer.epochs] == [True, True, False, False]

    def test_ties_do_not_prolong_patience(self, tiny, tmp_path):
        plan = self.backprop(tiny, tmp_path, "schedule.student.epochs=9", "schedule.student.patience=2")
        outcome, _ = train(plan, self.scripted(plan, [0.2] * 5, losses=[0.9, 0.8, 0.7, 0.6, 0.5]))
        assert (outcome.best_epoch, outcome.epochs, outcome.stopped_by) == (2, 3, "patience")

    def test_patience_stops_the_stage(self, tiny, tmp_path):
        plan = self.backprop(tiny, tmp_path, "schedule.student.epochs=9", "schedule.student.patience=2")
        outcome, observer = train(plan, self.scripted(plan, [0.5, 0.4, 0.4, 0.45, 0.1]))
        assert (outcome.epochs, outcome.best_epoch, outcome.stopped_by) == (4, 1, "patience")
        assert [epoch.best for epoch in observer.epochs] == [True, True, False, False]
        assert outcome.images == observer.epochs[-1].images == observer.steps * plan.stages[0].settings.batch_size

    def test_max_steps_cuts_the_stage_short(self, tiny, tmp_path):
        plan = self.backprop(tiny, tmp_path, "schedule.student.epochs=9", "schedule.student.max_steps=16")
        outcome, observer = train(plan, plan.stages[0])
        per_epoch = 437 // plan.stages[0].settings.batch_size
        assert observer.steps == 16
        assert (outcome.epochs, outcome.stopped_by) == (-(-16 // per_epoch), "max_steps")
        assert outcome.images == 16 * plan.stages[0].settings.batch_size
        assert observer.epochs[-1].valid  # the cut epoch is validated too

    def test_fixed_epochs_select_nothing_and_keep_the_last_weights(self, tiny, tmp_path):
        plan = self.backprop(tiny, tmp_path, "schedule.student.epochs=9")
        scripted = self.scripted(plan, [])  # validating would fail
        observer, last = Observer(), {}
        observer.on_epoch = lambda epoch: (observer.epochs.append(epoch), last.update(state(plan.student)))
        outcome = fit(
            scripted, plan.data.with_validation(), seed=0, eval_batch_size=500, observer=observer, fixed_epochs=3
        )
        assert (outcome.epochs, outcome.best_epoch, outcome.stopped_by) == (3, 2, "epochs")
        assert [epoch.stage for epoch in observer.epochs] == ["retrain_student"] * 3
        assert changed(last, plan.student.state_dict()) == set()
        assert observer.steps == 3 * (1437 // scripted.settings.batch_size)

    def test_training_sees_the_views_of_its_epoch_and_validation_the_images(self, tiny, tmp_path):
        words = ("schedule.student.augmentation.flip=true", "schedule.student.augmentation.pad=2")
        plan = self.backprop(tiny, tmp_path, *words, "schedule.student.epochs=2")
        whole, seen = plan.stages[0], []

        class Spied(Stage):
            def step(self, batch, epoch):
                seen.append((epoch, batch))
                return super().step(batch, epoch)

        spied = Spied(name="student", network=whole.network, settings=whole.settings, terms=whole.terms)
        train(plan, spied)
        for epoch in range(2):
            order = plan.data.train.shuffled(whole.settings.batch_size, seed_of("student", 0, epoch))
            for (_, batch), rows in zip([step for step in seen if step[0] == epoch], order, strict=True):
                plain = plan.data.train.images[rows]
                expected = augment(plain, rows, epoch, whole.settings.augmentation, plan.data.view_seed)
                assert torch.equal(batch.images, expected)
                assert not torch.equal(batch.images, plain)
                assert torch.equal(batch.labels, plan.data.train.labels[rows])
                assert torch.equal(batch.rows, rows)

    def test_teacher_and_student_see_the_same_views(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, "schedule.hint.augmentation.flip=true")
        inputs = {"teacher": [], "student": []}
        for side, network in (("teacher", plan.teacher), ("student", plan.student)):
            network.layers["conv1"].register_forward_pre_hook(
                lambda _, images, side=side: inputs[side].append(images[0])
            )
        train(plan, plan.stages[0])
        assert len(inputs["teacher"]) == len(inputs["student"]) > 0
        assert all(torch.equal(*pair) for pair in zip(*inputs.values(), strict=True))

    def test_equal_seeds_give_equal_weights_to_the_bit_and_others_do_not(self, tiny, tmp_path):
        states = []
        for seed in (0, 0, 1):
            plan = self.backprop(tiny, tmp_path, "schedule.student.dropout.hidden=0.5")
            torch.manual_seed(len(states))  # the global generator must not matter
            train(plan, plan.stages[0], seed)
            states.append(state(plan.student))
        assert changed(states[0], states[1]) == set()
        assert changed(states[0], states[2])

    def test_a_loss_that_is_not_finite_ends_the_stage(self, tiny, tmp_path):
        plan = self.backprop(tiny, tmp_path)
        images = plan.data.train.images[torch.arange(len(plan.data.train.labels))]
        images[plan.data.train.rows[:100]] = float("nan")
        plan = replace(plan, data=replace(plan.data, train=replace(plan.data.train, images=images)))
        with pytest.raises(DivergedError, match=r"student stage diverged in epoch 0, by step \d+.*train_loss nan.*lr"):
            train(plan, plan.stages[0])
