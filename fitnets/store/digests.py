"""SHA-256 digests of tensors and files. The digest of a file is kept in the store until the file changes."""

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
from fitnets.store.layout import StoreLayout

_SETTLED_S = 2.0
"""A file that changed less than this many seconds ago may change again within the resolution of its time stamp."""


def of_file(path: Path, root: Path | None) -> str:
    """SHA-256 of a file's content. The file is read again only if its path, size or times of change differ.

    root: store in which the digest is kept for later processes; None: keep it in this process only"""
    stat = path.stat()
    stamps = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _of_version(path.resolve(), stamps, root)


def of_tensors(*tensors: Tensor) -> str:
    """SHA-256 of the tensors' bytes, one tensor after the other."""
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
    """Size of a module's state dict in bytes."""
    return sum(len(_bytes(values)) for values in module.state_dict().values())


def _bytes(value: Any) -> Any:
    """The memory of a tensor, or the pickled form of another value in a state dict: extra state, quantised weights."""
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
        return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
    try:
        return pickle.dumps(value)
    except Exception:  # a user's class may raise anything
        return repr(value).encode()


@cache
def _of_version(path: Path, stamps: tuple[int, ...], root: Path | None) -> str:
    """Digest of a file, kept in the store if `root` is given. stamps: inode, size, times of change in ns."""
    record = StoreLayout(root).digest(content_hash(str(path), stamps)) if root else None
    if record is not None and record.exists():
        with files.advise_removal(record):
            return str(files.read_json(record)["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    changed_s = max(stamps[2:]) / 1e9
    if record is not None and time.time() - changed_s > _SETTLED_S:
        files.write_json(record, {"file": str(path), "sha256": digest})
    return digest
