"""Digests of tensors, and of files: remembered in the store as long as a file does not change."""

import hashlib
import pickle
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fitnets.config.options import content_hash
from fitnets.store import files

_SETTLED_S = 2.0
"""a file changed less than so many seconds ago may change again within the same time stamp"""


def of_file(path: Path, root: Path | None) -> str:
    """SHA-256 of a file's content, read once as long as place, size and times of change stay.

    root: of the store that remembers it for later processes; None: this process alone does."""
    stat = path.stat()
    stamps = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _of_version(path.resolve(), stamps, root)


def of_tensors(*tensors: Tensor) -> str:
    """SHA-256 of their bytes, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def of_state(module: nn.Module) -> str:
    """SHA-256 of a module's state dict: parameters, buffers, extra state."""
    state = module.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(_bytes(state[name]))
    return digest.hexdigest()


def bytes_of_state(module: nn.Module) -> int:
    """Size of a module's state dict."""
    return sum(len(_bytes(values)) for values in module.state_dict().values())


def _bytes(value: Any) -> Any:
    """A tensor's memory; of anything else in a state dict (extra state, quantised weights) its pickled form."""
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
        return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
    try:
        return pickle.dumps(value)
    except Exception:  # of the user's classes
        return repr(value).encode()


@cache
def _of_version(path: Path, stamps: tuple[int, ...], root: Path | None) -> str:
    remembered = root / "digests" / f"{content_hash(str(path), stamps)}.json" if root else None
    if remembered is not None and remembered.exists():
        with files.made_again(remembered):
            return str(files.read_json(remembered)["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    changed_s = max(stamps[2:]) / 1e9
    if remembered is not None and time.time() - changed_s > _SETTLED_S:
        files.write_json(remembered, {"file": str(path), "sha256": digest})
    return digest
