"""Makes timm importable beside a build of PyTorch that torchvision was not made for."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

_FOLDER = Path(sys.prefix) / "timm"
"""where `make .venv/installed` puts timm and torchvision. Other processes do not see them: with a torchvision that
cannot be imported, transformers could not be either"""
_KEPT: list[torch.library.Library] = []
"""the library of operators, which exist as long as it does"""


def import_timm() -> None:
    """Import timm, or skip the test if it is not installed. Operators that torchvision's own build would bring are
    declared first; no image model calls them."""
    if _FOLDER.is_dir() and str(_FOLDER) not in sys.path:
        sys.path.append(str(_FOLDER))
    if importlib.util.find_spec("timm") is None or importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs timm and torchvision: make .venv/installed installs them")
    if not _KEPT:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
    import timm  # noqa: F401
