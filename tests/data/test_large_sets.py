"""Sets that are larger than the memory a process may take: only the images of a batch are in its memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.places import ROOT

_GB = 10**9
PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from fitnets.config import Augmentation
from fitnets.data.augmentation import Views
from fitnets.data.eight_bit import EightBitImages, Pixels, StoredRows
from fitnets.data.resizing import CentreView
from fitnets.data.splits import Split
from fitnets.store import arrays

path, size = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (size // 3, size // 3))
rows = StoredRows(arrays.mapped_array(Path(path), "r"))
pixels = Pixels([rows], CentreView(224, 224, 1.0, "bilinear"), torch.device("cpu"), is_streamed=True)
images = EightBitImages(pixels, torch.arange(256.0).repeat(3, 1))
split = Split(images, torch.zeros(len(rows), dtype=torch.long), torch.arange(len(rows)))
views = Views(Augmentation(crop_area=0.08, flip=True, mixup=0.2), 0)
seen = 0
for number, batch in enumerate(split.in_view(split.shuffled(32, 0), 0, views)):
    seen += len(batch)
    if number == 5:
        break
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seen, peak < 2e9)
"""


def sparse(path: Path, images: int) -> int:
    """Write the header of a file of black photos whose blocks the disk does not have. Returns its size in bytes."""
    facts = {"descr": "|u1", "fortran_order": False, "shape": (images, 3, 224, 224)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, facts)
        file.truncate(file.tell() + images * 3 * 224 * 224)
    return path.stat().st_size


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA and sparse files")
def test_a_file_larger_than_the_allowed_memory_is_read_batch_by_batch(tmp_path):
    """15 GB of photos, and a third of that as the limit."""
    size = sparse(tmp_path / "images.npy", 100_000)
    assert size > 15 * _GB
    given = [sys.executable, "-c", PROGRAM, str(tmp_path / "images.npy"), str(size)]
    done = subprocess.run(given, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["192", "True"]
