import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED_MNIST

from fitnets import data, sources
from fitnets.config import Digits, HubImages, Scale
from fitnets.options import ConfigError

CPU = torch.device("cpu")


def in_silence(items, _title):
    return items


def hub_images(path: Path, **changes) -> HubImages:
    layout = {
        "name": "made",
        "hub": "someone/made",
        "revision": "main",
        "path": str(path),
        "image_column": "image",
        "label_column": "label",
        "train_split": "train",
        "test_split": "test",
        "channels": 1,
        "height": 4,
        "width": 5,
        "classes": 3,
        "pixel_max": 255,
        "validation": 6,
        "validation_rule": "by_class",
        "preprocessing": Scale(),
    }
    return HubImages(**{**layout, **changes})


def digits(**changes) -> Digits:
    return Digits(**{"test": 360, "validation": 300, "pixel_max": 16, "preprocessing": Scale(), **changes})


def write_parquet(folder: Path, split: str, images: np.ndarray, labels: list[int]) -> None:
    """PNG images and labels in the layout of the hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows = []
    for pixels in images:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": labels}), folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(30, 4, 5), dtype=np.uint8)
    labels = np.arange(30) % 3
    write_parquet(tmp_path / "made", "train", images, labels.tolist())
    write_parquet(tmp_path / "made", "test", images[:9], labels[:9].tolist())
    return tmp_path / "made", images, labels


def test_parquet_images_come_back_bit_for_bit_and_scaled(made, tmp_path):
    folder, images, labels = made
    found = data.load(hub_images(folder), tmp_path, CPU, in_silence)
    assert torch.equal(found.train.images[:, 0] * 255, torch.from_numpy(images).float())
    assert torch.equal(found.train.labels, torch.from_numpy(labels))
    assert found.train.images.dtype == torch.float32


def test_a_downloaded_repository_has_its_files_in_a_folder_of_its_own(made, tmp_path):
    folder, *_ = made
    found = data.load(hub_images(folder.parent), tmp_path, CPU, in_silence)
    assert len(found.train) == 24


def test_the_second_load_maps_the_cache(made, tmp_path, monkeypatch):
    folder, *_ = made
    first = data.load(hub_images(folder), tmp_path, CPU, in_silence)
    monkeypatch.setattr(sources, "_decode_rows", lambda *_: pytest.fail("decoded again"))
    second = data.load(hub_images(folder), tmp_path, CPU, in_silence)
    assert second.digest == first.digest
    assert torch.equal(second.train.images, first.train.images)


def test_identity_is_content_not_location(made, tmp_path):
    folder, images, labels = made
    first = data.load(hub_images(folder), tmp_path, CPU, in_silence)
    elsewhere = folder.rename(folder.parent / "elsewhere")
    assert data.load(hub_images(elsewhere), tmp_path, CPU, in_silence).digest == first.digest
    images[0, 0, 0] ^= 1
    write_parquet(elsewhere, "train", images, labels.tolist())
    assert data.load(hub_images(elsewhere), tmp_path, CPU, in_silence).digest != first.digest


def test_the_test_split_is_not_opened_before_it_is_asked_for(made, tmp_path):
    folder, images, _ = made
    (folder / "test-00000-of-00001.parquet").write_bytes(b"not Parquet")
    found = data.load(hub_images(folder), tmp_path, CPU, in_silence)
    assert len(found.train) + len(found.valid) == len(images)
    with pytest.raises(ConfigError, match="cannot read test-00000-of-00001.parquet"):
        data.load_test(hub_images(folder), tmp_path, CPU, in_silence)


class TestSplit:
    labels = np.arange(100) % 10

    def test_last_rows_whatever_the_seed(self, tmp_path):
        for seed in (0, 1):
            rule = hub_images(tmp_path, validation=20, validation_rule="last", seed=seed)
            train, valid = data.split({"train": self.labels}, rule)
            assert torch.equal(train, torch.arange(80))
            assert torch.equal(valid, torch.arange(80, 100))

    def test_by_class_is_even_and_a_function_of_the_seed(self, tmp_path):
        splits = [
            data.split({"train": self.labels}, hub_images(tmp_path, validation=20, seed=seed)) for seed in (0, 0, 1)
        ]
        for train, valid in splits:
            assert set(Counter(self.labels[valid.numpy()].tolist()).values()) == {2}
            assert sorted([*train.tolist(), *valid.tolist()]) == list(range(100))
        assert torch.equal(splits[0][1], splits[1][1])
        assert not torch.equal(splits[0][1], splits[2][1])

    def test_digits_have_the_same_test_images_under_every_seed(self, tmp_path):
        tests = [data.load_test(digits(seed=seed), tmp_path, CPU, in_silence) for seed in (0, 1)]
        assert torch.equal(tests[0].images, tests[1].images)
        assert len(tests[0]) == 360

    def test_digits_splits_share_no_image(self, tmp_path):
        found = data.load(digits(), tmp_path, CPU, in_silence)
        test = data.load_test(digits(), tmp_path, CPU, in_silence)
        assert (len(found.train), len(found.valid), len(test)) == (1137, 300, 360)
        parts = [
            {image.numpy().tobytes() for image in part.images[part.rows]} for part in (found.train, found.valid, test)
        ]
        assert sum(map(len, parts)) == 1797  # all of scikit-learn's images are different
        assert not (parts[0] & parts[1])
        assert not (parts[0] & parts[2])
        assert not (parts[1] & parts[2])
        assert found.train.images.max() == 1


class TestBatches:
    part = data.Split(torch.arange(50.0), torch.arange(50), torch.arange(10, 50))

    def test_shuffled_batches_are_a_function_of_the_seed_and_drop_the_incomplete_one(self):
        orders = [torch.cat(list(self.part.shuffled(16, seed))) for seed in (7, 7, 8)]
        assert len(orders[0]) == 32
        assert len(set(orders[0].tolist())) == 32
        assert set(orders[0].tolist()) <= set(range(10, 50))
        assert torch.equal(orders[0], orders[1])
        assert not torch.equal(orders[0], orders[2])

    def test_ordered_batches_have_every_row_once_with_its_label(self):
        images, labels = zip(*self.part.ordered(16), strict=True)
        assert torch.equal(torch.cat(labels), torch.arange(10, 50))
        assert torch.equal(torch.cat(images).long(), torch.cat(labels))


@pytest.mark.skipif(not SHARED_MNIST.is_dir(), reason=f"needs the real MNIST in {SHARED_MNIST}")
@pytest.mark.slow
def test_real_mnist_has_the_papers_split(tmp_path):
    from fitnets import compose

    dataset = compose.load(["dataset=mnist", f"dataset.path={SHARED_MNIST}"]).dataset
    found = data.load(dataset, tmp_path, CPU, in_silence)
    assert (len(found.train), len(found.valid)) == (50_000, 10_000)
    assert found.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the official order
    assert found.train.images.shape == (60_000, 1, 28, 28)
    assert found.train.images[0].mul(255).sum().item() == pytest.approx(27_525, abs=1)  # of the first 5
    test = data.load_test(dataset, tmp_path, CPU, in_silence)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert len(json.loads(next(tmp_path.glob("data/*/meta.json")).read_text())["sha256"]) == 64
