"""Photos of different sizes in memory, and every kind of augmentation."""

import numpy as np
import torch

from fitnets.config import Scale
from fitnets.data import preprocessing
from fitnets.data.eight_bit import EightBitImages, Pixels, StoredRows
from fitnets.data.resizing import CentreView
from support.datasets import CPU

AUGMENTATIONS = {
    "crop": {"crop_area": 0.08},
    "crop and flip": {"crop_area": 0.35, "flip": True},
    "trivial": {"policy": "trivial"},
    "rand": {"policy": "rand", "operations": 3, "magnitude": 15},
    "colour": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "mixup": {"mixup": 0.5},
    "cutmix": {"cutmix": 1.0},
    "all": {
        "flip": True,
        "pad": 2,
        "crop_area": 0.08,
        "policy": "rand",
        "hue": 0.1,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}
POOL = torch.arange(30)


def photos(*, uniform_size: bool = False) -> EightBitImages:
    generator = np.random.default_rng(0)
    sizes = [(20, 20) if uniform_size else (20 + number, 44 - number) for number in range(30)]
    images = [generator.integers(0, 256, (3, *size), dtype=np.uint8) for size in sizes]
    if uniform_size:
        rows = StoredRows(np.stack(images))
    else:
        rows = StoredRows(np.concatenate([image.reshape(-1) for image in images]), None, np.asarray(sizes, np.int32), 3)
    table = preprocessing.table(Scale(), {}, 255, 3)
    return EightBitImages(Pixels([rows], CentreView(20, 20, 0.9, "bilinear"), CPU), table)
