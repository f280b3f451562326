"""The report of a store: `fitnets report outputs`.

`report.html` holds everything that it shows, so it opens from disk without a network. Beside it lie the figures as PNG
and SVG, the tables of runs and epochs as Parquet and CSV, and Markdown tables for papers and READMEs."""

import base64
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

from fitnets.console.quantities import plural
from fitnets.errors import NotEnoughError
from fitnets.reporting import against as ranked
from fitnets.reporting import factors, page_data, runs, studies, summary, tables, verdicts
from fitnets.reporting.against import Ranking
from fitnets.reporting.figures import gallery
from fitnets.reporting.figures.style import default_style
from fitnets.reporting.studies import Study
from fitnets.reporting.verdicts import Comparison
from fitnets.store import files

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""Returns the items that it gets and shows progress as they are used. The string names the work."""
_TEMPLATES = Path(__file__).parent / "templates"
_ENVIRONMENT_COLUMNS = {
    "device": "device",
    "PyTorch": "torch",
    "system": "platform",
    "commit": "commit",
    "precision": "precision",
}
"""Label and column of each line of the page's last section."""


def write(
    store: Path,
    out: Path,
    track: Track = lambda items, _: items,
    *,
    against: str | None = None,
    differing: Sequence[str] = (),
) -> Path:
    """Write the whole report into the folder `out`. Returns the path of the page.

    against: the method that every other method is compared with; None: kd, if there are such runs
    differing: what may differ between the runs of that comparison beside the method, from `factors.FACTORS`

    Raises NotEnoughError if the store has no runs, or none of the method `against`.
    """
    loaded_studies = studies.load(store, with_importances=True)
    frame = runs.load(store, loaded_studies)
    if frame.empty:
        raise NotEnoughError(
            f"{store}: no runs in it: give the folder that your runs had as store= (by default outputs)"
        )
    if against is not None and against not in set(frame["method"].dropna()):
        methods = ", ".join(sorted(frame["method"].dropna().unique()))
        raise NotEnoughError(f"--against {against}: no run of that method in {store} (methods: {methods})")
    epochs = runs.epochs(store)
    figures = gallery.draw_all(frame, loaded_studies)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    images = {}
    for name, figure in track(list(figures.items()), "drawing"):
        images[name] = _save(figure, out / "figures" / name)
    files.write(out / "runs.parquet", frame.to_parquet())
    files.write(out / "epochs.parquet", epochs.to_parquet())
    files.write(out / "runs.csv", frame.to_csv(index=False).encode(errors="replace"))
    comparisons = verdicts.comparisons(frame)
    rankings = ranked.rankings(factors.regrouped(frame, differing), against or "kd")
    files.write(out / "tables.md", tables.document(frame, comparisons, rankings).encode(errors="replace"))
    page = out / "report.html"
    data = page_data.collect(frame, epochs, runs.confusions(store))
    name = store.resolve().name
    text = _html(
        name, frame, data, comparisons=comparisons, rankings=rankings, loaded_studies=loaded_studies, images=images
    )
    files.write(page, text.encode(errors="replace"))
    return page


def _save(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG and SVG. Returns the SVG."""
    png, svg = io.BytesIO(), io.BytesIO()
    with default_style(), matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(png, format="png")
        figure.savefig(svg, format="svg", metadata={"Date": None})
    for kind, image in (("png", png), ("svg", svg)):
        files.write(path.with_name(f"{path.name}.{kind}"), image.getvalue())
    return svg.getvalue()


def _html(
    name: str,
    frame: pd.DataFrame,
    data: dict[str, Any],
    *,
    comparisons: list[Comparison],
    rankings: list[Ranking],
    loaded_studies: list[Study],
    images: dict[str, bytes],
) -> str:
    """Fill the page's template.

    name: the store's name
    frame: rows of `runs.load`
    data: what the page's script draws, from `page_data.collect`
    images: SVGs by file name; the page draws the trade-offs itself
    """
    loader = PackageLoader("fitnets.reporting", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    shown = {key: svg for key, svg in images.items() if not key.startswith("trade_off")}
    counts = ", ".join(f"{count} {status}" for status, count in frame["status"].value_counts().items())
    return environment.get_template("report.html").render(
        title=f"fitnets: runs of {name}",
        counts=f"{plural(len(frame), 'run')}: {counts}",
        made=datetime.now().strftime("%Y-%m-%d %H:%M"),
        headlines=summary.headlines(frame),
        settings=summary.verdicts_by_setting(comparisons),
        rankings=rankings,
        has_points=bool(data["points"]),
        has_paper=bool(data["paper"]),
        figures=[(key.replace("_", " "), f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")
                 for key, svg in shown.items()],
        studies=[summary.study_line(study) for study in loaded_studies],
        environment=_environment_lines(frame),
        data=_embedded(data),
        plotly=Markup(get_plotlyjs()),
        css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "report.js").read_text(encoding="utf-8")),
    )  # fmt: skip


def _embedded(data: dict[str, Any]) -> Markup:
    """Write JSON that cannot close the script element around it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _environment_lines(frame: pd.DataFrame) -> list[str]:
    """The devices, versions and commits that the runs were made with, each with its number of runs."""
    lines = []
    for label, column in _ENVIRONMENT_COLUMNS.items():
        counts = frame[column].value_counts()
        if len(counts):
            values = ", ".join(f"{value} ({plural(count, 'run')})" for value, count in counts.items())
            lines.append(f"{label}: {values}")
    return lines
