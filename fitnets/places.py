"""Where `conf/` and `run.py` are: at the root of a checkout, in `fitnets/root` of an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE / "root" if (_PACKAGE / "root").is_dir() else _PACKAGE.parent
CONF = ROOT / "conf"
RUN = ROOT / "run.py"
