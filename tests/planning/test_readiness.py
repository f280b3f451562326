"""Warnings about teacher and regressor before training, and the pairs of layers that hint_layer=middle picks."""

import json

import odd_models
import pytest
import torch
from torch import nn

from fitnets.composition import loading
from fitnets.config import CustomTeacher, NamedPair
from fitnets.config.options import plain, restore
from fitnets.machine import latency
from fitnets.models import layer_pairs
from fitnets.models.custom import middle, wrapping
from fitnets.planning import estimates, readiness

ONE = ["tracker=none", "schedule.teacher.max_steps=2", "schedule.hint.max_steps=2", "schedule.student.max_steps=2"]
THIN = ["student=thin", "student.depth=3", "student.width=4"]
TEACHER = ["teacher=custom", "teacher.target=odd_models.small"]


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch):
    monkeypatch.setattr(estimates, "THOROUGH_S", 0.05)
    monkeypatch.setattr(latency, "_LATENCY_BUDGET_S", 0.02)


@pytest.fixture
def good_weights(tmp_path):
    """Weights with which `odd_models.small` classifies digits by their distance to the mean image of each class."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images / 16, dtype=torch.float32)
    labels = torch.tensor(load_digits().target)
    model = odd_models.small().eval()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        model[0].weight[0, 0, 1, 1] = 1  # the first channel is the image itself
        model[1].weight.fill_(1)
        means = torch.stack([images[labels == digit].mean(0).flatten() for digit in range(10)])
        model[4].weight[:, :64] = means
        model[4].bias.copy_(-(means**2).sum(1) / 2)
    torch.save(model.state_dict(), tmp_path / "good.pt")
    return f"teacher.weights={tmp_path / 'good.pt'}"


class TestTeacherAccuracy:
    def test_doctor_shows_the_accuracy_of_a_ready_teacher(self, fitnets, tmp_path, good_weights):
        words = [*TEACHER, good_weights, *THIN, *ONE, f"store={tmp_path / 'store'}"]
        examination = json.loads(fitnets("doctor", *words, "--json").out)
        ready = examination["teacher"]
        assert ready["images"] == examination["images"]["valid"]
        assert ready["accuracy"] == ready["correct"] / ready["images"] > 0.8
        assert ready["commonest"] == max(examination["classes"]["valid"])
        assert not any("the teacher is right" in warning for warning in examination["warnings"])

    def test_doctor_warns_of_a_teacher_with_wrong_normalisation(self, fitnets, tmp_path, good_weights):
        words = [*TEACHER, good_weights, "teacher.mean=[9.0]", "teacher.std=[0.1]", *THIN, *ONE]
        shown = " ".join(fitnets("doctor", *words, f"store={tmp_path / 'store'}").out.split())
        assert "the teacher on the validation split, before anything is trained" in shown
        assert "always naming the commonest class is right on" in shown
        assert "check teacher.weights, teacher.mean and teacher.std" in shown

    def test_a_teacher_that_will_be_trained_has_no_accuracy(self, fitnets, tmp_path):
        words = ["teacher=resnet", "teacher.depth=8", *THIN, *ONE, f"store={tmp_path / 'store'}"]
        assert json.loads(fitnets("doctor", *words, "--json").out)["teacher"] is None

    def test_the_plan_of_a_run_shows_the_accuracy(self, command, earlier_run, good_weights):
        finished = command(*TEACHER, good_weights, *THIN, *ONE)
        assert finished.code == 0, finished.err
        assert "your own, not trained here, right on" in finished.out
        again = command("teacher=run", f"teacher.path={earlier_run}", *THIN, *ONE)
        assert again.code == 0, again.err
        assert "of earlier runs, right on" in again.out

    @pytest.mark.parametrize(("correct", "warns"), [(10, True), (11, False)])
    def test_chance_is_decided_by_counting_images(self, correct, warns):
        """A third stored as a float is not always equal to a third computed another way."""
        ready = readiness.Readiness(images=30, correct=correct, commonest=10, accuracy=correct / 30)
        assert bool([*ready.warnings()]) == warns


def network(target: str, **args):
    net = CustomTeacher(target=f"odd_models.{target}", args=args or None)
    return wrapping.network(net, loading.load([]).dataset, "teacher")


class TestLayerPairs:
    def test_candidates_are_the_outputs_of_blocks(self):
        assert set(network("blocks").middles) == {"block1", "block2"}

    def test_the_middle_of_a_long_sequence_is_an_activation(self):
        plain_network = network("plain")
        layer = min(plain_network.middles, key=plain_network.middles.get)
        assert layer in ("0.11", "0.13")
        assert plain_network.middles[layer] < 0.1

    def test_candidates_of_a_vision_transformer_are_its_layers(self):
        net = CustomTeacher(target="own_models.vit")
        vit = wrapping.network(net, loading.load([]).dataset, "teacher")
        assert all(name.startswith("vit.layers.") and name.count(".") == 2 for name in vit.middles)

    def test_the_pair_has_maps_of_the_same_size(self):
        """The student has maps of 8x8, 4x4 and 2x2; the teacher's hint is a map of 4x4."""
        student = ["student=custom", "student.target=odd_models.blocks"]
        config = loading.load(["teacher=resnet", "teacher.depth=8", *student, "hint_layer=middle"])
        hint = layer_pairs.networks(config)[0].layer_output(config.hint_layer.teacher).out_shape
        guided = network("blocks").layer_output(config.hint_layer.student).out_shape
        assert hint[1:] == guided[1:] == (4, 4)

    def test_size_counts_for_more_than_depth(self):
        near = layer_pairs._Candidate("near", 0.0, (8, 16, 16))
        alike = layer_pairs._Candidate("alike", 0.25, (8, 8, 8))
        hint = layer_pairs._Candidate("hint", 0.0, (8, 7, 7))
        assert min((near, alike), key=lambda guided: layer_pairs._unlikeness((hint, guided))) is alike

    def test_a_stored_configuration_keeps_its_pair(self):
        networks = ["student=custom", "student.target=odd_models.blocks", "teacher=resnet", "teacher.depth=8"]
        stored = loading.load(
            [*networks, "hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=block1.norm"]
        )
        restored = restore(plain(stored))
        assert layer_pairs.resolve_pair(restored).hint_layer == NamedPair(teacher="conv1", student="block1.norm")

    def test_the_middle_has_distance_zero(self):
        tap = network("blocks").layer_output("block2")
        assert middle.distance(tap, 2 * tap.multiplications) == 0


class TestRegressor:
    HEAVY = ["hint_layer=named", "hint_layer.teacher=2", "hint_layer.student=conv1", "regressor=fc"]

    def test_layers_doctor_and_the_plan_warn_if_it_outweighs_the_student(self, command, fitnets, tmp_path):
        words = [*TEACHER, *THIN, *ONE, *self.HEAVY]
        layers = json.loads(fitnets("layers", *words, "--json").out)
        (warning,) = (pair["warning"] for pair in layers["pairs"] if pair["source"] == "named")
        assert warning.startswith("the regressor has 16,640 parameters and the student 2,554")
        assert warning in json.loads(fitnets("doctor", *words, f"store={tmp_path}", "--json").out)["warnings"]
        assert "the regressor has 16,640 parameters" in " ".join(command(*words).out.split())

    def test_a_small_regressor_gives_no_warning(self, fitnets):
        pointwise = [*self.HEAVY[:-1], "regressor=pointwise"]
        layers = json.loads(fitnets("layers", *TEACHER, *THIN, *pointwise, "--json").out)
        assert [pair["warning"] for pair in layers["pairs"] if pair["source"] == "named"] == [None]
