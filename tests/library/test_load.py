"""`fitnets.load`: a student that takes raw images, from a folder that cannot make it run code."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

import fitnets
from fitnets.store.files import read_json
from support.runs import TINY


@pytest.fixture(scope="module")
def student(finished):
    return fitnets.load(finished.folder)


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().images[:40, None].astype(np.uint8))


class TestImages:
    def test_logits_are_those_of_eval_and_of_the_onnx_file(self, finished, student, digits, fitnets, tmp_path):
        from fitnets.composition import loading
        from fitnets.data import splits

        store = finished.folder.parent.parent
        config = loading.load([*TINY, f"store={store}"])
        evaluated = json.loads(fitnets("eval", finished.folder, "--split", "test", "--json").out)
        test = splits.load_test(config.dataset, store, torch.device("cpu"), _Silent())
        raw = splits.raw_images(config.dataset, "test", test.rows, store, _Silent())
        with torch.no_grad():
            right = student(raw).argmax(1) == test.labels[test.rows]
        assert float(right.float().mean()) == pytest.approx(evaluated["accuracy"])
        assert fitnets("export", finished.folder, "--out", tmp_path / "export").code == 0
        session = onnxruntime.InferenceSession(tmp_path / "export" / "student.onnx")
        (logits,) = session.run(None, {"images": digits.numpy()})
        torch.testing.assert_close(student(digits).detach(), torch.from_numpy(logits), rtol=1e-4, atol=1e-4)

    def test_one_at_a_time_is_as_in_a_batch(self, student, digits):
        alone = torch.cat([student(image) for image in digits])
        torch.testing.assert_close(alone, student(digits), rtol=1e-5, atol=1e-5)
        assert torch.equal(student(digits.numpy()), student(digits))

    def test_a_picture_is_prepared_like_its_file(self, finished, student, fitnets, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
        pictures = {
            "RGBA": Image.fromarray(pixels),
            "RGB": Image.fromarray(pixels[..., :3]),
            "L": Image.fromarray(pixels[..., 0]),
            "LA": Image.fromarray(pixels).convert("LA"),
            "P": Image.fromarray(pixels[..., :3]).quantize(16),
            "1": Image.fromarray(pixels[..., 0]).convert("1"),
            "I;16": Image.fromarray(pixels[..., 0].astype(np.uint16) * 256),
            "CMYK": Image.fromarray(pixels[..., :3]).convert("CMYK"),
        }
        turned = Image.Exif()
        turned[0x0112] = 6
        for mode, picture in pictures.items():
            file = tmp_path / f"{mode.replace(';', '')}.{'tif' if mode in ('CMYK', 'I;16') else 'png'}"
            picture.save(file, **({"exif": turned} if mode == "RGB" else {}))
            given = Image.open(file) if mode in ("RGB", "P", "1") else picture
            guess = json.loads(fitnets("predict", finished.folder, file, "--json").out)["predictions"][0]
            probabilities = student(given).detach().softmax(1)[0]
            assert float(probabilities.max()) == pytest.approx(guess["probability"], abs=1e-5), mode
        assert student(list(pictures.values())).shape == (len(pictures), 10)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: x.float(), r"images are float32 \(40, 1, 8, 8\): give uint8 images of shape \(N, 1, 8, 8\)"),
            (lambda x: x.permute(0, 2, 3, 1), r"images have shape \(40, 8, 8, 1\): give"),
            (lambda x: x[:, :, :4], r"images have shape \(40, 1, 4, 8\): give"),
            (lambda x: x.expand(-1, 3, -1, -1), r"images have shape \(40, 3, 8, 8\): give"),
            (lambda x: x[:0], r"images have shape \(0, 1, 8, 8\): give"),
            (lambda x: [], "the list of images is empty"),
            (lambda x: ["a.png"], "images hold a str: give"),
        ],
    )
    def test_other_images_are_refused_with_both_shapes(self, student, digits, change, message):
        with pytest.raises(fitnets.ConfigError, match=message):
            student(change(digits))


class _Silent:
    def track(self, items, title):
        return items

    def say(self, text):
        pass


class TestTheModule:
    def test_it_is_in_evaluation_mode_with_classes_in_the_order_of_the_logits(self, finished, student, digits):
        assert not any(module.training for module in student.modules())
        assert len(student.classes) == student(digits).shape[1]
        assert student.classes == finished.values["classes"]

    def test_features_come_from_the_same_preprocessing(self, student, digits):
        features = student.features(digits)
        assert list(features) == student.layers
        last = student.network.network.layers[list(student.network.network.layers)[-1]]
        torch.testing.assert_close(last(features[student.layers[-1]]), student(digits))
        assert list(student.features(digits, ["conv1"])) == ["conv1"]
        with pytest.raises(fitnets.ConfigError, match="no layer 'conv9': the student's layers are conv1"):
            student.features(digits, ["conv9"])

    def test_half_precision_and_state_dicts_work(self, finished, digits):
        student = fitnets.load(finished)
        state = student.state_dict()
        expected = student(digits)
        torch.testing.assert_close(student.half()(digits).float(), expected, rtol=0.05, atol=0.05)
        other = fitnets.load(finished)
        other.load_state_dict(state)
        assert torch.equal(other(digits), expected)

    def test_a_standardised_whitened_student_keeps_its_constants(self, tmp_path, digits):
        words = [*TINY, "method=kd", "dataset/preprocessing=whiten", f"store={tmp_path}"]
        student = fitnets.load(fitnets.run(words, quiet=True))
        assert {"network.mean", "network.whitening"} <= set(student.state_dict())
        assert student(digits).isfinite().all()

    def test_changed_weights_are_not_exported_under_the_runs_card(self, finished, tmp_path):
        student = fitnets.load(finished)
        with torch.no_grad():
            next(student.parameters()).add_(1)
        with pytest.raises(fitnets.ConfigError, match="is not that of"):
            fitnets.export(student, out=tmp_path / "export")

    def test_the_card_has_a_header_and_no_place_of_this_machine(self, finished, student):
        assert student.card.startswith("---\n")
        assert f"accuracy | {100 * finished.values['student']['test_accuracy']:.2f} %" in student.card.replace(
            f"{100 * finished.values['teacher']['test_accuracy']:.2f} % | ", ""
        )
        assert str(finished.folder.parent) not in student.card


class TestSafety:
    """Each folder would write a marker if any of its code were imported or unpickled."""

    @pytest.fixture
    def folder(self, finished, tmp_path, monkeypatch):
        folder = Path(shutil.copytree(finished.folder, tmp_path / "theirs"))
        code = f"open({str(tmp_path / 'marker')!r}, 'w').close()\n\n\ndef make(**options):\n    pass\n"
        for place in (folder, tmp_path):
            (place / "evil.py").write_text(code)
        monkeypatch.chdir(tmp_path)
        yield folder
        assert not (tmp_path / "marker").exists()

    def change(self, folder, change):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        change(config)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    @pytest.mark.parametrize("kind", ["CustomStudent", "LibraryStudent"])
    def test_a_student_with_an_import_path_is_refused_with_the_flag(self, folder, kind):
        custom = {
            "_type_": kind, "name": "custom", "target": "evil.make", "args": {}, "weights": None, "size": None,
            "channels": None, "mean": None, "std": None,
        }  # fmt: skip
        if kind == "LibraryStudent":
            custom |= {"library": "timm", "model": "resnet18", "pretrained": False}
        self.change(folder, lambda config: config.update(student=custom))
        with pytest.raises(fitnets.ConfigError, match=r"student.target=evil.make.*give trust_code=True"):
            fitnets.load(folder)

    def test_code_of_a_teacher_or_of_data_is_not_imported(self, folder):
        self.change(folder, lambda config: config["teacher"].update(name="evil.make"))
        fitnets.load(folder)

    def test_pickled_weights_are_not_read(self, folder):
        (folder / "student.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(fitnets.ConfigError, match="no trained network there"):
            fitnets.load(folder)

    def test_yaml_makes_no_objects(self, folder):
        (folder / "config.yaml").write_text("!!python/object/apply:evil.make []\n")
        with pytest.raises(fitnets.ConfigError, match="is not a configuration that this version can read"):
            fitnets.load(folder)

    def test_a_network_larger_than_its_weights_is_never_built(self, folder):
        self.change(folder, lambda config: config["student"].update(width=30_000))
        with pytest.raises(fitnets.ConfigError, match=r"does not fit config.yaml beside it: .* has shape"):
            fitnets.load(folder)

    @pytest.mark.parametrize("values", [{"width": "x"}, {"_type_": "Popen"}, {"depth": None}])
    def test_nonsense_in_the_configuration_is_a_config_error(self, folder, values):
        self.change(folder, lambda config: config["student"].update(values))
        with pytest.raises(fitnets.ConfigError):
            fitnets.load(folder)

    def test_trusted_code_of_the_hub_wants_a_revision(self):
        with pytest.raises(fitnets.ConfigError, match="give revision=COMMIT"):
            fitnets.load("hub:user/name", trust_code=True)


@pytest.mark.parametrize("path", ["user/name", "outputs/run/nothing", "abcdef"])
def test_a_wrong_path_is_never_looked_up_on_the_hub(path, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(fitnets.ConfigError):
        fitnets.load(path)


def test_a_folder_never_stands_for_a_name_on_the_hub(finished, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, **options):
        asked.append((name, options["revision"], options["allow_patterns"]))
        return str(finished.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)
    assert fitnets.load("hub:user/name", revision="v1").folder == finished.folder
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("user/name", "v1")
    assert "*" not in "".join(patterns)
    assert read_json(finished.folder / "result.json")["status"] == "finished"
