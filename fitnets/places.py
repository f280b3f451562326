"""Where `conf/` and `run.py` are: at the root of a checkout, in `fitnets/root` of an installed wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE / "root" if (_PACKAGE / "root").is_dir() else _PACKAGE.parent
CONF = ROOT / "conf"
RUN = ROOT / "run.py"


def expanded(path: str | Path) -> Path:
    """The path with `~` for a home as the shell has it. A folder of such a name stays where there is no such home."""
    return Path(os.path.expanduser(path))
