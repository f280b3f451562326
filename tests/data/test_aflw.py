"""`fitnets prepare aflw` on a small imitation of AFLW, and a run on its patches."""

import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitnets.composition import loading
from fitnets.data import aflw, splits
from fitnets.errors import ConfigError
from support.datasets import CPU, SILENCE, all_images, in_silence
from support.runs import Finished, runs

FACES = 60


def write_aflw(root: Path, *, extra_rows=()) -> Path:
    """Write AFLW's tables and folders. Every image has two faces, each a rectangle of its own colour on black.

    extra_rows: SQL statements to run at the end."""
    flickr = root / "aflw" / "data" / "flickr"
    (flickr / "0").mkdir(parents=True)
    faces, rectangles, images = [], [], []
    for number in range(FACES // 2):
        picture = np.zeros((100, 120, 3), dtype=np.uint8)
        for which, (x, y, w, h) in enumerate([(10, 20, 30, 40), (70, 50, 40, 40)]):
            face_id = 2 * number + which + 1
            picture[y : y + h, x : x + w] = colour(face_id)
            faces.append((face_id, f"image{number:05d}.png"))
            rectangles.append((face_id, x, y, w, h))
        Image.fromarray(picture).save(flickr / "0" / f"image{number:05d}.png")
        images.append((f"image{number:05d}.png", f"0/image{number:05d}.png"))
    with sqlite3.connect(root / "aflw" / "data" / "aflw.sqlite") as database:
        database.execute("CREATE TABLE Faces (face_id INTEGER, file_id TEXT, db_id TEXT)")
        database.execute("CREATE TABLE FaceRect (face_id INTEGER, x INTEGER, y INTEGER, w INTEGER, h INTEGER)")
        database.execute("CREATE TABLE FaceImages (image_id INTEGER, file_id TEXT, filepath TEXT)")
        database.executemany("INSERT INTO Faces VALUES (?, ?, 'flickr')", faces)
        database.executemany("INSERT INTO FaceRect VALUES (?, ?, ?, ?, ?)", rectangles)
        database.executemany("INSERT INTO FaceImages VALUES (0, ?, ?)", images)
        for statement in extra_rows:
            database.execute(statement)
    database.close()
    return root / "aflw"


def colour(face_id: int) -> tuple[int, int, int]:
    return 100 + face_id, 250 - face_id, 128


def write_negatives(root: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(25):
        place = root / "negatives" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        size = generator.integers(16, 80, size=2)
        pixels = np.full((*size, 3), 2 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.jpg", quality=95)
    return root / "negatives"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {"aflw": write_aflw(tmp_path), "negatives": write_negatives(tmp_path), "out": tmp_path / "patches"}


def prepare(places, **changes):
    settings = {"count": None, "seed": 0, "skip_broken": False, "track": in_silence}
    return aflw.prepare(**places, **(settings | changes))


def rows(folder: Path, part: str) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(folder / f"{part}-00000-of-00001.parquet").to_pylist()


def pixels(row: dict) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def test_every_face_becomes_a_patch_and_parts_share_no_image(places):
    counts, skipped = prepare(places)
    assert skipped == []
    assert sum(counts.values(), Counter()) == {"face": FACES, "no face": FACES}
    assert counts["validation"] == {"face": 6, "no face": pytest.approx(6, abs=1)}
    every = {part: rows(places["out"], part) for part in ("train", "validation")}
    faces = Counter()
    for part in every.values():
        for row in part:
            patch = pixels(row)
            assert patch.shape == (16, 16, 3)
            middle = patch[4:12, 4:12].reshape(-1, 3)
            if row["label"] == 1:
                assert (middle == middle[0]).all()
                faces[tuple(middle[0])] += 1
            else:
                assert middle.max() <= 60
    assert faces == Counter(colour(face_id) for face_id in range(1, FACES + 1))  # every face once, from its rectangle
    sources = {part: {row["image"]["path"] for row in of_part} for part, of_part in every.items()}
    assert not sources["train"] & sources["validation"]


def test_the_same_seed_gives_the_same_files(places, tmp_path):
    files = []
    for seed in (0, 0, 1):
        out = tmp_path / str(len(files))
        prepare(places | {"out": out}, seed=seed)
        files.append([(row["image"]["bytes"], row["label"]) for row in rows(out, "validation")])
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_a_rectangle_over_the_edge_is_clipped(tmp_path, places):
    rectangle = "UPDATE FaceRect SET x = -10, y = -20, w = 50, h = 80 WHERE face_id = 1"
    with sqlite3.connect(places["aflw"] / "data" / "aflw.sqlite") as database:
        database.execute(rectangle)
    database.close()
    (patch,) = [aflw._face_patch(face) for face in aflw.read_faces(places["aflw"]) if face.face_id == 1]
    import io

    pixels = np.asarray(Image.open(io.BytesIO(patch.png)))
    picture = Image.open(patch.origin).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC, box=(0, 0, 40, 60))
    np.testing.assert_array_equal(pixels, np.asarray(picture))


def test_broken_images_do_not_reduce_the_number_of_patches_without_faces(places):
    good = sorted(places["negatives"].rglob("*.jpg"))
    for path in good[12:]:
        path.write_bytes(b"no image")
    counts, skipped = prepare(places, count=100, skip_broken=True)
    assert sum(counts.values(), Counter())["no face"] == 100
    assert len(skipped) == len(good) - 12


@pytest.mark.parametrize("images", [1, 2, 5])
def test_too_few_images_for_separate_parts_are_refused(places, images):
    for path in sorted(places["negatives"].rglob("*.jpg"))[images:]:
        path.unlink()
    with pytest.raises(
        ConfigError, match="no face: too few images for a validation part that shares none with the other"
    ):
        prepare(places)
    assert not list(places["out"].glob("*.parquet"))


BROKEN = {
    "UPDATE FaceRect SET x = 'abc' WHERE face_id = 1": r"face 1 \(image00000.png\): its rectangle .* is not numeric",
    "UPDATE FaceImages SET filepath = NULL WHERE file_id = 'image00004.png'": r"face 9 \(no image\): no image",
    "UPDATE FaceRect SET w = 0 WHERE face_id = 3": r"face 3 \(image00001.png\): its rectangle is 0x40 pixels",
    "UPDATE FaceRect SET x = 500 WHERE face_id = 4": r"face 4 \(image00001.png\): its rectangle lies outside",
    "DELETE FROM FaceRect WHERE face_id = 5": r"face 5 \(image00002.png\): no rectangle",
    "INSERT INTO FaceRect VALUES (6, 1, 1, 9, 9)": r"face 6 \(image00002.png\): 2 rectangles or images",
    "UPDATE FaceImages SET filepath = '0/lost' WHERE file_id = 'image00003.png'": r"face 7 \(lost\): no such image",
}


@pytest.mark.parametrize("statement", BROKEN)
def test_broken_rows_are_refused_by_name(tmp_path, statement):
    places = {
        "aflw": write_aflw(tmp_path, extra_rows=[statement]),
        "negatives": write_negatives(tmp_path),
        "out": tmp_path / "patches",
    }
    with pytest.raises(ConfigError, match=BROKEN[statement]):
        prepare(places)
    assert not list(places["out"].glob("*.parquet"))
    counts, skipped = prepare(places, skip_broken=True)
    assert counts["train"]["face"] + counts["validation"]["face"] == FACES - len(set(skipped))
    assert len(skipped) >= 1


def test_broken_images_are_refused_by_name(places):
    (places["negatives"] / "0" / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (9, 40)).save(places["negatives"] / "0" / "small.png")
    (places["aflw"] / "data" / "flickr" / "0" / "image00000.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="4 broken rows or images, nothing written") as raised:
        prepare(places)
    for name in (
        "face 1 (image00000.png): cannot be decoded",
        "broken.jpg: cannot be decoded",
        "small.png: 9x40 pixels",
    ):
        assert name in str(raised.value)
    counts, skipped = prepare(places, skip_broken=True)
    assert len(skipped) == 4
    assert sum(counts.values(), Counter()) == {"face": FACES - 2, "no face": FACES - 2}


class TestCommand:
    @pytest.fixture
    def prepare_aflw(self, fitnets):
        def call(places, *words) -> Finished:
            return fitnets("prepare", "aflw", *(f"--{name}={path}" for name, path in places.items()), *words)

        return call

    def test_output_names_the_patches_and_the_next_command(self, prepare_aflw, places):
        finished = prepare_aflw(places, "--count=40")
        assert finished.code == 0
        assert "patches with face" in finished.out
        assert f"python run.py dataset=aflw dataset.path={places['out']}" in finished.out
        assert sum(row["label"] == 0 for part in ("train", "validation") for row in rows(places["out"], part)) == 40

    def test_mistakes_are_refused_with_a_short_message(self, prepare_aflw, places, tmp_path):
        (tmp_path / "empty").mkdir()
        for name, message in (("aflw", "no aflw.sqlite in it"), ("negatives", "no image in it")):
            finished = prepare_aflw(places | {name: tmp_path / "empty"})
            assert finished.code == 1
            assert message in finished.err
            assert len(finished.err.splitlines()) <= 2
        for words, message in ((["--count=-2"], "-2 is less than 1"), (["--count=x"], "invalid")):
            finished = prepare_aflw(places, *words)
            assert finished.code == 2
            assert message in finished.err
        finished = prepare_aflw(places | {"out": "/proc/none"})
        assert finished.code == 1
        assert "--out /proc/none: cannot write there" in finished.err
        (places["aflw"] / "data" / "aflw.sqlite").write_bytes(b"no database, but long enough to be looked at" * 9)
        finished = prepare_aflw(places)
        assert finished.code == 1
        assert "is not AFLW's database" in finished.err


def test_a_run_on_the_patches_has_figures_on_validation_only(command, places, tmp_path):
    """The paper's networks and stages run. Errors are measured on validation, as in the paper."""
    prepare(places)
    small = ["teacher.convs.0.units=8", "teacher.convs.1.units=8", "teacher.convs.2.units=8", "student=fitnet_aflw1"]
    one = [
        f"schedule.{stage}.{key}" for stage in ("teacher", "hint", "student") for key in ("epochs=1", "batch_size=16")
    ]
    finished = command("dataset=aflw", f"dataset.path={places['out']}", *small, *one, "schedule=paper", "tracker=none")
    assert finished.code == 0, finished.err
    assert "student conv5 (32x6x6) learns teacher conv3 (8x2x2) through a 5x5 ReLU convolution" in finished.out
    assert "this data set has no test split, so all figures are on validation" in finished.out
    ((_, result),) = runs(tmp_path / "store").items()
    assert set(result["images"]) == {"train", "valid"}
    assert not [key for key in result["student"] if key.startswith("test")]
    dataset = loading.load(["dataset=aflw", f"dataset.path={places['out']}"]).dataset
    data = splits.load(dataset, tmp_path / "other", CPU, SILENCE)
    assert len(data.train) + len(data.valid) == 2 * FACES
    assert all_images(data.train).dtype == torch.float32


def test_parquet_files_of_another_data_set_are_not_replaced(places):
    import pyarrow as pa
    import pyarrow.parquet as pq

    prepare(places)
    prepare(places)  # files of an earlier call are replaced
    file = places["out"] / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"label": [1, 2]}), file)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="train-00000-of-00001.parquet there belongs to another data set"):
        prepare(places)
    assert file.read_bytes() == before
