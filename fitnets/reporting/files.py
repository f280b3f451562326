"""Writes files in one step, so that a reader never sees half of one."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write the content under a temporary name in the same folder, then rename it to `path`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
