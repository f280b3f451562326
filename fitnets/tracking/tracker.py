"""The interface of trackers, which mirror the run directory. A tracker that fails never ends a run."""

from collections.abc import Callable
from typing import Any, Protocol

Say = Callable[[str], None]


class Tracker(Protocol):
    """Receives the metrics and the result of one run."""

    def log(self, step: int, row: dict[str, Any]) -> None:
        """Log the metrics of an epoch as `<stage>/<metric>`.

        step: epochs since the start of the run, over all stages"""

    def summarise(self, result: dict[str, Any]) -> None:
        """Log the final `result.json`. Failed runs have one too."""

    def keep_student(self) -> None:
        """Log the files of the finished student, if the tracker is configured to."""


class NoTracking:
    """A tracker that does nothing."""

    def log(self, step: int, row: dict[str, Any]) -> None:
        pass

    def summarise(self, result: dict[str, Any]) -> None:
        pass

    def keep_student(self) -> None:
        pass
