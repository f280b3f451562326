"""FitNets: train thin deep students from big teachers with hints (Romero et al., ICLR 2015, arXiv:1412.6550).

    import fitnets

    result = fitnets.run(["dataset=digits", "tracker=none"])
    student = fitnets.load(result.folder)
    logits = student(images)  # raw images: uint8 (N, C, H, W), or Pillow images

The names of `__all__` are the public interface. Each one is imported when it is first used, so that `import fitnets`
takes milliseconds.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitnets.config import Config as Config
    from fitnets.errors import ConfigError as ConfigError
    from fitnets.library.composing import compose as compose
    from fitnets.library.exported import export as export
    from fitnets.library.loading import load as load
    from fitnets.library.running import STOP as STOP
    from fitnets.library.running import Result as Result
    from fitnets.library.running import run as run
    from fitnets.library.stored import plot as plot
    from fitnets.library.stored import report as report
    from fitnets.library.stored import runs as runs
    from fitnets.library.student import Student as Student

__all__ = [
    "STOP",
    "Config",
    "ConfigError",
    "Result",
    "Student",
    "compose",
    "export",
    "load",
    "plot",
    "report",
    "run",
    "runs",
]

_PLACES = {  # public name: module that defines it
    "STOP": "fitnets.library.running",
    "Config": "fitnets.config",
    "ConfigError": "fitnets.errors",
    "Result": "fitnets.library.running",
    "Student": "fitnets.library.student",
    "compose": "fitnets.library.composing",
    "export": "fitnets.library.exported",
    "load": "fitnets.library.loading",
    "plot": "fitnets.library.stored",
    "report": "fitnets.library.stored",
    "run": "fitnets.library.running",
    "runs": "fitnets.library.stored",
}


def __getattr__(name: str) -> Any:
    """Import a public name. No module of the package has such a name, so nothing can take its place."""
    if name in _PLACES:
        path = list(sys.path)
        value = globals()[name] = getattr(import_module(_PLACES[name]), name)
        sys.path[:] = path  # ONNX Runtime adds a folder of its own
        return value
    from difflib import get_close_matches  # standard library: looking up a wrong name imports nothing heavy

    close = "".join(f"; did you mean {other}?" for other in get_close_matches(name, __all__, n=1))
    raise AttributeError(f"module 'fitnets' has no attribute {name!r}{close}")


def __dir__() -> list[str]:
    return sorted(__all__)
