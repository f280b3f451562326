"""Loading, storing, preprocessing and batching the splits of a data set."""

import hashlib
import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fitnets.composition import loading
from fitnets.config import Digits, Scale, Standardize, Whiten
from fitnets.data import preprocessing, splits
from fitnets.data.held_out import train_and_validation_rows
from fitnets.data.reading import parquet
from fitnets.errors import ConfigError
from support.datasets import CPU, SILENCE, all_images, first_rows, hub_images, write_parquet
from support.places import SHARED_CIFAR10, SHARED_MNIST

CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # sums in another order


def digits(**changes) -> Digits:
    return Digits(
        **{"test_images": 360, "validation_images": 300, "pixel_max": 16, "preprocessing": Scale(), **changes}
    )


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(30, 4, 5), dtype=np.uint8)
    labels = np.arange(30) % 3
    write_parquet(tmp_path / "made", "train", images, labels.tolist())
    write_parquet(tmp_path / "made", "test", images[:9], labels[:9].tolist())
    return tmp_path / "made", images, labels


def test_parquet_images_come_back_bit_for_bit_and_scaled(tables, tmp_path):
    folder, images, labels = tables
    data = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    assert torch.equal(all_images(data.train)[:, 0] * 255, torch.from_numpy(images).float())
    assert torch.equal(data.train.labels, torch.from_numpy(labels))
    assert all_images(data.train).dtype == torch.float32


def test_parquet_files_are_found_in_a_sub_folder(tables, tmp_path):
    folder, *_ = tables
    data = splits.load(hub_images(folder.parent), tmp_path, CPU, SILENCE)
    assert len(data.train) == 24


def test_the_second_load_decodes_nothing(tables, tmp_path, monkeypatch):
    folder, *_ = tables
    first = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    monkeypatch.setattr(parquet, "decode", lambda *_: pytest.fail("decoded again"))
    second = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    assert second.digest == first.digest
    assert torch.equal(all_images(second.train), all_images(first.train))


def test_the_digest_depends_on_content_not_on_location(tables, tmp_path):
    folder, images, labels = tables
    first = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    moved = folder.rename(folder.parent / "elsewhere")
    assert splits.load(hub_images(moved), tmp_path, CPU, SILENCE).digest == first.digest
    images[0, 0, 0] ^= 1
    write_parquet(moved, "train", images, labels.tolist())
    assert splits.load(hub_images(moved), tmp_path, CPU, SILENCE).digest != first.digest


def test_load_does_not_open_the_test_split(tables, tmp_path):
    folder, images, _ = tables
    (folder / "test-00000-of-00001.parquet").write_bytes(b"not Parquet")
    data = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    assert len(data.train) + len(data.valid) == len(images)
    with pytest.raises(ConfigError, match="cannot read test-00000-of-00001.parquet"):
        splits.load_test(hub_images(folder), tmp_path, CPU, SILENCE)


def stored(root: Path) -> list[np.ndarray]:
    """The content of every stored `images.npy`."""
    return [np.load(path) for path in root.glob("data/*/images.npy")]


@pytest.mark.parametrize("option", [Scale(), Standardize(), Whiten(contrast=55, regularizer=0.1)])
def test_colour_images_are_stored_once_in_8_bits_unless_preprocessing_is_not_elementwise(tmp_path, option):
    images = np.random.default_rng(0).integers(0, 256, size=(30, 4, 5, 3), dtype=np.uint8)
    write_parquet(tmp_path / "made", "train", images, [0, 1, 2] * 10)
    colour = hub_images(tmp_path / "made", channels=3, preprocessing=option)
    data = splits.load(colour, tmp_path, CPU, SILENCE)
    on_disk = {str(array.dtype): array for array in stored(tmp_path)}
    np.testing.assert_array_equal(on_disk["uint8"], images.transpose(0, 3, 1, 2))
    assert set(on_disk) == ({"uint8", "float32"} if isinstance(option, Whiten) else {"uint8"})
    if isinstance(option, Whiten):
        np.testing.assert_array_equal(on_disk["float32"], all_images(data.train).numpy())
    scaled = torch.from_numpy(on_disk["uint8"].astype(np.float32)) / 255
    assert torch.equal(all_images(data.train), preprocessing.apply(option, data.fitted, scaled))
    again = splits.load(colour, tmp_path, CPU, SILENCE)
    assert torch.equal(all_images(again.train), all_images(data.train))


class TestPreprocessing:
    def dataset_and_images(self, tmp_path, **changes):
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, size=(60, 4, 4, 3), dtype=np.uint8)
        for split, part in (("train", images[:30]), ("test", images[30:] // 2)):
            write_parquet(tmp_path / "made", split, part, [0, 1, 2] * 10)
        layout = {"channels": 3, "width": 4, "preprocessing": Whiten(contrast=55, regularizer=0.1)}
        return hub_images(tmp_path / "made", **(layout | changes)), torch.from_numpy(images).permute(0, 3, 1, 2) / 255

    def test_whitening_is_fitted_on_all_training_images_and_never_on_test(self, tmp_path):
        dataset, images = self.dataset_and_images(tmp_path)
        option = dataset.preprocessing
        fitted = preprocessing.fit(option, lambda: [images[:30]])  # with validation images, as in the paper
        data = splits.load(dataset, tmp_path, CPU, SILENCE)
        torch.testing.assert_close(all_images(data.train), preprocessing.apply(option, fitted, images[:30]), **CLOSE)
        test = splits.load_test(dataset, tmp_path, CPU, SILENCE)
        halved = (images[30:] * 255 // 2) / 255
        torch.testing.assert_close(all_images(test), preprocessing.apply(option, fitted, halved), **CLOSE)

    def test_test_images_do_not_change_training_images(self, tmp_path):
        dataset, _ = self.dataset_and_images(tmp_path)
        first = all_images(splits.load(dataset, tmp_path / "one", CPU, SILENCE).train)
        write_parquet(tmp_path / "made", "test", np.zeros((9, 4, 4, 3), dtype=np.uint8), [0, 1, 2] * 3)
        splits.load_test(dataset, tmp_path / "two", CPU, SILENCE)
        assert torch.equal(all_images(splits.load(dataset, tmp_path / "two", CPU, SILENCE).train), first)

    def test_another_preprocessing_decodes_nothing_again(self, tmp_path, monkeypatch):
        dataset, _ = self.dataset_and_images(tmp_path)
        splits.load(dataset, tmp_path, CPU, SILENCE)
        monkeypatch.setattr(parquet, "decode", lambda *_: pytest.fail("decoded again"))
        data = splits.load(replace(dataset, preprocessing=Scale()), tmp_path, CPU, SILENCE)
        assert all_images(data.train).min() >= 0

    @pytest.mark.parametrize("option", [Scale(), Standardize()])
    def test_load_split_stores_no_second_copy_of_training_images(self, tmp_path, option):
        dataset, _ = self.dataset_and_images(tmp_path, preprocessing=option)
        data = splits.load(dataset, tmp_path / "store", CPU, SILENCE)
        folders = sorted((tmp_path / "store" / "data").iterdir())
        for name, expected in (("train", data.train), ("valid", data.valid)):
            split = splits.load_split(dataset, name, tmp_path / "store", CPU, SILENCE, fitted_on=dataset)
            assert torch.equal(split.rows, expected.rows)
            assert torch.equal(all_images(split), all_images(expected))
        assert sorted((tmp_path / "store" / "data").iterdir()) == folders

    def test_a_disk_that_is_too_small_is_refused_before_it_is_filled(self, tmp_path, monkeypatch):
        dataset, _ = self.dataset_and_images(tmp_path)
        monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 2000))
        with pytest.raises(
            ConfigError, match=r"dataset=made: its preprocessed images take 0.00 GB in .*/data, where 0.00 GB are free"
        ):
            splits.load(dataset, tmp_path / "store", CPU, SILENCE)
        monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 100))
        with pytest.raises(ConfigError, match=r"decoding made train: the images take 0.00 GB in .*/data, where 0.00"):
            splits.load(dataset, tmp_path / "other", CPU, SILENCE)

    def test_a_disk_that_fills_up_meanwhile_is_an_error_before_anything_is_mapped(self, tmp_path, monkeypatch):
        def full(*_positional):
            raise OSError(28, "No space left on device")

        dataset, _ = self.dataset_and_images(tmp_path)
        monkeypatch.setattr("os.posix_fallocate", full, raising=False)
        with pytest.raises(OSError, match="No space left"):
            splits.load(dataset, tmp_path / "store", CPU, SILENCE)
        (decoded,) = (tmp_path / "store" / "data").iterdir()
        assert (decoded / "meta.json").exists()


def write_png_16_bits(folder: Path) -> np.ndarray:
    """Write 30 images of a ramp over all 16 bits. Training should see the high 8 bits."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    ramp = np.linspace(0, 65_535, 20, dtype=np.uint16).reshape(4, 5)
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    rows = [{"bytes": file.getvalue(), "path": None}] * 30
    folder.mkdir()
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 2] * 10}), folder / "train-0.parquet")
    return ramp


def test_16_bit_images_are_scaled_not_clipped(tmp_path):
    ramp = write_png_16_bits(tmp_path / "made")
    data = splits.load(hub_images(tmp_path / "made"), tmp_path / "store", CPU, SILENCE)
    np.testing.assert_array_equal(all_images(data.train)[0, 0].mul(255).round().numpy(), ramp >> 8)


def test_32_bit_images_are_refused(tmp_path):
    from PIL import Image

    from fitnets.data.reading import encoded_image

    for mode in ("I", "F"):
        with pytest.raises(ValueError, match=f"32-bit pixels \\(mode {mode}\\)"):
            encoded_image.in_8_bits(Image.new(mode, (3, 3)), 3)


def test_unchanged_parquet_files_are_hashed_once(tables, tmp_path, monkeypatch):
    folder, images, labels = tables
    hashed = []
    file_digest = hashlib.file_digest
    monkeypatch.setattr("hashlib.file_digest", lambda *a: (hashed.append(a), file_digest(*a))[1])
    for _ in range(3):
        splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    assert len(hashed) <= 1
    write_parquet(folder, "train", images ^ 1, labels.tolist())
    splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
    assert len(hashed) <= 2


STANDARDIZE = "dataset/preprocessing=standardize"  # whitening images of 32x32 pixels takes seconds


class TestHubLayouts:
    def svhn(self, folder: Path, **changes):
        return replace(loading.load(["dataset=svhn", f"dataset.path={folder}"]).dataset, **changes)

    def write(self, folder: Path) -> None:
        generator = np.random.default_rng(0)
        for split, each in (("train", 5), ("extra", 7), ("test", 2)):
            images = generator.integers(0, 256, size=(10 * each, 32, 32, 3), dtype=np.uint8)
            write_parquet(folder, split, images, list(range(10)) * each)

    def test_svhn_holds_out_the_same_number_of_each_class_from_train_and_from_extra(self, tmp_path):
        self.write(tmp_path / "cropped_digits")
        (tmp_path / "full_numbers").mkdir()
        (tmp_path / "full_numbers" / "train-0.parquet").touch()  # the repository's other configuration
        dataset = self.svhn(tmp_path, validation_images=20, extra_validation=30)
        data = splits.load(dataset, tmp_path / "store", CPU, SILENCE)
        assert (len(data.train), len(data.valid)) == (30 + 40, 20 + 30)
        from_train, from_extra = (data.valid.rows[data.valid.rows < 50], data.valid.rows[data.valid.rows >= 50])
        assert set(Counter(data.valid.labels[from_train].tolist()).values()) == {2}
        assert set(Counter(data.valid.labels[from_extra].tolist()).values()) == {3}
        assert len(splits.load_test(dataset, tmp_path / "store", CPU, SILENCE)) == 20

    def test_svhn_loads_without_its_extra_split(self, tmp_path):
        self.write(tmp_path)
        dataset = self.svhn(tmp_path, validation_images=20, extra_split=None, extra_validation=0)
        assert len(splits.load(dataset, tmp_path / "store", CPU, SILENCE).train) == 30

    def test_the_only_column_of_images_need_not_be_named(self, tmp_path):
        """The column is called `img` in CIFAR, and `image` elsewhere."""
        import pyarrow.parquet as pq

        images = np.zeros((30, 32, 32, 3), dtype=np.uint8)
        write_parquet(tmp_path / "image", "train", images, list(range(10)) * 3)
        (tmp_path / "img").mkdir()
        (file,) = (tmp_path / "image").iterdir()
        pq.write_table(pq.read_table(file).rename_columns(["img", "label"]), tmp_path / "img" / file.name)
        for folder in ("image", "img"):
            words = ["dataset=cifar10", f"dataset.path={tmp_path / folder}", "dataset.validation_images=10"]
            data = splits.load(loading.load([*words, STANDARDIZE]).dataset, tmp_path / "store", CPU, SILENCE)
            assert len(data.train) == 20

    def test_cifar100_takes_the_fine_labels(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        write_parquet(tmp_path, "train", np.zeros((200, 32, 32, 3), dtype=np.uint8), list(range(100)) * 2)
        (file,) = tmp_path.glob("*.parquet")
        table = pq.read_table(file).rename_columns(["img", "fine_label"])
        pq.write_table(table.append_column("coarse_label", pa.array([0] * 200)), file)
        dataset = loading.load(
            ["dataset=cifar100", f"dataset.path={tmp_path}", "dataset.validation_images=100", STANDARDIZE]
        ).dataset
        data = splits.load(dataset, tmp_path / "store", CPU, SILENCE)
        assert sorted(data.valid.labels[data.valid.rows].tolist()) == list(range(100))

    def test_a_separate_validation_split_is_used(self, tables, tmp_path):
        folder, images, _ = tables
        dataset = hub_images(folder, validation_split="test", test_split=None, validation_images=0)
        data = splits.load(dataset, tmp_path, CPU, SILENCE)
        assert (len(data.train), len(data.valid)) == (30, 9)
        assert torch.equal(data.valid.images[data.valid.rows][:, 0] * 255, torch.from_numpy(images[:9]).float())
        other = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
        assert data.digest != other.digest

    def test_whole_adds_the_validation_images_to_the_training_images(self, tables, tmp_path):
        folder, *_ = tables
        data = splits.load(hub_images(folder), tmp_path, CPU, SILENCE)
        assert data.with_validation().train.rows.tolist() == list(range(30))
        assert (len(data.train), len(data.with_validation().valid)) == (24, 6)


class TestLoadedSplits:
    def test_preprocessing_is_fitted_on_all_training_images(self, tables, tmp_path):
        folder, *_ = tables
        all_images, half = (
            splits.load(hub_images(folder, preprocessing=Standardize(), train_share=share), tmp_path, CPU, SILENCE)
            for share in (1.0, 0.5)
        )
        assert (len(all_images.train), len(half.train)) == (24, 12)
        assert all_images.fitted == half.fitted
        assert all_images.digest == half.digest

    def test_digits_have_the_same_test_images_under_every_seed(self, tmp_path):
        tests = [splits.load_test(digits(seed=seed), tmp_path, CPU, SILENCE) for seed in (0, 1)]
        assert torch.equal(all_images(tests[0]), all_images(tests[1]))
        assert len(tests[0]) == 360

    def test_digits_splits_share_no_image(self, tmp_path):
        data = splits.load(digits(), tmp_path, CPU, SILENCE)
        test = splits.load_test(digits(), tmp_path, CPU, SILENCE)
        assert (len(data.train), len(data.valid), len(test)) == (1137, 300, 360)
        parts = [
            {image.numpy().tobytes() for image in part.images[part.rows]} for part in (data.train, data.valid, test)
        ]
        assert sum(map(len, parts)) == 1797  # all of scikit-learn's images are different
        assert not (parts[0] & parts[1])
        assert not (parts[0] & parts[2])
        assert not (parts[1] & parts[2])
        assert all_images(data.train).max() == 1


class TestBatches:
    part = splits.Split(torch.arange(50.0), torch.arange(50), torch.arange(10, 50))

    def test_shuffled_batches_are_a_function_of_the_seed_and_drop_the_incomplete_one(self):
        orders = [torch.cat(list(self.part.shuffled(16, seed))) for seed in (7, 7, 8)]
        assert len(orders[0]) == 32
        assert len(set(orders[0].tolist())) == 32
        assert set(orders[0].tolist()) <= set(range(10, 50))
        assert torch.equal(orders[0], orders[1])
        assert not torch.equal(orders[0], orders[2])

    def test_ordered_batches_have_every_row_once_with_its_label(self):
        for column in zip(
            *((batch.images.long(), batch.labels, batch.rows) for batch in self.part.ordered(16)), strict=True
        ):
            assert torch.equal(torch.cat(column), torch.arange(10, 50))


@pytest.mark.skipif(not SHARED_MNIST.is_dir(), reason=f"needs the real MNIST in {SHARED_MNIST}")
def test_real_mnist_has_the_papers_split(tmp_path):
    """Load the first images of the official files, and split the whole set by number."""
    rows = first_rows(SHARED_MNIST, tmp_path, 300)
    assert rows == {"train": 60_000, "test": 10_000}
    dataset = loading.load(["dataset=mnist", f"dataset.path={tmp_path}"]).dataset
    small = replace(dataset, validation_images=100)
    data = splits.load(small, tmp_path / "store", CPU, SILENCE)
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the official order
    assert data.train.images.shape[1:] == (1, 28, 28)
    assert all_images(data.train)[0].mul(255).sum().item() == pytest.approx(27_525, abs=1)  # the first image, a 5
    test = splits.load_test(small, tmp_path / "store", CPU, SILENCE)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert len(json.loads(next((tmp_path / "store").glob("data/*/meta.json")).read_text())["sha256"]) == 64
    train, valid = train_and_validation_rows({"train": np.zeros(60_000, dtype=np.int64)}, dataset)
    assert (train.tolist(), valid.tolist()) == (list(range(50_000)), list(range(50_000, 60_000)))


@pytest.mark.skipif(not SHARED_CIFAR10.is_dir(), reason=f"needs the real CIFAR-10 in {SHARED_CIFAR10}")
def test_real_cifar10_has_the_papers_split(tmp_path):
    """Load the first images of the official files, and split the whole set by number."""
    assert first_rows(SHARED_CIFAR10, tmp_path, 300) == {"train": 50_000, "test": 10_000}
    dataset = loading.load(["dataset=cifar10", f"dataset.path={tmp_path}"]).dataset
    small = replace(dataset, validation_images=100, preprocessing=Scale())
    data = splits.load(small, tmp_path / "store", CPU, SILENCE)
    assert data.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]  # the official order
    assert all_images(data.train)[0, :, 0, 0].mul(255).tolist() == [59, 62, 63]
    train, valid = train_and_validation_rows({"train": np.zeros(50_000, dtype=np.int64)}, dataset)
    assert (train.tolist(), valid.tolist()) == (list(range(40_000)), list(range(40_000, 50_000)))
