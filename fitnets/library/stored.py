"""Reads the runs of a store, for callers in Python and for `fitnets report`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError, NotEnoughError
from fitnets.library.host import untouched
from fitnets.paths import expanded
from fitnets.reporting import page
from fitnets.reporting import runs as stored_runs
from fitnets.reporting.factors import FACTORS
from fitnets.reporting.figures import saving

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def runs(store: str | Path = "outputs") -> "pd.DataFrame":
    """Return one row for each run of a store, finished or not.

    Accuracies and errors are fractions, losses are in nats, latencies in milliseconds. `analysis/README.md` describes
    the columns.

    Raises ConfigError if there is no such folder."""
    root = _existing(store)
    with untouched():
        return stored_runs.load(root)


def plot(kind: str, store: str | Path = "outputs", name: str | None = None) -> "Figure":
    """Return a figure of a store's runs; a notebook shows it as the value of a cell. No window system is needed.

    kind: trade_off, depth, curves, similarity or sweep
    name: for curves, the first digits of a run's hash; for sweep, the name of a study; None: the latest one

    Raises ConfigError for an unknown kind or name, or if the store lacks the runs for the figure."""
    saving.check_kind(kind)
    root = _existing(store)
    with untouched():
        try:
            return saving.draw(kind, root, name)
        except NotEnoughError as error:
            raise ConfigError(f"{root}: {error}") from error


def report(
    store: str | Path = "outputs",
    out: str | Path | None = None,
    *,
    against: str | None = None,
    differing: Sequence[str] = (),
    quiet: bool = True,
) -> Path:
    """Write one page with verdicts, figures and tables of a store's runs. Returns the page's path.

    out: folder for the page, the figures and the tables; None: STORE/report
    against: the method that every other one is compared with; None: kd
    differing: what else may differ between the two sides of that comparison, from `factors.FACTORS`
    quiet: show no progress

    Raises ConfigError if the store has no runs, or none of the method `against`."""
    if unknown := [name for name in differing if name not in FACTORS]:
        raise ConfigError(f"differing={unknown[0]}: no such factor (factors: {', '.join(FACTORS)})")
    root = expanded(store)
    folder = root / "report" if out is None else expanded(out)
    with untouched():
        try:
            track = {} if quiet else {"track": Terminal().track}
            return page.write(root, folder, **track, against=against, differing=differing)
        except NotEnoughError as error:
            raise ConfigError(str(error)) from error


def _existing(store: str | Path) -> Path:
    root = expanded(store)
    if not root.is_dir():
        raise ConfigError(f"{root}: no store: give the folder that runs use as store=DIR (by default outputs)")
    return root
