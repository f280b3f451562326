"""One documented rule for each kind of file: its content decides, and photos are turned upright."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitnets.data.reading import encoded_image
from fitnets.data.reading.encoded_image import BrokenImage


def pixels(path: Path, channels: int = 3) -> list:
    with encoded_image.without_warnings():
        return encoded_image.pixels(encoded_image.open_image(path, channels).picture).tolist()


def test_a_cmyk_jpeg_is_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    red, green, blue = (np.asarray(plane) for plane in pixels(tmp_path / "red.jpg"))
    assert red.min() > 230
    assert max(green.max(), blue.max()) < 30


def test_a_gif_shows_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "two.gif") == [[[255, 255], [255, 255]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_16_bit_grey_is_scaled(tmp_path):
    Image.fromarray(np.array([[0, 256, 25700, 32768, 65535]], np.uint16)).save(tmp_path / "grey.png")
    assert pixels(tmp_path / "grey.png", 1) == [[[0, 1, 100, 128, 255]]]


def test_a_palette_shows_its_colours(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 210, 220])
    picture.putdata([1, 0])
    picture.save(tmp_path / "palette.png")
    assert pixels(tmp_path / "palette.png") == [[[200, 10]], [[210, 20]], [[220, 30]]]


def test_a_photo_is_turned_as_its_exif_block_says(tmp_path):
    """4 pixels wide and 2 high in the file, with orientation 6: the left column becomes the top row."""
    array = np.zeros((2, 4, 3), np.uint8)
    array[:, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    assert pixels(tmp_path / "turned.png", 1) == [[[255, 255], [0, 0], [0, 0], [0, 0]]]


def test_the_content_decides_and_not_the_suffix(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.JPEG")
    assert pixels(tmp_path / "picture.JPEG") == [[[1]], [[2]], [[3]]]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_header_of_too_many_pixels_is_refused_before_memory_is_taken(tmp_path):
    """Pillow's limit is 178,956,970 pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13378, 13378, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(BrokenImage, match="DecompressionBomb"):
        pixels(tmp_path / "bomb.png")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_half_a_jpeg_is_broken(tmp_path, share):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "part.jpg").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BrokenImage, match=r"it is empty|its end is missing"):
        pixels(tmp_path / "part.jpg")
