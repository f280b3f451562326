"""Draws one figure of a store by its name, and saves it."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fitnets.errors import ConfigError, NotEnoughError, suggest
from fitnets.reporting import notebook, runs, studies, tradeoff
from fitnets.reporting.figures.depth import depth
from fitnets.reporting.figures.studies import study_progress
from fitnets.reporting.figures.style import default_style
from fitnets.reporting.figures.trade_off import trade_off
from fitnets.reporting.figures.training import curves, similarity
from fitnets.store import files

SUFFIXES = (".png", ".svg", ".pdf")


def check_path(path: Path) -> None:
    """Raise ConfigError unless the path's suffix names a format."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"-o {path}: no such format: give a file that ends in {', '.join(SUFFIXES)}")


def check_kind(kind: str) -> None:
    """Raise ConfigError for an unknown figure."""
    if kind not in KINDS:
        raise ConfigError(f"{kind}: no such figure{suggest(kind, list(KINDS))} (figures: {', '.join(KINDS)})")


def draw(kind: str, store: Path, name: str | None = None) -> Figure:
    """Draw a figure of a store's runs.

    kind: a key of KINDS
    name: for curves, the first digits of a run's hash; for sweep, the name of a study; None: the latest one

    Raises ConfigError for an unknown kind or name, NotEnoughError if the store lacks the runs for it."""
    check_kind(kind)
    if name is not None and kind not in ("curves", "sweep"):
        raise ConfigError(f"--name {name}: {kind} is drawn from all runs: only curves and sweep take a name")
    return KINDS[kind](store, name)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix. If drawing fails, an earlier file stays as it is."""
    check_path(path)
    content = io.BytesIO()
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    with default_style(), matplotlib.rc_context({"svg.hashsalt": "fitnets"}):
        figure.savefig(content, format=path.suffix.lower()[1:], metadata=metadata)
    files.write(path, content.getvalue())


def _curves(store: Path, name: str | None) -> Figure:
    done = tradeoff.finished(runs.load(store))
    matching = done[done["run"].str.startswith(name or "")]
    if name is not None and matching.empty:
        raise ConfigError(f"--name {name}: no finished run of {store} begins with it (`fitnets runs` lists them)")
    if matching.empty:
        raise NotEnoughError("no run is finished")
    epochs = runs.epochs(store)
    return curves(epochs[epochs["run"] == matching["run"].iloc[-1]])


def _sweep(store: Path, name: str | None) -> Figure:
    loaded = [study for study in studies.load(store) if study.error is None]
    if name is not None:
        names = [study.name for study in loaded]
        if name not in names:
            known = f"{suggest(name, names)} (studies: {', '.join(names) or 'none'})"
            raise ConfigError(f"--name {name}: no such study{known}")
        loaded = [study for study in loaded if study.name == name]
    drawable = [study for study in loaded if len(study.objectives) in (1, 2) and len(study.finished()) > 1]
    if not drawable:
        raise NotEnoughError(studies.NO_STUDY if not loaded else "no study has two finished trials")
    return study_progress(drawable[-1])


KINDS: dict[str, Callable[[Path, str | None], Figure]] = {
    "trade_off": lambda store, _: trade_off(notebook.one_task(runs.load(store))),
    "depth": lambda store, _: depth(notebook.one_task(runs.load(store))),
    "curves": _curves,
    "similarity": lambda store, _: similarity(
        notebook.largest_setting(runs.load(store).dropna(subset=["similarity_after_student"]))
    ),
    "sweep": _sweep,
}
"""Figures by name: accuracy against multiplications, accuracy by depth, the learning curves of a run, how similar the
guided layer becomes to the hint layer, and the progress of a study."""
