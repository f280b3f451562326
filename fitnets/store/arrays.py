"""Arrays that are mapped from files of a store."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fitnets.errors import DamagedError
from fitnets.store import files
from fitnets.system import permissions


def mapped_array(path: Path, mode: Literal["r", "c"] = "c") -> NDArray[Any]:
    """Map an array from its file. Raises DamagedError with the way out.

    mode: c: the array may be written to, and the file stays as it is; r: the array must not be written to, and takes no
        memory of the process however large it is"""
    with files.advise_removal(path.parent):
        try:
            array: NDArray[Any] = np.load(path, mmap_mode=mode)
        except (*permissions.DAMAGE, EOFError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from error
    return array
