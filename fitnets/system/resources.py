"""Short error messages for full memory, full disks and missing permissions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fitnets.errors import UserError
from fitnets.system import permissions


class ResourceError(UserError, RuntimeError):
    """Memory or disk space ran out."""


@contextmanager
def short_errors(root: Path) -> Iterator[None]:
    """Raise errors of memory, disks and permissions inside the block as errors with a short message.

    root: folder of the store

    Raises ResourceError if memory or disk space runs out, FileError if a permission is missing.
    """
    try:
        with permissions.in_words():
            yield
    except OSError as error:
        if error.errno not in permissions.FULL and "requested and" not in str(error):  # NumPy's message for a full disk
            raise
        message = permissions.full_disk(error, root)
        raise ResourceError(f"{message}; then the same command resumes from its last checkpoint") from error
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory: {str(error).strip().splitlines()[0] if str(error) else 'the error has no message'}\n"
            "give a smaller schedule.STAGE.batch_size or engine.eval_batch_size, or a smaller network"
        ) from error


def memory_left() -> int:
    """Bytes of main memory that this process may still take, by the machine and by its control group."""
    import psutil

    left = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return left
    return left if limit == "max" else max(0, min(left, int(limit) - used))


def anonymous_memory() -> int | None:
    """Bytes of main memory of this process that are not mapped from files; None where the system does not tell."""
    import psutil

    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared if hasattr(memory, "shared") else None


def _is_out_of_memory(error: BaseException) -> bool:
    """Recognise out-of-memory errors, also the bare RuntimeError of PyTorch's CPU allocator and of CUDA libraries."""
    messages = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(message in str(error) for message in messages)
