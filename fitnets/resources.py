"""Memory and disk that run out, told in short."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fitnets.options import ToldError


class ResourceError(ToldError, RuntimeError):
    """Memory or disk ran out."""


@contextmanager
def told_in_short(root: Path) -> Iterator[None]:
    """Around the work of a run. root: of its store."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "requested and" not in str(error):  # NumPy's words
            raise
        raise ResourceError(
            f"no room left on the disk of store={root}: free some (fitnets clean shows what is not needed), then the "
            "same command goes on from its last checkpoint"
        ) from error
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
