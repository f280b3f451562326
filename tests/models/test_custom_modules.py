"""Modules that PyTorch cannot copy, inspect or store like others: each works, or is refused in one line."""

import copy
import json

import odd_models
import pytest
import torch

from fitnets.composition import loading
from fitnets.config import CustomStudent, CustomTeacher
from fitnets.errors import ConfigError
from fitnets.models import build
from fitnets.models.custom import wrapping
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.store import digests
from support.custom import IMAGES
from support.runs import runs

ONE = ["tracker=none", "schedule.teacher.max_steps=2", "schedule.hint.max_steps=2", "schedule.student.max_steps=2"]
THIN = ["student=thin", "student.depth=3", "student.width=4"]
UNCOPYABLE = ["old_weight_norm", "pruned", "with_lock", "with_generator", "with_result", "with_closure", "wrapping"]
COPYABLE = ["weight_norm", "spectral_norm", "slotted", "growing", "lazy", "parallel", "compiled", "shared"]


def network(target: str, side: str = "teacher") -> CustomNetwork:
    kind = CustomTeacher if side == "teacher" else CustomStudent
    return wrapping.network(kind(target=f"odd_models.{target}"), loading.load([]).dataset, side)


@pytest.fixture
def student_run(command, fitnets, tmp_path):
    """Train a student for two updates per stage and evaluate the stored one; return both results."""

    def train(target: str) -> tuple[dict, dict]:
        words = ["student=custom", f"student.target=odd_models.{target}", "teacher=custom"]
        finished = command(*words, "teacher.target=own_models.small", *ONE)
        assert finished.code == 0, finished.err
        ((name, result),) = runs(tmp_path / "store").items()
        evaluated = fitnets("eval", tmp_path / "store" / "run" / name, f"store={tmp_path / 'store'}", "--json")
        assert evaluated.code == 0, evaluated.err
        return result, json.loads(evaluated.out)

    return train


class TestCopies:
    @pytest.mark.parametrize("target", UNCOPYABLE)
    def test_a_model_that_cannot_be_copied_is_built_again(self, target):
        original = network(target, "student").eval()
        assert original.no_copy is not None
        with torch.no_grad():
            for parameter in original.parameters():
                parameter.add_(0.01)
        copied = copy.deepcopy(original)
        torch.testing.assert_close(copied(IMAGES)[0], original(IMAGES)[0], rtol=0, atol=0)
        before = original(IMAGES)[0].detach()
        copied(IMAGES)[0].sum().backward()
        assert all(parameter.grad is None for parameter in original.parameters())
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.zero_()
        torch.testing.assert_close(original(IMAGES)[0], before, rtol=0, atol=0)
        assert not torch.equal(copied(IMAGES)[0], before)

    @pytest.mark.parametrize("target", COPYABLE)
    def test_other_models_are_copied(self, target):
        original = network(target, "student").eval()
        assert original.no_copy is None
        torch.testing.assert_close(copy.deepcopy(original)(IMAGES)[0], original(IMAGES)[0], rtol=0, atol=0)

    def test_a_module_that_the_factory_returns_twice_is_not_changed(self):
        before = digests.of_state(odd_models.shared())
        student = network("shared", "student")
        with torch.no_grad():
            student.model[0].weight.zero_()
        student.train()(IMAGES)
        assert digests.of_state(odd_models.shared()) == before

    def test_a_module_that_is_returned_twice_and_cannot_be_copied_is_refused(self):
        with pytest.raises(
            ConfigError, match="odd_models.locked_and_shared: it returns the same weights at every call"
        ):
            network("locked_and_shared")

    @pytest.mark.parametrize("target", ["old_weight_norm", "with_closure", "growing", "lazy"])
    def test_a_student_is_trained_stored_and_loaded_again(self, student_run, target):
        result, evaluated = student_run(target)
        assert evaluated["accuracy"] == pytest.approx(result["student"]["test_accuracy"])

    def test_initial_weights_follow_the_seed(self):
        for target in ("with_lock", "lazy"):
            states = []
            for seed in (1, 1, 2):
                student = network(target, "student")
                build.initialise(student, None, seed)
                states.append(digests.of_state(student))
            assert states[0] == states[1] != states[2], target


class TestLayers:
    def test_modules_that_compute_weights_are_no_layers(self):
        assert network("weight_norm").hint_layer_names == ["0", "1", "2", "3", "4"]

    def test_layers_lists_those_of_a_model_in_a_users_file(self, fitnets, tmp_path, monkeypatch):
        lines = "def normed():\n    import odd_models\n    return odd_models.old_weight_norm()\n"
        (tmp_path / "normed_nets.py").write_text(lines)
        monkeypatch.syspath_prepend(tmp_path)
        finished = fitnets("layers", "teacher=custom", "teacher.target=normed_nets.normed", *THIN, "--json")
        assert finished.code == 0, finished.err
        assert [row["name"] for row in json.loads(finished.out)["teacher"]] == ["0", "1", "2", "3", "4", "logits"]

    def test_a_module_name_may_have_a_dot(self):
        teacher = network("dotted").eval()
        assert "first.conv" in teacher.hint_layer_names
        assert teacher.forward_until(IMAGES, "first.conv").shape == (20, 4, 8, 8)

    def test_a_model_that_changes_images_in_place_leaves_the_callers_alone(self):
        images = IMAGES.clone()
        network("in_place").eval()(images)
        assert torch.equal(images, IMAGES)


@pytest.mark.parametrize(
    "target", ["old_weight_norm", "with_generator", "quantised", "extra", "inferring", "dotted", "complex_scale"]
)
def test_a_run_trains_with_an_odd_teacher(command, target):
    finished = command("teacher=custom", f"teacher.target=odd_models.{target}", *THIN, *ONE)
    assert finished.code == 0, finished.err


REFUSED = [  # (side, factory, message)
    ("teacher", "keyword", r"its forward\(\*, pixel_values\) is called with images alone: wrap it in a module"),
    ("teacher", "halved", r"images and weights are float32 here .*: leave the casts out of it"),
    ("teacher", "on_gpu", r"it is tried on the CPU and then moved to engine.device: leave .cuda\(\) out of it"),
    ("teacher", "two_at_a_time", r"takes batches of 2 but not of 1 .*: its forward must take batches of any size"),
    ("teacher", "on_meta", r"0.weight is on the meta device and has no values: build the module on the CPU"),
    ("student", "extra", r"_extra_state in its state_dict\(\) is a dict, and a student's weights are stored as plain"),
    ("student", "quantised", r"in its state_dict\(\) is a \w+, and a student's weights are stored as plain"),
    ("student", "complex_scale", r"its parameter scale is complex, and only real ones can be trained here"),
    ("student", "inferring", r"its logits have no gradient: leave torch.no_grad, inference_mode and detach out"),
    ("student", "dotted", r"load_state_dict does not take its own state_dict\(\) \(Unexpected"),
    ("student", "scripted", r"a TorchScript module cannot be a student: its layers take no hooks, and neither ONNX"),
]


@pytest.mark.parametrize(("side", "target", "pattern"), REFUSED, ids=[f"{r[1]}-{r[0]}" for r in REFUSED])
def test_an_unusable_module_is_refused_in_one_line(command, side, target, pattern):
    if target == "on_gpu" and torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    other = THIN if side == "teacher" else ["teacher=resnet", "teacher.depth=8"]
    finished = command(f"{side}=custom", f"{side}.target=odd_models.{target}", *other, *ONE)
    assert finished.code == 1, finished.out
    assert f"{side}.target=odd_models.{target}" in finished.err
    assert len(finished.err.splitlines()) == 1, finished.err
    with pytest.raises(ConfigError, match=pattern):
        network(target, side)


class TestTorchScript:
    @pytest.mark.parametrize("target", ["scripted", "traced"])
    def test_teaches_with_its_logits(self, command, target):
        finished = command("teacher=custom", f"teacher.target=odd_models.{target}", "method=kd", *THIN, *ONE)
        assert finished.code == 0, finished.err

    def test_a_hint_is_refused_with_the_way_out(self, command):
        finished = command("teacher=custom", "teacher.target=odd_models.scripted", *THIN, *ONE)
        assert finished.code == 1
        assert "a TorchScript module can teach with its logits, but its inner layers take no hooks" in finished.err
        assert "give hint_layer=none method=kd, or the function that builds the eager model" in finished.err

    def test_layers_says_that_it_only_has_logits(self, fitnets):
        finished = fitnets("layers", "teacher=custom", "teacher.target=odd_models.traced", *THIN)
        assert finished.code == 0, finished.err
        assert "note: teacher.target=odd_models.traced: a TorchScript module can teach with its" in finished.out

    @pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
    def test_a_file_of_a_module_is_a_teacher(self, command, tmp_path):
        odd_models.scripted().save(str(tmp_path / "saved.pt"))
        load = ["teacher=custom", "teacher.target=torch.jit.load", f"teacher.args={{f: '{tmp_path}/saved.pt'}}"]
        finished = command(*load, "method=kd", *THIN, *ONE)
        assert finished.code == 0, finished.err

    def test_a_file_of_a_module_is_refused_as_weights_with_the_way_out(self, command, tmp_path):
        odd_models.scripted().save(str(tmp_path / "saved.pt"))
        words = ["teacher=custom", "teacher.target=odd_models.small", f"teacher.weights={tmp_path}/saved.pt"]
        finished = command(*words, *THIN, *ONE)
        assert finished.code == 1
        assert "saved.pt: a TorchScript archive, which is a program and not a file of weights" in finished.err
        assert "torch.save(torch.jit.load(FILE).state_dict(), OTHER)" in finished.err
