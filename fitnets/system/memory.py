"""Sets up the C library's memory for a process that trains.

The setting cannot be read back and undone, so only commands make it, and never `import fitnets`."""

import ctypes


def keep_freed() -> None:
    """Let the C library keep freed memory for reuse. With another C library than glibc this does nothing.

    glibc returns large freed blocks to the system, and PyTorch's blocks are large: a small student spent a third of
    each step on getting them back."""
    no_mapped_blocks, trim_above = (-4, 0), (-1, 2**31 - 1)  # M_MMAP_MAX, M_TRIM_THRESHOLD of <malloc.h>
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows
        return
    if hasattr(library, "gnu_get_libc_version"):
        for parameter, value in (no_mapped_blocks, trim_above):
            library.mallopt(parameter, value)
