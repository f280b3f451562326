"""A student is trained on a user's photos and exported, and the exported file classifies new photos."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from fitnets.data import image_files
from fitnets.store import earlier_runs
from support.named_runs import WORDS, listing

CLASSES = ("dog & cat", "Äpfel", "猫")
COUNTS = {"train": 14, "val": 4, "test": 5}
KINDS = ("rgb", "rgba", "cmyk", "palette", "grey16", "turned", "la")


def photo(label: int, number: int) -> Image.Image:
    """A photo of 24x36 pixels with a bright band; the height of the band shows the class."""
    pixels = np.random.default_rng([label, number]).integers(0, 60, (36, 24, 3))
    pixels[12 * label : 12 * label + 12] += 180
    return Image.fromarray(pixels.astype("uint8"))


def write(folder: Path, label: int, number: int) -> Path:
    """Write one photo in the format and mode that its number selects."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, shown = KINDS[number % len(KINDS)], photo(label, number)
    path = folder / f"{number:02} – {kind}.{'jpg' if kind in ('rgb', 'cmyk', 'turned') else 'png'}"
    match kind:
        case "rgba" | "la":
            shown = shown.convert({"rgba": "RGB", "la": "L"}[kind])
            shown.putalpha(255)
            shown.save(path)
        case "cmyk":
            shown.convert("CMYK").save(path, quality=95)
        case "palette":
            shown.convert("P", palette=Image.Palette.ADAPTIVE).save(path)
        case "grey16":
            Image.fromarray(np.asarray(shown.convert("L")).astype(np.uint16) * 257).save(path)
        case "turned":  # stored on its side, with an EXIF tag that turns it upright
            exif = Image.Exif()
            exif[0x0112] = 6
            shown.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
        case _:
            shown.save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("walk")
    for part, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            for number in range(count):
                write(root / "photos" / part / name, label, number + 100 * list(COUNTS).index(part))
    for part in COUNTS:
        (root / "photos" / part / CLASSES[1] / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    for label in (0, 2):
        for number in range(7):
            write(root / "new" / CLASSES[label], label, 1000 + number)
    return root


def test_own_photos_become_an_exported_student_that_names_new_ones(command, fitnets, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = listing(photos)
    words = [word.replace("epochs=1", "epochs=8").replace("=8", "=16") if "dataset" in word else word for word in WORDS]
    words = [word.replace("epochs=1", "epochs=8").replace("channels=1", "channels=3") for word in words]
    words += [f"dataset.path={photos / 'photos'}", "engine.threads=1"]

    refused = command(*words)
    assert refused.code == 1
    assert "damaged.jpg" in refused.err
    assert "dataset.skip_broken=true" in refused.err

    trained = command(*words, "dataset.skip_broken=true")
    assert trained.code == 0, trained.err
    (run,) = (tmp_path / "store" / "run").glob("[0-9a-f]*")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["classes"] == list(CLASSES)
    assert result["images"] == {"train": 42, "valid": 12, "test": 15}
    assert result["student"]["test_accuracy"] > 0.9

    exported = fitnets("export", run)
    assert exported.code == 0, exported.err
    session = onnxruntime.InferenceSession(run / "export" / "student.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["classes"].split("\n") == list(CLASSES)

    evaluated = json.loads(fitnets("eval", run, f"dataset.path={photos / 'new'}", "--json").out)
    assert (evaluated["class_images"], evaluated["accuracy"]) == ([7, 0, 7], 1)

    (photos / "new" / "broken.png").write_bytes(b"no image")
    predicted = fitnets("predict", run, photos / "new", "--json")
    (photos / "new" / "broken.png").unlink()
    assert predicted.code == 1
    report = json.loads(predicted.out)
    assert [Path(one["file"]).name for one in report["broken"]] == ["broken.png"]
    assert all(one["class"] == Path(one["file"]).parent.name for one in report["predictions"])

    dataset = earlier_runs.find_network(str(run), "RUN").config.dataset
    for one in report["predictions"]:  # the exported file, which a phone would run, predicts the same
        pixels = image_files.pixels(dataset, Path(one["file"]))
        (logits,) = session.run(["logits"], {"images": np.stack([pixels])})
        assert CLASSES[int(logits.argmax())] == one["class"]
    assert listing(photos) == before
    assert listing(tmp_path) & {"outputs", "data", "export"} == set()
