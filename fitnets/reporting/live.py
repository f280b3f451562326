"""Learning curves that grow in a notebook while a run trains."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fitnets.config import Config
from fitnets.reporting.figures.training import curves

_BLOCKS = 30
"""width of a progress bar, in characters"""


class LearningCurves:
    """A callback for `fitnets.run(config, on_epoch=...)`: progress bars of the stages above the curves of all epochs.

    The cell's output is replaced with every epoch, so that a published notebook holds the last one alone."""

    def __init__(self, config: Config):
        schedule = config.schedule
        self.epochs = {name: getattr(schedule, name).epochs for name in ("teacher", "hint", "student")}
        self.rows: list[dict[str, Any]] = []
        self._bars: Any = None
        self._figure: Any = None

    def __call__(self, row: dict[str, Any]) -> None:
        from IPython import display

        self.rows.append(row)
        html: Any = display.HTML
        show: Any = display.display
        bars = html(f"<pre>{self.bars()}</pre>")
        if self._bars is None:
            self._bars, self._figure = show(bars, display_id=True), show(self.figure(), display_id=True)
        else:
            self._bars.update(bars)
            self._figure.update(self.figure())

    def bars(self) -> str:
        """One line for each stage that has begun."""
        lines = []
        for stage in dict.fromkeys(row["stage"] for row in self.rows):
            done = sum(row["stage"] == stage for row in self.rows)
            total = max(done, self.epochs.get(stage, done))
            filled = _BLOCKS * done // total
            lines.append(f"{stage:<15} {'█' * filled}{'░' * (_BLOCKS - filled)} {done}/{total} epochs")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """The learning curves so far."""
        return curves(pd.DataFrame(self.rows))
