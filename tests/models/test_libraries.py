"""Models of timm and transformers by name: their view of images, their heads, and clear errors without a network."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitnets.composition import loading
from fitnets.config import Scale
from fitnets.errors import ConfigError
from fitnets.models import build
from fitnets.models.custom import libraries
from fitnets.planning.identity import hashes
from support.runs import runs
from support.timm_models import import_timm


@pytest.fixture(autouse=True)
def usable(monkeypatch):
    import_timm()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 12 photos, which are 90 pixels wide and 70 high."""
    for number, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.random.default_rng(index).integers(0, 90, (70, 90, 3)) + 120 * number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{index}.jpg")
    return tmp_path / "photos"


def given(photos: Path, *words: str) -> list[str]:
    return ["dataset=photos", f"dataset.path={photos}", *words]


RANDOM = ("teacher.model=resnet18", "teacher.pretrained=false", "student.model=mobilenetv3_small_050")


class TestTheViewIsTheModelsOwn:
    def test_of_timm(self, photos):
        words = ("teacher.model=resnet50.a1_in1k", "teacher.pretrained=false", "student.model=mobilenetv3_small_050")
        config = loading.load(given(photos, *words))
        dataset = config.dataset
        assert (dataset.height, dataset.width, dataset.crop_share, dataset.interpolation) == (224, 224, 0.95, "bicubic")
        assert (config.teacher.mean, config.teacher.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        assert config.teacher.args == {"model": "resnet50.a1_in1k", "pretrained": False, "classes": 2}

    def test_given_values_win(self, photos):
        own = (
            "dataset.height=96",
            "dataset.width=96",
            "dataset.crop_share=1",
            "teacher.mean=[0.5]",
            "teacher.std=[0.5]",
        )
        config = loading.load(given(photos, *RANDOM, *own))
        assert (config.dataset.height, config.dataset.crop_share, config.teacher.mean) == (96, 1, [0.5])

    @pytest.mark.parametrize(
        ("model", "size", "share", "mean", "is_fixed"),
        [
            ("vit_small_patch16_224.augreg_in21k", 224, 0.9, 0.5, True),
            ("convnext_tiny.fb_in1k", 224, 0.875, 0.485, False),
            ("swin_tiny_patch4_window7_224", 224, 0.9, 0.485, True),
        ],
    )
    def test_of_models_with_other_habits(self, model, size, share, mean, is_fixed):
        view = libraries.view("timm", model, "teacher")
        assert (view.height, view.crop_share, view.mean[0], view.is_fixed) == (size, share, mean, is_fixed)

    def test_a_model_of_fixed_size_gets_it(self, photos):
        words = ("dataset.height=160", "dataset.width=160", "student.model=mobilenetv3_small_050")
        config = loading.load(given(photos, *words, "teacher.model=vit_tiny_patch16_224", "teacher.pretrained=false"))
        assert (config.teacher.size, config.student.size) == (224, None)

    @pytest.mark.parametrize(
        ("processor", "expected"),
        [
            ({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True}, (224, 0.875, False)),
            ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 0.875, False)),
            ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 1.0, True)),
            ({"size": {"height": 224, "width": 224}}, (224, 1.0, True)),
        ],
    )
    def test_of_transformers(self, tmp_path, processor, expected):
        view = libraries.view("transformers", str(saved_transformer(tmp_path, processor)), "teacher")
        assert (view.height, view.crop_share, view.squash) == expected
        assert (view.interpolation, view.mean, view.std) == ("bicubic", [0.5] * 3, [0.25] * 3)


def saved_transformer(folder: Path, processor: dict) -> Path:
    """A folder with the configuration of a ResNet and of its image processor."""
    from transformers import ResNetConfig

    ResNetConfig(num_labels=7).save_pretrained(folder / "model")
    common = {"image_processor_type": "ConvNextImageProcessor", "resample": 3, "image_mean": [0.5] * 3}
    common |= {"image_std": [0.25] * 3}
    (folder / "model" / "preprocessor_config.json").write_text(json.dumps(common | processor))
    return folder / "model"


def test_another_version_of_the_library_is_another_teacher(photos, monkeypatch):
    """A library may change what a model computes."""
    dataset_and_models = given(photos, *RANDOM, "dataset.height=32", "dataset.width=32")
    config = loading.load(dataset_and_models)
    before = hashes(config, "the images", "fp32").teacher
    monkeypatch.setattr(libraries, "version", lambda library: f"{library} 99")
    assert hashes(config, "the images", "fp32").teacher != before


class TestErrorsAreOneLine:
    @pytest.mark.parametrize(
        ("processor", "message"),
        [
            ({"size": {"longest_edge": 300}}, r"resizes images to \{'longest_edge': 300\}"),
            ({"size": {"shortest_edge": 256}, "do_resize": False}, "and a short side or a size is needed"),
            ({"do_rescale": False}, "pixels of 0 to 255 by 1, and images in"),
            ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, "by 0.00784314, and images in"),
            ({"resample": 0}, "Pillow's filter 0, which is not available"),
        ],
    )
    def test_a_processor_that_cannot_be_followed(self, tmp_path, processor, message):
        with pytest.raises(ConfigError, match=message):
            libraries.view("transformers", str(saved_transformer(tmp_path, processor)), "teacher")

    def test_an_unknown_name(self, photos):
        with pytest.raises(
            ConfigError, match=r"teacher.model=resnet5: timm [\d.]+ has no such model; did you mean resnet"
        ):
            loading.load(given(photos, "teacher.model=resnet5", "student.model=mobilenetv3_small_050"))

    def test_weights_that_cannot_be_downloaded(self, photos, tmp_path, monkeypatch, fitnets):
        monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
        began = time.monotonic()
        done = fitnets("layers", *given(photos, "teacher.model=resnet18", "student.model=mobilenetv3_small_050"))
        assert done.code != 0
        assert "timm model resnet18" in done.err
        assert "pretrained=false" in done.err
        assert time.monotonic() - began < 20

    def test_a_model_is_needed(self, photos):
        with pytest.raises(ConfigError, match="teacher.model has no value: give teacher.model=..."):
            loading.load(given(photos))

    def test_a_head_of_other_classes(self, photos, tmp_path, monkeypatch):
        """The teacher's head is kept, whatever the data set has."""
        import timm

        made = timm.create_model("resnet18", num_classes=5)
        monkeypatch.setattr("timm.create_model", lambda *_, **__: made)
        with pytest.raises(ConfigError, match=r"it has 5 classes and dataset=photos has 2"):
            loading.load(given(photos, "teacher.model=resnet18", "student.model=mobilenetv3_small_050"))


class TestFeatures:
    def network(self, name: str, size: int = 224):
        words = [f"teacher.model={name}", "teacher.pretrained=false", "student.model=mobilenetv3_small_050"]
        config = loading.load(
            [
                "dataset=photos",
                "dataset.path=x",
                "dataset.classes=2",
                *words,
                f"dataset.height={size}",
                f"dataset.width={size}",
            ]
        )
        return build.network(config.teacher, config.dataset, "teacher"), config

    def test_maps_that_have_their_channels_last_are_turned(self):
        """Swin's maps are (N, H, W, C), and its convolutions' (N, C, H, W)."""
        network, _ = self.network("swin_tiny_patch4_window7_224")
        assert network.layer_output("layers.1").out_shape == (192, 28, 28)
        assert network.layer_output("patch_embed.proj").out_shape == (96, 56, 56)
        network.set_preprocessing(Scale(), {})
        images = torch.rand(2, 3, 224, 224)
        network.eval()
        with torch.no_grad():
            (values,) = network.features(images, ["layers.1"]).values()
            plain = []
            network.model.layers[1].register_forward_hook(lambda *given: plain.append(given[2]))
            network(images)
        assert values.shape == (2, 192, 28, 28)
        assert torch.equal(values, plain[0].permute(0, 3, 1, 2))

    def test_a_constant_image_is_normalised_as_the_model_says(self):
        """128 becomes 0.0039 for means of 0.5, and 0.0741, 0.2052, 0.4265 for ImageNet's."""
        for name, expected in (
            ("vit_tiny_patch16_224.augreg_in21k", [0.0039] * 3),
            ("resnet18", [0.0741, 0.2052, 0.4265]),
        ):
            network, config = self.network(name)
            network.set_preprocessing(Scale(), {})
            seen = []
            first = next(module for module in network.model.modules() if isinstance(module, torch.nn.Conv2d))
            first.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
            with torch.no_grad():
                network.eval()(torch.full((1, 3, 224, 224), 128 / 255))
            torch.testing.assert_close(seen[-1][0, :, 0, 0], torch.tensor(expected), atol=1e-4, rtol=0)

    def test_logits_are_chosen_for_the_classes_of_the_data(self, photos, monkeypatch):
        import timm

        real = timm.create_model
        made = real("resnet18", num_classes=5)
        monkeypatch.setattr("timm.create_model", lambda name, **kw: made if name == "resnet18" else real(name, **kw))
        words = given(photos, "teacher.model=resnet18", "student.model=mobilenetv3_small_050", "dataset.height=64")
        config = loading.load([*words, "dataset.width=64", "teacher.outputs=[3,1]"])
        network = build.network(config.teacher, config.dataset, "teacher").eval()
        network.set_preprocessing(Scale(), {})
        with torch.no_grad():
            logits, _ = network(torch.rand(2, 3, 64, 64))
            network.net.outputs = None
            everything, _ = network(torch.rand(2, 3, 64, 64) * 0 + 0.5)
            network.net.outputs = [3, 1]
            chosen, _ = network(torch.rand(2, 3, 64, 64) * 0 + 0.5)
        assert logits.shape == (2, 2)
        assert torch.equal(chosen, everything[:, [3, 1]])
        with pytest.raises(ConfigError, match=r"teacher.outputs=\[3, 5\]: it has 5 logits, from 0"):
            loading.load([*words, "dataset.width=64", "teacher.outputs=[3,5]"])


@pytest.mark.timeout(900)
def test_photos_from_layers_to_onnx_runtime(photos, tmp_path, fitnets, command):
    """A timm ResNet-50 teaches a timm MobileNetV3 by hints, both with random weights."""
    import onnxruntime

    from fitnets.data import image_files

    size = ("dataset.height=64", "dataset.width=64", "dataset.crop_share=0.9")
    models = ("teacher.model=resnet50.a1_in1k", "teacher.pretrained=false", "student.model=mobilenetv3_small_050")
    words = given(photos, *size, *models, "tracker=none", "schedule=fast", "engine.precision=fp32")
    listed = fitnets("layers", *words)
    assert listed.code == 0, listed.err
    assert "layer2.0" in listed.out
    short = [f"schedule.{stage}.{key}" for stage in ("hint", "student") for key in ("epochs=2", "batch_size=8")]
    pair = ("hint_layer=named", "hint_layer.teacher=layer2", "hint_layer.student=blocks.2")
    finished = command(*words, *short, *pair, store=tmp_path / "store")
    assert finished.code == 0, finished.err
    ((name, result),) = runs(tmp_path / "store").items()
    assert set(result["stages"]) == {"hint", "student"}
    run = tmp_path / "store" / "run" / name
    exported = fitnets("export", run)
    assert exported.code == 0, exported.err
    dataset = loading.load([*words, *short, *pair]).dataset
    pixels = np.stack([image_files.pixels(dataset, photos / "dark" / f"{index}.jpg") for index in range(3)])
    session = onnxruntime.InferenceSession(str(run / "export" / "student.onnx"))
    (logits,) = session.run(None, {"images": pixels})
    predicted = fitnets("predict", run, *(photos / "dark" / f"{index}.jpg" for index in range(3)))
    assert predicted.code == 0, predicted.err
    assert logits.shape == (3, 2)
    assert torch.isfinite(torch.from_numpy(logits)).all()


def test_a_model_of_transformers_in_a_folder_teaches(photos, tmp_path, command):
    """Its pretrained weights and the size of its images are those of the folder."""
    from transformers import ResNetConfig, ResNetForImageClassification

    folder = saved_transformer(tmp_path, {"size": {"shortest_edge": 36}, "crop_size": 32})
    small = ResNetConfig(num_labels=2, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    teacher = ResNetForImageClassification(small)
    teacher.save_pretrained(folder)
    words = ["dataset=photos", f"dataset.path={photos}", "teacher=transformers", f"teacher.model={folder}"]
    words += ["student=thin", "schedule=fast", "schedule.hint.epochs=1", "schedule.student.epochs=1", "tracker=none"]
    finished = command(*words, "schedule.hint.batch_size=8", "schedule.student.batch_size=8", store=tmp_path / "store")
    assert finished.code == 0, finished.err
    assert "Loading weights" not in finished.err
    config = loading.load(words)
    assert (config.dataset.height, config.dataset.crop_share) == (32, 32 / 36)
    loaded = build.network(config.teacher, config.dataset, "teacher").state_dict()
    weights = teacher.state_dict()["resnet.encoder.stages.1.layers.0.layer.0.convolution.weight"]
    assert any(torch.equal(weights, value) for value in loaded.values() if value.shape == weights.shape)
