"""A folder of photos whose images keep their proportions until they are cropped for a network."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitnets.composition import loading
from fitnets.data import image_files, splits
from fitnets.data.reading import decoding
from fitnets.errors import ConfigError
from fitnets.store.files import read_metrics
from fitnets.training import loop
from support.datasets import CPU, SILENCE, all_images

SIZES = [(60, 40), (40, 60), (48, 48), (200, 31), (30, 500), (20, 25)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of six smooth photos, (width, height) as in SIZES."""
    for number, name in enumerate("abc"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index, (width, height) in enumerate(SIZES):
            y, x = np.mgrid[:height, :width]
            pixels = np.stack([90 * number + 40 * np.sin(x / 9), 2 * y % 256, 3 * x % 256], axis=2)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def dataset(root: Path, *words: str):
    given = ["dataset=folder", f"dataset.path={root}", "dataset.classes=3", "dataset.height=28", "dataset.width=28"]
    return loading.load([*given, "dataset/preprocessing=scale", *words]).dataset


PHOTOS = ("dataset.stored_size=auto", "dataset.crop_share=0.875")


class TestStoredSizes:
    def test_images_keep_their_proportions_and_take_one_byte_a_value(self, root, tmp_path):
        splits.load(dataset(root, *PHOTOS), tmp_path / "store", CPU, SILENCE)
        (sizes,) = (np.load(path) for path in (tmp_path / "store").glob("data/*/sizes.npy"))
        (values,) = (np.load(path) for path in (tmp_path / "store").glob("data/*/images.npy"))
        assert {tuple(size) for size in sizes.tolist()} == {
            (32, 48),
            (48, 32),
            (32, 32),
            (31, 200),
            (500, 30),
            (25, 20),
        }
        assert (values.dtype, values.size) == (np.uint8, 3 * sizes.astype(int).prod(axis=1).sum())

    def test_parts_that_share_a_file_count_their_own_images(self, root, tmp_path):
        data = splits.load(dataset(root, *PHOTOS), tmp_path / "store", CPU, SILENCE)
        (values,) = (np.load(path) for path in (tmp_path / "store").glob("data/*/images.npy"))
        assert 0 < data.train.images.pixels.bytes < values.size  # the test images are left out

    def test_networks_see_the_centre_of_the_resized_image(self, root, tmp_path):
        data = splits.load(dataset(root, *PHOTOS), tmp_path / "store", CPU, SILENCE)
        images = all_images(data.train)
        assert images.shape == (len(data.train) + len(data.valid), 3, 28, 28)
        seen = {tuple((255 * image).round().byte().flatten().tolist()) for image in images}
        for name in "abc":
            for index, size in enumerate(SIZES[:3]):  # large enough to be resized once only
                picture = Image.open(root / name / f"{index}.png")
                short, long = 32, int(32 * max(size) / min(size))
                to = (long, short) if size[0] >= size[1] else (short, long)
                whole = np.asarray(
                    picture.resize((to[0], size[1]), Image.Resampling.BICUBIC).resize(to, Image.Resampling.BICUBIC)
                )
                top, left = round((to[1] - 28) / 2), round((to[0] - 28) / 2)
                crop = whole[top : top + 28, left : left + 28].transpose(2, 0, 1)
                held_out = tuple(crop.flatten().tolist()) not in seen
                in_test = f"{name}/{index}.png" in _test_names(root)
                assert held_out == in_test

    def test_a_file_alone_is_prepared_like_the_images_of_the_data_set(self, root, tmp_path):
        given = dataset(root, *PHOTOS)
        data = splits.load(given, tmp_path / "store", CPU, SILENCE)
        names = [name for part in ("train", "validation") for name in _parts(root)[part]]
        alone = torch.stack([torch.from_numpy(image_files.pixels(given, root / name)) for name in names])
        assert torch.equal((255 * all_images(data.train)).round().byte(), alone)

    def test_other_sizes_are_decoded_anew_and_have_another_digest(self, root, tmp_path):
        digests = {
            splits.load(dataset(root, *words), tmp_path / "store", CPU, SILENCE).digest
            for words in (
                (),
                PHOTOS,
                (*PHOTOS, "dataset.stored_size=40"),
                (*PHOTOS, "dataset.interpolation=bilinear"),
                (*PHOTOS, "dataset.height=14", "dataset.width=14"),
                (*PHOTOS, "dataset.stored_size=32"),
            )
        }
        assert len(digests) == 5  # auto is 32

    def test_one_stored_size_serves_several_crops(self, root, tmp_path):
        for words in (("dataset.height=28",), ("dataset.height=20", "dataset.width=20")):
            splits.load(dataset(root, "dataset.stored_size=40", *words), tmp_path / "store", CPU, SILENCE)
        assert len(list((tmp_path / "store").glob("data/*/images.npy"))) == 1

    def test_whitened_images_are_those_of_their_crop(self, root, tmp_path):
        """Both crops have the same stored images."""
        whitened = [
            all_images(splits.load(dataset(root, *PHOTOS, *words), tmp_path / "store", CPU, SILENCE).train)
            for share in (0.875, 0.7)
            for words in [("dataset/preprocessing=whiten", "dataset.stored_size=40", f"dataset.crop_share={share}")]
        ]
        assert not torch.allclose(*whitened)

    def test_standardize_is_fitted_on_what_networks_see(self, root, tmp_path):
        standardize = dataset(root, *PHOTOS, "dataset/preprocessing=standardize")
        data = splits.load(standardize, tmp_path / "store", CPU, SILENCE)
        images = data.train.images[data.train.rows]
        torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
        torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)

    def test_a_stored_size_below_that_of_the_view_is_refused(self, root):
        with pytest.raises(ConfigError, match=r"dataset.stored_size=31: .* at least 32 pixels .*crop_share=0.875"):
            dataset(root, *PHOTOS, "dataset.stored_size=31")

    def test_a_disk_without_room_is_told_after_the_first_images(self, root, tmp_path, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))
        monkeypatch.setattr(decoding, "_SAMPLE", 2)
        with pytest.raises(ConfigError, match=r"the images, about, take .* where 0.00 GB are free: give another store"):
            splits.load(dataset(root, *PHOTOS), tmp_path / "store", CPU, SILENCE)

    def test_a_crop_share_needs_a_stored_size(self, root):
        with pytest.raises(ConfigError, match=r"dataset.crop_share=0.875: .*dataset.stored_size=auto"):
            dataset(root, "dataset.crop_share=0.875")


def _parts(root: Path) -> dict[str, list[str]]:
    return json.loads((root / "split.json").read_text())


def _test_names(root: Path) -> list[str]:
    return _parts(root)["test"]


AUGMENTED = "{flip: true, crop_area: 0.2, policy: trivial, brightness: 0.3, hue: 0.1, mixup: 0.4, cutmix: 1.0}"
RUN = (
    "teacher=resnet",
    "teacher.depth=8",
    "teacher.width=1",
    "hint_layer=middle",
    "student=thin",
    "student.depth=3",
    "student.width=4",
    "tracker=none",
    "engine.threads=1",
    "engine.views=2",
    *(f"schedule.{stage}.{key}" for stage in ("teacher", "hint", "student") for key in ("epochs=3", "batch_size=4")),
    *(f"schedule.{stage}.augmentation={AUGMENTED}" for stage in ("teacher", "hint", "student")),
)


def given(root: Path) -> list[str]:
    sizes = ["dataset.height=28", "dataset.width=28", *PHOTOS]
    return ["dataset=folder", f"dataset.path={root}", "dataset.classes=3", *sizes, *RUN]


class TestRuns:
    def losses(self, store: Path) -> list[dict]:
        rows = read_metrics(next(store.glob("run/*/metrics.jsonl")))
        return [{key: value for key, value in row.items() if key != "timing"} for row in rows]

    def test_a_killed_run_on_mixed_crops_ends_like_a_whole_one(self, command, root, tmp_path, monkeypatch):
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        assert command(*given(root), store=whole).code == 0
        real, steps = loop._step, []

        def step(state, batch):
            real(state, batch)
            steps.append(state.stage.name)
            if len(steps) in (4, 11, 16):
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(loop, "_step", step)
        assert [command(*given(root), store=broken).code for _ in range(4)] == [143, 143, 143, 0]
        assert self.losses(broken) == self.losses(whole)

    def test_a_streamed_run_ends_with_the_bits_of_a_resident_one(self, command, root, tmp_path, monkeypatch):
        """The streamed one is killed in mid-epoch."""
        resident = command(*given(root), "engine.data=device", store=tmp_path / "resident")
        assert "images   streamed" not in resident.out
        real, steps = loop._step, []

        def step(state, batch):
            real(state, batch)
            steps.append(state.stage.name)
            if len(steps) == 14:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(loop, "_step", step)
        runs = [command(*given(root), "engine.data=stream", store=tmp_path / "streamed") for _ in range(2)]
        assert [run.code for run in runs] == [143, 0]
        assert "images   streamed from their file" in runs[1].out
        weights = [
            next((tmp_path / store).glob("run/*/student.safetensors")).read_bytes()
            for store in ("resident", "streamed")
        ]
        assert weights[0] == weights[1]

    def test_a_finished_student_is_exported_and_predicts_files(self, command, fitnets, root, tmp_path):
        assert command(*given(root), store=tmp_path / "store").code == 0
        (run,) = (tmp_path / "store").glob("run/*")
        exported = fitnets("export", run)
        assert exported.code == 0, exported.err
        predicted = fitnets("predict", run, root / "a" / "0.png", root / "b" / "3.png")
        assert predicted.code == 0, predicted.err
        assert "0.png" in predicted.out


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["dataset/preprocessing=whiten"], r"student.augmentation changes images before they are preprocessed.*"),
            (["method=dkd"], r"method.stages.student.terms.dkd: the loss dkd needs images of one class, and .*mixup=0"),
            (["method=contrastive"], r"the loss contrastive needs images of one class"),
        ],
    )
    def test_augmentation_that_does_not_fit(self, root, words, message):
        with pytest.raises(ConfigError, match=message):
            loading.load([*given(root), *words])

    def test_augmentation_of_images_with_other_pixel_values(self):
        with pytest.raises(
            ConfigError, match=r"student.augmentation is made for pixel values from 0 to 255, and .* 16"
        ):
            loading.load(["dataset=digits", "schedule.student.augmentation.mixup=0.2"])
