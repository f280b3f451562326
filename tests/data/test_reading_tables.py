"""Parquet files: every shard must be there once and whole, and unusable labels are refused before training."""

import shutil
from pathlib import Path

import pytest

from fitnets.data import splits
from fitnets.errors import ConfigError
from support.datasets import CPU, SILENCE, hub_images
from support.made_files import of_tables, png, shards, table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shards(shards(tmp_path / "made", "train", 3, 12), "test", 2)


def first(root: Path) -> Path:
    return root / "train-00000-of-00003.parquet"


def _missing(root: Path) -> None:
    (root / "train-00001-of-00003.parquet").unlink()


def _last_missing(root: Path) -> None:
    (root / "train-00002-of-00003.parquet").unlink()


def _copied(root: Path) -> None:
    shutil.copy(first(root), root / "train-00000-of-00003 (1).parquet")


def _backup(root: Path) -> None:
    shutil.copy(first(root), root / "train-backup.parquet")


def _other_split(root: Path) -> None:
    shutil.copy(first(root), root / "train-old-00000-of-00001.parquet")


def _two_versions(root: Path) -> None:
    shutil.copy(first(root), root / "train-00000-of-00004.parquet")


def _twice(root: Path) -> None:
    shutil.copy(first(root), root / "train-00000-of-00003-0123456789abcdef.parquet")


def _from_one(root: Path) -> None:
    first(root).rename(root / "train-00003-of-00003.parquet")


def _pointer(root: Path) -> None:
    first(root).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def _empty(root: Path) -> None:
    first(root).write_bytes(b"")


def _truncated(root: Path) -> None:
    first(root).write_bytes(first(root).read_bytes()[:-40])


def _page(root: Path) -> None:
    first(root).write_text("<!doctype html><html><body>Not found</body></html>")


def _folder(root: Path) -> None:
    first(root).unlink()
    first(root).mkdir()


def _spoilt(root: Path) -> None:
    """Keep the first and last bytes of a file, and overwrite the rest."""
    content = first(root).read_bytes()
    first(root).write_bytes(content[:4] + bytes(len(content) - 12) + content[-8:])


SHARDS = [
    (_missing, r"1 of 3 shards of the train split missing: train-00001-of-00003\.parquet: download"),
    (_last_missing, r"1 of 3 shards of the train split missing: train-00002-of-00003\.parquet"),
    (_copied, r"train-00000-of-00003 \(1\)\.parquet: not the name of a shard of the train split"),
    (_backup, r"train-backup\.parquet: not the name of a shard of the train split"),
    (_other_split, r"train-old-00000-of-00001\.parquet: not the name of a shard of the train split"),
    (_two_versions, r"train-00000-of-00003\.parquet, train-00000-of-00004\.parquet: shards of several versions"),
    (_twice, r"train-00000-of-00003-0123456789abcdef\.parquet, .*: the same shard of the train split more than once"),
    (_from_one, r"missing: train-00000-of-00003\.parquet \(and train-00003-of-00003\.parquet is one too many\)"),
    (_pointer, r"cannot read train-00000-of-00003\.parquet \(a Git LFS pointer, .* git lfs pull"),
    (_empty, r"cannot read train-00000-of-00003\.parquet \(it is empty\)"),
    (_truncated, r"cannot read train-00000-of-00003\.parquet \(truncated"),
    (_page, r"cannot read train-00000-of-00003\.parquet \(an HTML page"),
    (_folder, r"cannot read train-00000-of-00003\.parquet \(not a regular file\)"),
    (_spoilt, r"cannot read train-00000-of-00003\.parquet \(.*\): download it again"),
]


@pytest.mark.parametrize(("change", "message"), SHARDS, ids=[change.__name__ for change, _ in SHARDS])
def test_missing_duplicate_and_damaged_shards_are_refused(root, change, message):
    change(root)
    with pytest.raises(ConfigError, match=message) as raised:
        of_tables(root)
    assert len(str(raised.value).splitlines()) == 1


def test_files_of_all_splits_are_named_together(root):
    _pointer(root)
    (root / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(
        ConfigError, match=r"(?s)train-00000-of-00003\.parquet \(a Git LFS.*\n.*1 of 2 shards of the test"
    ):
        of_tables(root)


def test_shards_are_read_once_each_in_order(root):
    summary = of_tables(root)
    assert (summary.train + summary.valid, summary.test, summary.notes) == (36, 12, "")


def test_shards_with_a_digest_in_their_names_are_read(root):
    for file in root.glob("*.parquet"):
        file.rename(file.with_name(f"{file.stem}-{hash(file.name) & (16**16 - 1):016x}.parquet"))
    assert of_tables(root)[2:4] == (12, "")


def test_files_without_shard_numbers_are_read_with_a_note(tmp_path):
    for name in ("train-a", "train-b", "test-a"):
        table(tmp_path / "made" / f"{name}.parquet", [png(i) for i in range(12)], [0, 1, 2] * 4)
    summary = of_tables(tmp_path / "made")
    assert (summary.train + summary.valid, summary.test) == (24, 12)
    assert (
        "train: 2 files (train-a.parquet, train-b.parquet), whose names do not say how many there should"
        in summary.notes
    )


def test_unused_splits_are_noted(root):
    shutil.copy(first(root), root / "validation-00000-of-00001.parquet")
    assert "left out: 1 Parquet files of other splits (validation-00000-of-00001.parquet)" in of_tables(root).notes


# --- labels ---


def labelled(root: Path, train: object, test: object) -> Path:
    for split, labels in (("train", train), ("test", test)):
        table(root / f"{split}-00000-of-00001.parquet", [png(i) for i in range(len(labels))], labels)
    return root


GOOD = [0, 1, 2] * 4
LABELS = [
    ([1, 2, 3] * 4, GOOD, r"the train split has 1 to 3: they count from 1: give dataset\.first_label=1"),
    ([5, 6, 7] * 4, GOOD, r"the train split has 5 to 7: they count from 5: give dataset\.first_label=5"),
    ([0, 10, 20] * 4, GOOD, r"only 3 numbers occur \(0, 10, 20\): number the classes from 0 without gaps"),
    ([0, 1, 2, 3] * 3, GOOD, r"allows labels 0 to 2, and the train split has 0 to 3: give dataset\.classes=4"),
    (GOOD, [-1] * 12, r"the test split has no labels \(all are -1 or null\): give dataset\.test_split=null"),
    (GOOD, [None] * 12, r"the test split has no labels \(all are -1 or null\): give dataset\.test_split=null"),
    ([*GOOD, -1, None], GOOD, r"2 of 14 rows of the train split have no label \(-1 or null\), row 12 the first"),
    (GOOD, [0, 1, 9] * 4, r"the test split has 0 to 9"),
    (GOOD, [-5, 0, 1] * 4, r"the test split has -5 to 1"),
    (["cat", "dog", "owl"] * 4, GOOD, r"label_column=label: the column holds string, and whole numbers are needed"),
    ([True, False] * 6, GOOD, r"label_column=label: the column holds bool, and whole numbers are needed"),
    ([0.0, 1.0, 2.0] * 4, GOOD, r"label_column=label: the column holds float64, and whole numbers are needed"),
]


@pytest.mark.parametrize(("train", "test", "message"), LABELS)
def test_unusable_labels_are_refused_with_the_way_out(tmp_path, train, test, message):
    with pytest.raises(ConfigError, match=message):
        of_tables(labelled(tmp_path / "made", train, test))


def test_first_label_1_fixes_labels_that_count_from_1(tmp_path):
    root = labelled(tmp_path / "made", [1, 2, 3] * 4, [1, 2, 3] * 4)
    summary = of_tables(root, first_label=1)
    assert summary.digest == of_tables(labelled(tmp_path / "zero", GOOD, GOOD)).digest
    labels = splits.load(hub_images(root, first_label=1), tmp_path / "store", CPU, SILENCE).train.labels
    assert labels.tolist() == GOOD


def test_a_null_test_split_replaces_one_without_labels(tmp_path):
    assert of_tables(labelled(tmp_path / "made", GOOD, [-1] * 12), test_split=None).test is None


def test_the_error_proposes_a_column_of_whole_numbers(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = labelled(tmp_path / "made", ["cat", "dog", "owl"] * 4, GOOD)
    file = root / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).append_column("label_id", pa.array(GOOD)), file)
    with pytest.raises(ConfigError, match=r"holds string, .*: give dataset\.label_column=label_id"):
        of_tables(root)


def test_unlabelled_test_images_are_refused_before_training(command, tmp_path):
    labelled(tmp_path / "made", [0, 1, 2] * 10, [-1] * 9)
    layout = "dataset.height=4 dataset.width=5 dataset.classes=3 dataset.validation_images=6 teacher.convs=[]"
    words = f"dataset=mnist dataset.path={tmp_path / 'made'} {layout} student=thin student.depth=1 method=kd"
    finished = command(*words.split(), "tracker=none")
    assert finished.code == 1
    assert "give" not in finished.out
    assert "dataset.test_split=null" in finished.err
    assert not list((tmp_path / "store").glob("teacher/*"))
