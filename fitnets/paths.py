"""The places of `conf/`, `sweeps/` and `run.py`: the root of a checkout, or `fitnets/root` in an installed wheel."""

import os
import shlex
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
IS_WHEEL = (_PACKAGE / "root").is_dir()
ROOT = _PACKAGE / "root" if IS_WHEEL else _PACKAGE.parent
CONF = ROOT / "conf"
SWEEPS = ROOT / "sweeps"
RUN = ROOT / "run.py"


def command(folder: Path | None = None) -> list[str]:
    """Return the first words of a command that trains: `python run.py`, or `fitnets run` from an installed wheel.

    folder: folder in which the command is typed; None: the root of the checkout
    """
    if IS_WHEEL:
        return ["fitnets", "run"]
    return ["python", RUN.name if folder is None or folder.resolve() == ROOT else str(RUN)]


COMMAND = shlex.join(command())
"""`command()` as text, for messages."""


def expanded(path: str | Path) -> Path:
    """Expand `~` and `~user` as the shell does. A path that begins with `~` and names no user's home stays as it is."""
    return Path(os.path.expanduser(path))
