"""Methods: the stages of each, the parameters that move in them, and the terms of the loss."""

import numpy as np
import pytest
import torch

from fitnets.composition.loading import CONF
from fitnets.training import methods
from fitnets.training.stages import Stage
from support.stages import changed, in_float64, prepared, state, train

CONVS = ("conv1", "conv2", "conv3")
FEATURE_LOSSES = ("attention", "similarity", "relational", "probabilistic")
EMBEDDINGS = ["embedding_student_contrastive", "embedding_teacher_contrastive"]
METHODS = {  # method: (stages, terms of the whole student's loss, heads that are dropped after training)
    "hints": (["hint", "student"], ["label", "kd"], []),
    "kd": (["student"], ["label", "kd"], []),
    "backprop": (["student"], ["label"], []),
    "mimic": (["student"], ["mimic"], []),
    "dsn": (["student"], ["label", "label_hint"], [f"classifier_{conv}" for conv in CONVS]),
    "joint": (["student"], ["label", "hint"], ["regressor"]),
    "joint +method.stages.student.terms.kd={}": (["student"], ["label", "kd", "hint"], ["regressor"]),
    "labels_then_labels": (["hint", "student"], ["label"], []),
    "labels_then_kd": (["hint", "student"], ["label", "kd"], []),
    "labels_with_labels": (["student"], ["label", "label_hint"], ["classifier_conv2"]),
    "labels_with_kd": (["student"], ["label", "kd", "label_hint"], ["classifier_conv2"]),
    "standardized_kd": (["student"], ["label", "standardized_kd"], []),
    "dkd": (["student"], ["label", "dkd"], []),
    "dist": (["student"], ["label", "dist"], []),
    **{name: (["student"], ["label", name], []) for name in FEATURE_LOSSES},
    **{f"{name}_kd": (["student"], ["label", "kd", name], []) for name in FEATURE_LOSSES},
    "variational": (["student"], ["label", "variational"], ["regressor_variational"]),
    "variational_kd": (["student"], ["label", "kd", "variational"], ["regressor_variational"]),
    "contrastive": (["student"], ["label", "contrastive"], EMBEDDINGS),
    "contrastive_kd": (["student"], ["label", "kd", "contrastive"], EMBEDDINGS),
}
TAUGHT = {"kd", "mimic", "hint", "standardized_kd", "dkd", "dist", *FEATURE_LOSSES, "variational", "contrastive"}
"""terms that read the teacher"""


def test_every_method_is_tested():
    assert {path.stem for path in (CONF / "method").glob("*.yaml")} == {name.split()[0] for name in METHODS}


def whole_stage(plan) -> Stage:
    whole = plan.stages[-1]
    assert not whole.is_partial
    return whole


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_stages_terms_and_heads(tiny, tmp_path, method):
    plan = prepared(tiny, tmp_path, *f"method={method}".split())
    stages, terms, heads = METHODS[method]
    assert [stage.name for stage in plan.stages] == stages
    whole = whole_stage(plan)
    assert [term.name for term in whole.terms] == terms
    assert list(whole.layers) == [*plan.student.layers, *heads]
    needs_teacher = bool(TAUGHT & set(terms))
    assert (whole.teacher is plan.teacher) == needs_teacher
    assert methods.is_staged(plan.config.method) == (len(stages) == 2)


@pytest.mark.parametrize("method", METHODS)
def test_each_stage_moves_its_layers_and_never_the_teacher(tiny, tmp_path, method):
    """Stage 1 moves the student up to the guided layer (conv2) and the head; stage 2 moves the whole student."""
    plan = prepared(tiny, tmp_path, *f"method={method}".split())
    teacher = state(plan.teacher)
    for stage in plan.stages:
        student = state(plan.student)
        heads = {name: state(layer) for name, layer in stage.layers.items() if name not in plan.student.layers}
        train(plan, stage)
        moved = {key.split(".")[1] for key in changed(student, plan.student.state_dict())}
        expected = {"conv1", "conv2"} if stage.name == "hint" else {*CONVS, "softmax"}
        assert moved == expected
        for name, before in heads.items():
            assert changed(before, stage.layers[name].state_dict()) == set(before), name
    assert changed(teacher, plan.teacher.state_dict()) == set()


@pytest.mark.parametrize("method", METHODS)
def test_the_teacher_is_only_computed_if_a_term_needs_it(tiny, tmp_path, method):
    plan = prepared(tiny, tmp_path, *f"method={method}".split())
    calls = []
    plan.teacher.layers["conv1"].register_forward_hook(lambda *_: calls.append(1))
    batch = plan.data.train.batch(plan.data.train.rows[:20])
    for stage in plan.stages:
        calls.clear()
        stage.step(batch, 0)
        by_hint = stage.name == "hint" and method == "hints"
        by_terms = stage.name == "student" and bool(TAUGHT & set(METHODS[method][1]))
        assert len(calls) == (by_hint or by_terms)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def outputs(plan, images):
    with torch.no_grad():
        (logits, features), (teacher_logits, teacher_features) = (
            plan.student(images, plan.student.hint_layer_names),
            plan.teacher(images, plan.teacher.hint_layer_names),
        )
    return logits.numpy(), features, teacher_logits.numpy(), teacher_features


def double(plan):
    for head in whole_stage(plan).layers.values():
        head.double()


class TestLosses:
    """Each loss equals its definition, in float64."""

    def test_mimic_is_half_the_squared_distance_of_the_logits(self, tiny, tmp_path):
        plan, batch = in_float64(tiny, tmp_path, "method=mimic")
        student, _, teacher, _ = outputs(plan, batch.images)
        loss, values = whole_stage(plan).step(batch, 0)
        assert loss.item() == pytest.approx(0.5 * ((student - teacher) ** 2).sum(1).mean(), rel=1e-12)
        assert set(values) == {"train_mimic_loss"}

    def test_dsn_adds_the_labels_at_every_hidden_layer(self, tiny, tmp_path):
        plan, batch = in_float64(tiny, tmp_path, "method=dsn", "method.stages.student.terms.label_hint.weight=0.3")
        double(plan)
        whole = whole_stage(plan)
        student, features, _, _ = outputs(plan, batch.images)
        hidden = 0.0
        for conv in CONVS:
            linear = whole.layers[f"classifier_{conv}"].linear
            logits = features[conv].flatten(1).numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            hidden += cross_entropy(logits, batch.labels.numpy())
        loss, values = whole.step(batch, 0)
        assert loss.item() == pytest.approx(cross_entropy(student, batch.labels.numpy()) + 0.3 * hidden, rel=1e-12)
        assert values["label_hint_weight"] == 0.3

    def test_joint_adds_the_mean_squared_error_of_the_hint(self, tiny, tmp_path):
        plan, batch = in_float64(tiny, tmp_path, "method=joint", "method.stages.student.terms.hint.weight=7")
        double(plan)
        whole = whole_stage(plan)
        student, features, _, teacher_features = outputs(plan, batch.images)
        with torch.no_grad():
            square = (whole.layers["regressor"](features["conv2"]) - teacher_features["conv1"]) ** 2
        expected = cross_entropy(student, batch.labels.numpy()) + 7 * square.mean().item()
        assert whole.step(batch, 0)[0].item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("method", ["labels_with_labels", "labels_with_kd"])
    def test_joint_ablations_add_the_labels_at_the_guided_layer(self, tiny, tmp_path, method):
        plan, batch = in_float64(tiny, tmp_path, f"method={method}")
        double(plan)
        whole = whole_stage(plan)
        loss, values = whole.step(batch, 0)
        parts = values["train_label_loss"] + values["train_label_hint_loss"]
        if method == "labels_with_kd":
            parts = parts + values["kd_weight"] * values["train_kd_loss"]
        assert loss.item() == pytest.approx(parts.item(), rel=1e-12)
        _, features, _, _ = outputs(plan, batch.images)
        with torch.no_grad():
            logits = whole.layers["classifier_conv2"](features["conv2"])
        assert values["train_label_hint_loss"].item() == pytest.approx(
            cross_entropy(logits.numpy(), batch.labels.numpy())
        )

    def test_staged_ablations_learn_the_labels_at_the_guided_layer_first(self, tiny, tmp_path):
        plan, batch = in_float64(tiny, tmp_path, "method=labels_then_kd")
        first = plan.stages[0]
        (classifier,) = first.heads.values()
        with torch.no_grad():
            logits = classifier(plan.student(batch.images, ["conv2"])[1]["conv2"]).numpy()
        loss, _ = first.step(batch, 0)
        assert loss.item() == pytest.approx(cross_entropy(logits, batch.labels.numpy()), rel=1e-12)
        assert first.selected_by == ("valid_error", "valid_loss")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_from_the_command_line(command, tmp_path, method):
    from safetensors.torch import load_file

    from support.runs import TINY, runs

    finished = command(*TINY, *f"method={method}".split())
    assert finished.code == 0, finished.err
    ((name, result),) = runs(tmp_path / "store").items()
    stages, _, _ = METHODS[method]
    assert list(result["stages"]) == ["teacher", *stages]
    assert sum(result["stages"][stage]["epochs"] for stage in stages) == 2  # equal totals
    at_layers = {"hints", "joint", *FEATURE_LOSSES, "variational", "contrastive"}
    assert (result["hint"] is not None) == (method.split()[0].removesuffix("_kd") in at_layers)
    stored = load_file(tmp_path / "store" / "run" / name / "student.safetensors")
    assert {key.split(".")[1] for key in stored} == {*CONVS, "softmax"}  # heads are dropped
