"""Where `conf/`, `sweeps/` and `run.py` are: at the root of a checkout, in `fitnets/root` of an installed wheel."""

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
    """The first words of a command that trains: `python run.py`, or `fitnets run` from an installed wheel.

    folder: where the command is typed; None: at the root of the checkout."""
    if IS_WHEEL:
        return ["fitnets", "run"]
    return ["python", RUN.name if folder is None or folder.resolve() == ROOT else str(RUN)]


COMMAND = shlex.join(command())
"""for messages"""


def expanded(path: str | Path) -> Path:
    """The path with `~` for a home as the shell has it. A folder of such a name stays where there is no such home."""
    return Path(os.path.expanduser(path))
