"""`teacher=custom` and `student=custom`: any module, by its import path."""

import sys
from pathlib import Path

import own_models
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from fitnets.composition import loading
from fitnets.config import CustomStudent, CustomTeacher, Scale, Standardize
from fitnets.data import splits
from fitnets.data.splits import Batch
from fitnets.errors import ConfigError
from fitnets.models import build, teachers
from fitnets.models import network as models_network
from fitnets.models.custom import factory, wrapping
from fitnets.models.layers import LOGITS
from fitnets.planning import identity, plan
from fitnets.system import imports
from fitnets.training import stages
from fitnets.training.teacher_outputs import LiveTeacher
from support.custom import IMAGES, NEVER_SEEN, WOBBLY, network
from support.datasets import CPU, SILENCE
from support.places import ROOT
from support.processes import shell


@pytest.fixture
def wobbly(tmp_path, monkeypatch) -> Path:
    """A folder with a user's model file, which can be imported."""
    (tmp_path / "wobbly_net.py").write_text(NEVER_SEEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wobbly_net", raising=False)
    return tmp_path


class TestNetwork:
    def test_its_last_hidden_layer_is_not_that_of_the_logits_in_an_ensemble_either(self):
        custom = network("small")
        assert custom.layer_output(custom.hint_layer_names[-1]).out_shape == (10,)  # the module of the logits
        assert custom.layer_output(custom.last_hidden_layer).out_shape != (10,)
        assert (
            models_network.EnsembleNetwork([custom, network("small")], 0, 3.0).last_hidden_layer
            == custom.last_hidden_layer
        )

    def test_a_wrong_layer_of_one_of_several_pairs_is_named_with_its_pair(self):
        pairs = "+hint_layer.pairs={low: {teacher: frist, student: conv2}}"
        with pytest.raises(
            ConfigError, match=r"hint_layer\.pairs\.low\.teacher=frist: no such layer in .*did you mean first"
        ):
            loading.load(["teacher=custom", "teacher.target=own_models.small", "hint_layer=pairs", pairs])

    def test_gives_the_models_logits(self):
        custom = network("small").eval()
        torch.testing.assert_close(custom(IMAGES)[0], custom.model(IMAGES), rtol=0, atol=0)
        assert custom.classes == 10

    def test_gives_the_modules_outputs_and_stops_after_the_wanted_layer(self):
        custom, called = network("small").eval(), []
        features = custom(IMAGES, ["second", "norm"])[1]
        torch.testing.assert_close(features["norm"], custom.model.norm(features["second"]), rtol=0, atol=0)
        custom.model.norm.register_forward_hook(lambda *_: called.append("norm"))
        torch.testing.assert_close(custom.forward_until(IMAGES, "second"), features["second"], rtol=0, atol=0)
        assert called == []

    def test_declared_shapes_are_those_of_the_features(self):
        for target in ("small", "vit", "resnet"):
            custom = network(target).eval()
            for name, features in custom(IMAGES, custom.hint_layer_names)[1].items():
                assert tuple(features.shape[1:]) == custom.layer_output(name).out_shape, (target, name)

    def test_features_stay_if_a_later_module_changes_them_in_place(self, wobbly):
        config = loading.load([*WOBBLY, "method=kd", "hint_layer=none"])
        teacher = teachers.build_teacher(config).eval()
        features = teacher(IMAGES, ["norm_1", "Größe"])[1]
        assert bool((features["norm_1"] < 0).any())  # an in-place ReLU follows
        torch.testing.assert_close(features["norm_1"], teacher.forward_until(IMAGES, "norm_1"), rtol=0, atol=0)

    def test_each_call_of_a_shared_module_is_a_layer(self, wobbly):
        teacher = teachers.build_teacher(loading.load([*WOBBLY, "method=kd", "hint_layer=none"])).eval()
        first, second = (teacher.forward_until(IMAGES, f"again:{call}") for call in (1, 2))
        assert not torch.equal(first, second)
        torch.testing.assert_close(teacher.model.again(teacher.forward_until(IMAGES, "bend:2")), second)

    def test_multiplications_include_attention(self):
        custom = network("vit")
        tokens, width, layers = 17, 24, 3
        one = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * 2 * width
        assert custom.multiplications == 16 * 4 * width + layers * one + 10 * width
        assert custom.layer_output("vit.layers.0").multiplications == 16 * 4 * width + one

    def test_logits_are_taken_from_a_named_tuple(self):
        custom = network("named", logits="scores").eval()
        torch.testing.assert_close(custom(IMAGES)[0], custom.model.small(IMAGES))

    def test_half_precision_weights_are_converted_to_fp32(self):
        assert {parameter.dtype for parameter in network("half").parameters()} == {torch.float32}

    def test_a_module_called_logits_is_a_layer_like_others(self):
        custom = network("viewing").eval()
        assert custom.layer_output("logits:1").out_shape == (10, 8, 8)
        outputs = LiveTeacher(custom)(Batch(IMAGES, None, torch.arange(20)), [LOGITS, "logits:1"])
        assert outputs[LOGITS].shape == (20, 10)
        assert outputs["logits:1"].shape == (20, 10, 8, 8)

    def test_the_model_gets_images_and_keeps_weights_in_channels_first_layout(self):
        images = IMAGES.to(memory_format=torch.channels_last)
        for precision in ("fp32", "bf16"):
            student = models_network.place(network("viewing", "student"), CPU, precision).train()
            student(images)[0].sum().backward()
            assert student(images)[0].shape == (20, 10)

    @pytest.mark.parametrize("form", ["tuple", "list", "dict", "only"])
    def test_logits_are_taken_from_a_collection(self, form):
        options = {"logits": "1"} if form == "list" else {}
        custom = network("wrapped_logits", args={"form": form}, **options).eval()
        torch.testing.assert_close(custom(IMAGES)[0], custom.model.small(IMAGES))

    def test_the_middle_is_a_block(self):
        assert set(network("vit").middles) == {"vit.layers.0", "vit.layers.1"}

    def test_bytes_per_value_are_measured_for_each_layer(self):
        custom = models_network.place(network("vit"), CPU, "bf16").eval()
        expected = {"vit.layers.0.mlp.fc1": 2, "vit.embeddings.patch_embeddings.projection": 2, "vit.layernorm": 4}
        assert {layer: custom.bytes_per_value(layer) for layer in expected} == expected


class TestImages:
    """A model gets images in its own channels, resolution and normalisation."""

    MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]

    @pytest.mark.parametrize("preprocessing", ["scale", "standardize"])
    def test_the_model_gets_the_images_that_it_was_trained_on(self, tmp_path, preprocessing):
        config = loading.load([f"dataset/preprocessing={preprocessing}", f"store={tmp_path}"])
        data = splits.load(config.dataset, config.root, CPU, SILENCE)
        images = data.train.batch(data.train.rows[:7]).images
        net = CustomTeacher(
            target="own_models.small", args={"channels": 3}, channels=3, size=16, mean=self.MEAN, std=self.STD
        )
        network, seen = wrapping.network(net, config.dataset, "teacher"), []
        network.set_preprocessing(config.dataset.preprocessing, data.fitted)
        network.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        network.eval()(images)
        raw = splits.raw_images(config.dataset, "train", data.train.rows[:7], tmp_path, SILENCE) / 16
        expected = (raw - torch.tensor(self.MEAN).view(1, 3, 1, 1)) / torch.tensor(self.STD).view(1, 3, 1, 1)
        expected = nn.functional.interpolate(expected, (16, 16), mode="bilinear")
        torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)

    def test_the_normalisation_is_part_of_the_state_dict(self):
        custom = network("small", mean=[0.5], std=[0.25])
        custom.set_preprocessing(Scale(), {})
        assert custom.image_scale.flatten().tolist() == [4]
        assert custom.image_shift.flatten().tolist() == [-2]
        assert {"image_scale", "image_shift"} <= set(custom.state_dict())

    def test_one_mean_may_stand_for_three_channels(self, tmp_path):
        config = loading.load(["dataset=cifar10", "dataset/preprocessing=standardize", "method=kd", "hint_layer=none"])
        net = CustomTeacher(target="own_models.small", args={"channels": 3}, mean=[0.5], std=[0.25])
        custom = wrapping.network(net, config.dataset, "teacher")
        custom.set_preprocessing(Standardize(), {"mean": torch.rand(3), "deviation": torch.rand(3)})
        assert custom.image_scale.shape == (1, 3, 1, 1)

    def test_the_data_sets_standardisation_is_undone(self):
        custom = network("small", mean=[0.5], std=[0.25])
        custom.set_preprocessing(Standardize(), {"mean": torch.tensor([0.3]), "deviation": torch.tensor([0.1])})
        raw = torch.rand(4, 1, 8, 8)
        model_input = (raw - 0.3) / 0.1 * custom.image_scale + custom.image_shift
        torch.testing.assert_close(model_input, (raw - 0.5) / 0.25)


class TestWeights:
    def save(self, model: nn.Module, path: Path) -> None:
        if path.suffix == ".safetensors":
            save_file(model.state_dict(), path)
        elif path.suffix == ".ckpt":
            torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
        else:
            torch.save(model.state_dict(), path)

    @pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.ckpt"])
    def test_are_loaded_from_other_programs_files(self, tmp_path, name):
        torch.manual_seed(3)
        model = own_models.small()
        self.save(model, tmp_path / name)
        custom = network("small", weights=str(tmp_path / name))
        assert all(torch.equal(value, custom.model.state_dict()[key]) for key, value in model.state_dict().items())

    def test_may_be_in_the_file_once_and_in_the_model_twice(self, wobbly):
        import wobbly_net

        model = wobbly_net.make(breadth=24)
        save_model(model, str(wobbly / "w.safetensors"))
        teacher = teachers.build_teacher(
            loading.load([*WOBBLY, "teacher.weights=w.safetensors", "method=kd", "hint_layer=none"])
        )
        assert torch.equal(teacher.model.same_exit.weight, model.exit.weight)

    def test_of_a_student_are_drawn_with_the_seed(self):
        students = [network("small", "student") for _ in range(3)]
        for student, seed in zip(students, (1, 1, 2), strict=True):
            build.initialise(student, None, seed)
        first, again, other = (student.model.first.weight for student in students)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_are_part_of_the_hashes_and_their_path_is_not(self, tmp_path):
        torch.manual_seed(3)
        model = own_models.small()
        for name in ("a.pt", "b.safetensors"):
            self.save(model, tmp_path / name)
        model.first.bias.data += 1
        self.save(model, tmp_path / "c.pt")
        hashes = [
            identity.hashes(
                loading.load(
                    [
                        "teacher=custom",
                        "teacher.target=own_models.small",
                        f"teacher.weights={tmp_path / name}",
                        f"store={tmp_path}",
                    ]
                ),
                "digest",
                "fp32",
            ).run
            for name in ("a.pt", "b.safetensors", "c.pt")
        ]
        assert hashes[0] == hashes[1] != hashes[2]


def plans(*words: str):
    return plan.prepare(loading.load([*words, "tracker=none", "schedule.student.batch_size=16"]), SILENCE)


@pytest.fixture
def custom_pair(tmp_path):
    """A plan in which both networks are custom."""
    words = [
        "teacher=custom",
        "teacher.target=own_models.small",
        "teacher.args={width: 12}",
        f"store={tmp_path}",
    ]
    pair = ["hint_layer=named", "hint_layer.teacher=second", "hint_layer.student=second"]
    return plans(*words, "student=custom", "student.target=own_models.small", *pair)


def batch_of(plan) -> Batch:
    return plan.data.train.augmented(plan.data.train.rows[:32], 0, plan.views(plan.stages[0]))


def test_stage_1_only_moves_the_layers_up_to_the_guided_one(custom_pair):
    from fitnets.training.optimizers import LayerOptimizer

    models_network.freeze(custom_pair.teacher)
    before = {name: value.clone() for name, value in custom_pair.student.state_dict().items()}
    teacher = {name: value.clone() for name, value in custom_pair.teacher.state_dict().items()}
    stage = custom_pair.stages[0]
    optimizer = LayerOptimizer(stage.layers, stage.settings, steps_per_epoch=1)
    stages.train_mode(stage)
    for _ in range(3):
        optimizer.update(stage.step(batch_of(custom_pair), 0)[0])
    after = custom_pair.student.state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"first", "second"}
    assert all(torch.equal(value, teacher[name]) for name, value in custom_pair.teacher.state_dict().items())


def test_a_teacher_that_leaves_evaluation_mode_is_caught(custom_pair):
    models_network.freeze(custom_pair.teacher)
    custom_pair.teacher.model.norm.train()
    with pytest.raises(AssertionError, match="left evaluation mode"):
        stages.train_mode(custom_pair.stages[0])


def test_a_live_teacher_gives_the_models_outputs(custom_pair):
    models_network.freeze(custom_pair.teacher)
    batch = batch_of(custom_pair)
    outputs = LiveTeacher(custom_pair.teacher)(batch, [LOGITS, "second"])
    assert set(outputs) == {LOGITS, "second"}
    torch.testing.assert_close(outputs[LOGITS], custom_pair.teacher(batch.images)[0])
    model = custom_pair.teacher.model
    torch.testing.assert_close(outputs["second"], model.second(model.first(batch.images).relu()))


def test_the_factorys_file_is_part_of_the_hash(wobbly):
    """The hash contains the file as it was when it was imported; later changes have no effect in the same process."""
    path, printed = wobbly / "wobbly_net.py", []
    code = (
        "from fitnets.composition import loading; from fitnets.planning import identity; "
        "print(identity.hashes(loading.load({words}), 'digest', 'fp32').run)"
    )
    config = loading.load([*WOBBLY, f"store={wobbly}"])
    first = identity.hashes(config, "digest", "fp32").run
    for text in ("", "# another line\n"):
        path.write_text(path.read_text() + text)
        assert identity.hashes(config, "digest", "fp32").run == first
        finished = shell("-c", code.format(words=[*WOBBLY, f"store={wobbly}"]), cwd=wobbly, PYTHONPATH=str(ROOT))
        assert finished.returncode == 0, finished.stderr
        printed.append(finished.stdout.strip())
    assert printed[0] == first != printed[1]


def test_a_partial_of_the_users_file_is_hashed_by_that_file():
    assert imports.source_digest("own_models.partial_small") == imports.source_digest("own_models.small")
    assert isinstance(network("partial_small").model, own_models.Small)


def test_weights_that_numpy_draws_are_a_function_of_the_seed():
    net, digits = CustomStudent(target="own_models.drawn_by_numpy"), loading.load([]).dataset
    first, again, other = (wrapping.identity(net, digits, "student", seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_layer_that_the_model_does_not_call_is_an_error():
    custom = network("small").eval()
    custom.model.forward = lambda images: images.flatten(1)[:, :10]
    with pytest.raises(ConfigError, match="the model did not call its layer second"):
        custom.forward_until(IMAGES, "second")


@pytest.mark.parametrize("is_used", [False, True])
def test_seeding_restores_gpus_in_use_and_leaves_unused_ones_alone(monkeypatch, is_used):
    """PyTorch is patched to report two GPUs."""
    read, restored = [], []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_used)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _seed: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: read.append(device) or torch.tensor(device))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: restored.append((int(state), device)))
    factory.build(CustomStudent(target="own_models.drawn_by_numpy"), (1, 8, 8), "student", seed=0)
    assert (read, restored) == (([0, 1], [(0, 0), (1, 1)]) if is_used else ([], []))
