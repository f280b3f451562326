"""Memory and disks that run out, and missing permissions, in a few lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fitnets.errors import UserError
from fitnets.system import permissions


class ResourceError(UserError, RuntimeError):
    """Memory or disk ran out."""


@contextmanager
def short_errors(root: Path) -> Iterator[None]:
    """Around the work of a run. root: of its store."""
    try:
        with permissions.in_words():
            yield
    except OSError as error:
        if error.errno not in permissions.FULL and "requested and" not in str(error):  # NumPy's words
            raise
        told = permissions.full_disk(error, root)
        raise ResourceError(f"{told}; then the same command goes on from its last checkpoint") from error
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory: {str(error).strip().splitlines()[0] if str(error) else 'nothing more is said'}\n"
            "give a smaller schedule.STAGE.batch_size or engine.eval_batch_size, or a smaller network"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    """PyTorch's CPU allocator, and CUDA's libraries, raise a bare RuntimeError."""
    words = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)
