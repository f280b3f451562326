"""Transparent pixels are white in folders and in Parquet files, whatever colour they hide."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitnets.composition import loading
from fitnets.data import sources
from fitnets.data.reading import encoded_image
from fitnets.data.reading import folder as folders
from support.datasets import hub_images, in_silence
from support.made_files import folder, of_folder, of_tables, table


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(depth: int, kind: int, row: bytes, key: bytes | None = None, palette: bytes = b"") -> bytes:
    """A PNG file with one row of two pixels, built by hand because Pillow cannot write all kinds.

    depth: bits per value.
    kind: PNG colour type.
    row: encoded pixels.
    key: content of the tRNS chunk."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, kind, 0, 0, 0))
    colours = chunk(b"PLTE", palette) if palette else b""
    transparent = chunk(b"tRNS", key) if key is not None else b""
    content = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + colours + transparent + content + chunk(b"IEND", b"")


GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
FILES = {  # the first pixel is transparent, the second is not: (file, grey of the second)
    "grey, 1 bit": (png(1, GREY, bytes([0b01000000]), struct.pack(">H", 0)), 255),
    "grey, 2 bits": (png(2, GREY, bytes([0b01100000]), struct.pack(">H", 1)), 170),
    "grey, 4 bits": (png(4, GREY, bytes([0x39]), struct.pack(">H", 3)), 153),
    "grey, 8 bits": (png(8, GREY, bytes([3, 9]), struct.pack(">H", 3)), 9),
    "grey, 16 bits": (png(16, GREY, struct.pack(">HH", 0x1234, 0x1299), struct.pack(">H", 0x1234)), 0x12),
    "RGB": (png(8, RGB, bytes([1, 2, 3, 7, 7, 7]), struct.pack(">HHH", 1, 2, 3)), 7),
    "RGB, 16 bits": (
        png(16, RGB, struct.pack(">6H", 256, 512, 768, 1792, 1792, 1792), struct.pack(">HHH", 256, 512, 768)),
        7,
    ),
    "grey with alpha": (png(8, GREY_ALPHA, bytes([9, 0, 9, 255])), 9),
    "grey with alpha, 16 bits": (png(16, GREY_ALPHA, struct.pack(">4H", 2304, 0, 2304, 65_535)), 9),
    "RGBA": (png(8, RGBA, bytes([9, 9, 9, 0, 9, 9, 9, 255])), 9),
    "RGBA, 16 bits": (png(16, RGBA, struct.pack(">8H", *[2304] * 3, 0, *[2304] * 3, 65_535)), 9),
    "palette": (png(8, PALETTE, bytes([0, 1]), bytes([0, 255]), bytes([1, 2, 3, 8, 8, 8])), 8),
    "palette, 4 bits": (png(4, PALETTE, bytes([0x01]), bytes([0]), bytes([1, 2, 3, 8, 8, 8])), 8),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILES)
def test_a_transparent_pixel_is_white(name, channels):
    content, grey = FILES[name]
    opened = encoded_image.open_image(content, channels)
    assert opened.transparent
    np.testing.assert_array_equal(encoded_image.pixels(opened.picture), np.full((channels, 1, 2), [255, grey]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "RGBA", "LA"])
def test_transparent_pictures_of_every_mode_are_white(mode, channels):
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (100, 100, 100, 255))
    through = {"La": ("LA", "La"), "RGBa": ("RGBa",), "PA": ("P", "PA"), "RGBA": (), "LA": ("LA",)}[mode]
    for step in through:
        picture = picture.convert(step)
    values = encoded_image.pixels(encoded_image.in_8_bits(picture, channels))
    np.testing.assert_array_equal(values, np.full((channels, 1, 2), [255, 100]))


def test_half_transparent_is_half_white():
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert encoded_image.pixels(encoded_image.in_8_bits(half, 3)).ravel().tolist() == [127, 127, 127]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "CMYK", "1"])
def test_opaque_images_are_converted_by_pillow_alone(mode):
    values = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(values).convert(mode)
    for channels, target in ((1, "L"), (3, "RGB")):
        expected = np.asarray(picture.convert(target))
        np.testing.assert_array_equal(np.asarray(encoded_image.in_8_bits(picture, channels)), expected)


def shades(root: Path) -> list[bytes]:
    """Write black images of two classes that differ in transparency only. Returns the files' contents."""
    files = []
    for number, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for index in range(4):
            alpha = np.full((4, 5), 40 + 190 * number + index, dtype=np.uint8)
            pixels = np.dstack([np.zeros((4, 5, 3), dtype=np.uint8), alpha])
            Image.fromarray(pixels).save(root / name / f"{index}.png")
            files.append((root / name / f"{index}.png").read_bytes())
    return files


def test_folders_and_tables_give_equal_pixels_and_a_note(tmp_path):
    files = shades(tmp_path / "images")
    for split in ("train", "test"):
        table(tmp_path / "made" / f"{split}-00000-of-00001.parquet", files, [0, 0, 0, 0, 1, 1, 1, 1])
    assert "images: 8 of 8 images are transparent: laid on white" in of_folder(tmp_path / "images").notes
    tables = of_tables(tmp_path / "made", classes=2, validation_images=2)
    assert "train: 8 of 8 images are transparent: laid on white" in tables.notes
    assert "test: 8 of 8 images are transparent: laid on white" in tables.notes
    words = [
        "dataset=folder",
        f"dataset.path={tmp_path / 'images'}",
        "dataset.channels=1",
        "dataset.height=4",
        "dataset.width=5",
    ]
    dataset = loading.load(words).dataset
    names = [f"{name}/{index}.png" for name in "ab" for index in range(4)]
    from_folder = folders.decode(dataset, names, in_silence).images.array
    from_table, labels = sources.source(hub_images(tmp_path / "made", classes=2), "train").decode(in_silence)
    np.testing.assert_array_equal(from_folder, from_table)
    assert from_folder[labels == 0].min() > from_folder[labels == 1].max() > 0
    one = folders.pixels(dataset, tmp_path / "images" / "a" / "0.png")
    np.testing.assert_array_equal(one, from_folder[0])


def test_opaque_images_get_no_note(tmp_path):
    root = folder(tmp_path / "images")
    file = BytesIO()
    Image.new("RGBA", (8, 8), (9, 9, 9, 255)).save(file, "PNG")
    (root / "a" / "opaque.png").write_bytes(file.getvalue())
    assert of_folder(root).notes == ""
