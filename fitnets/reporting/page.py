"""One page for a store of runs: `fitnets report outputs`, or `python -m fitnets.reporting.page outputs`.

`report.html` holds all it needs and opens from disk without a network. Beside it: figures as PNG and SVG, the tables as
Parquet and CSV, and Markdown tables for papers and READMEs."""

import base64
import io
import json
import math
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

from fitnets.console import markdown, quantities
from fitnets.console.quantities import plural
from fitnets.errors import NotEnoughError
from fitnets.reporting import controls, figures, paper, runs, studies, tradeoff, verdicts
from fitnets.reporting.studies import Study
from fitnets.reporting.tradeoff import COSTS
from fitnets.reporting.verdicts import Comparison
from fitnets.store import files

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""of (items, what is done with them): the same items, with progress shown"""
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross",
            "<": "triangle-left", ">": "triangle-right", "X": "x", "h": "hexagon"}  # fmt: skip
"""matplotlib's markers, as Plotly names them"""
_COLUMNS = [  # key, heading, format, of the page's table
    ("run", "run", "text"), ("status", "status", "text"), ("data", "data", "text"), ("method", "method", "text"),
    ("label", "student", "text"), ("seed", "seed", "text"), ("valid", "validation", "percent"),
    ("test", "test", "percent"), ("multiplications", "mult. of an image", "number"),
    ("parameters", "parameters", "number"), ("latency_ms", "latency, ms", "number"),
    ("epochs", "epochs", "text"), ("seconds", "took", "duration"), ("note", "note", "text"),
]  # fmt: skip
_CLOSE = 0.01
"""a student whose accuracy is so much below its teacher's is still close to it"""
_ROUNDING = 1e-9
"""less than the share of any image: fractions that are the same may differ by as much"""
_CURVE_POINTS = 200
"""of a stage, at most: the page stays small"""
_CONFUSION_BYTES = 2_000_000
"""that all confusion matrices together may add to the page; those of the runs on a front come first"""
_FRONT = [
    "student", "method", "runs", "validation accuracy, %", "test accuracy, %", "multiplications", "parameters"
]  # fmt: skip


def write(store: Path, out: Path, track: Track = lambda items, _: items) -> Path:
    """Make everything in `out`; gives the page. NotEnough where the store has no runs."""
    found = studies.load(store, with_importances=True)
    frame = runs.load(store, found)
    if frame.empty:
        raise NotEnoughError(
            f"{store}: no runs in it: give the folder that they were given as store= (by default outputs)"
        )
    epochs = runs.epochs(store)
    drawn = figures.of_store(frame, found)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    images = {}
    for name, figure in track(list(drawn.items()), "drawing"):
        images[name] = _save(figure, out / "figures" / name)
    files.write(out / "runs.parquet", frame.to_parquet())
    files.write(out / "epochs.parquet", epochs.to_parquet())
    files.write(out / "runs.csv", frame.to_csv(index=False).encode(errors="replace"))
    compared = verdicts.comparisons(frame)
    files.write(out / "tables.md", tables(frame, compared).encode(errors="replace"))
    page = out / "report.html"
    data = page_data(frame, epochs, runs.confusions(store))
    text = html(store.resolve().name, frame, data, compared=compared, found=found, images=images)
    files.write(page, text.encode(errors="replace"))
    return page


def _save(figure: Figure, path: Path) -> bytes:
    """As PNG and as SVG; gives the SVG."""
    png, svg = io.BytesIO(), io.BytesIO()
    with figures.default_style(), matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(png, format="png")
        figure.savefig(svg, format="svg", metadata={"Date": None})
    for kind, image in (("png", png), ("svg", svg)):
        files.write(path.with_name(f"{path.name}.{kind}"), image.getvalue())
    return svg.getvalue()


# --- words ---


def headlines(frame: pd.DataFrame) -> list[str]:
    """For each teacher its cheapest student that is close to it, and how sure that is. Networks that are no better than
    always naming one class are called that."""
    points = tradeoff.points(frame).dropna(subset=["valid_accuracy", "multiplications"])
    lines = []
    for teacher in tradeoff.teachers(frame).dropna(subset=["valid_accuracy"]).to_dict("records"):
        own = points[points["task"] == teacher["task"]]
        own = own[own["teacher_setting_hash"] == teacher["teacher_setting_hash"]]
        name = f"{teacher['task']}: teacher {teacher['name']} ({100 * teacher['valid_accuracy']:.2f} % on validation)"
        if teacher["at_chance"]:
            lines.append(f"{name} is no better than always naming one class: no student is compared with it.")
            continue
        own = own[own["multiplications"] < teacher["multiplications"]]
        if len(own) and own["at_chance"].all():
            lines.append(f"{name}: none of its cheaper students is better than always naming one class.")
        own = own[~own["at_chance"].astype(bool)]
        close = own[own["valid_accuracy"] >= teacher["valid_accuracy"] - _CLOSE - _ROUNDING]
        if len(close):
            lines.append(_headline(teacher, close.sort_values("multiplications").iloc[0], len(own)))
        elif len(own):
            best = own["valid_accuracy"].max()
            lines.append(
                f"{teacher['task']}: no cheaper student is within 1 point of teacher {teacher['name']} "
                f"({100 * teacher['valid_accuracy']:.2f} % on validation); the best has {100 * best:.2f} %."
            )
    return lines


def _headline(teacher: dict[Any, Any], point: pd.Series, among: int) -> str:
    fewer, smaller = (teacher[cost] / point[cost] for cost in ("multiplications", "parameters"))
    size = f"{smaller:.1f} x fewer" if smaller >= 1 else f"{1 / smaller:.1f} x more"
    test = "" if pd.isna(point["test_accuracy"]) else f", {100 * point['test_accuracy']:.2f} % on test"
    how_sure = "one run, no interval" if point["count"] == 1 else counted(point)
    chosen = f"; chosen among {among} by the same validation images, so a little flattered there" if among > 1 else ""
    return (
        f"{teacher['task']}: the cheapest student within 1 point of teacher {teacher['name']} is {point['label']} "
        f"({point['method']}): {100 * point['valid_accuracy']:.2f} % on validation against "
        f"{100 * teacher['valid_accuracy']:.2f} %{test}, with {fewer:.1f} x fewer multiplications and {size} "
        f"parameters ({how_sure}{chosen})."
    )


def counted(point: Any) -> str:
    """'5 seeds', or '6 runs of 3 seeds'."""
    seeds = plural(point["seeds"], "seed")
    return seeds if point["seeds"] == point["count"] else f"{plural(point['count'], 'run')} of {seeds}"


def settings(found: list[Comparison]) -> list[tuple[str, list[dict[str, str | None]]]]:
    """The comparisons of each setting, those with the most seeds first; settings that read alike tell their hash."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in found:
        groups.setdefault(comparison.setting_hash, []).append(comparison)
    most = {
        setting: max(comparison.valid.seeds if comparison.valid else 0 for comparison in group)
        for setting, group in groups.items()
    }
    names: list[str] = []
    shown = []
    for setting in sorted(groups, key=lambda setting: -most[setting]):
        words = groups[setting][0].setting
        name = "{dataset}: teacher {teacher}, student {student}, schedule {schedule}".format(**words)
        names.append(name)
        again = f" (another setting, {setting[:8]})" if names.count(name) > 1 else ""
        shown.append((name + again, [_worded(comparison) for comparison in groups[setting]]))
    return shown


def _worded(comparison: Comparison) -> dict[str, str | None]:
    name = f"{comparison.first} against {comparison.second}"
    verdict = comparison.valid
    if verdict is None:
        return {"word": "NO VERDICT", "text": f"{name}: {comparison.refusal}.", "test": None}
    parts = [
        f"{name}: {verdict.numbers}",
        f"{plural(comparison.epochs, 'epoch')} each" if comparison.epochs else None,
        comparison.at_chance,
        comparison.left_out,
    ]
    test = None if comparison.test is None else str(comparison.test)
    return {"word": verdict.word, "text": "; ".join(filter(None, parts)) + ".", "test": test}


def tables(frame: pd.DataFrame, compared: list[Comparison]) -> str:
    """The front of each task, then the methods side by side where there are several."""
    points = tradeoff.points(frame)
    several = frame.groupby("setting_hash")["method"].transform("nunique") > 1
    parts = []
    for task, group in points.groupby("task", sort=False):
        members = group[tradeoff.fronts(group, "multiplications")].sort_values("multiplications")
        rows = [_front_row(point) for point in members.to_dict("records")]
        parts.append(f"## {task}: the front of {plural(len(group), 'student')}, chosen on validation")
        parts.append(markdown.table(_FRONT, rows) if rows else "No student is better than always naming one class.")
        if any(" to " in cell for row in rows for cell in row[3:5]):
            parts.append(verdicts.CUT_OFF)
    if (frame[several]["status"] == "finished").any():
        parts.append("## Methods side by side\n\n" + controls.table(frame[several], compared))
    return "\n\n".join(parts) + "\n"


def _front_row(point: dict[Any, Any]) -> list[str]:
    return [
        point["label"], point["method"], str(point["count"]),
        *(_with_spread(point, split) for split in ("valid", "test")),
        *(quantities.number(float(point[cost])) for cost in ("multiplications", "parameters")),
    ]  # fmt: skip


def _with_spread(point: dict[Any, Any], split: str) -> str:
    mean, half_width = point[f"{split}_accuracy"], point[f"{split}_half_width"]
    if pd.isna(mean):
        return "-"
    return f"{100 * mean:.2f}" if pd.isna(half_width) else verdicts.with_interval(100 * mean, 100 * half_width)


# --- the page ---


def html(
    name: str,
    frame: pd.DataFrame,
    data: dict[str, Any],
    *,
    compared: list[Comparison],
    found: list[Study],
    images: dict[str, bytes],
) -> str:
    """name: of the store; data: of `page_data`; compared: its methods; found: its studies; images: SVG by name."""
    pages = Environment(
        loader=PackageLoader("fitnets.reporting", "templates"), autoescape=True, undefined=StrictUndefined
    )
    files = {key: Markup((Path(__file__).parent / "templates" / file).read_text(encoding="utf-8"))
             for key, file in (("css", "report.css"), ("script", "report.js"))}  # fmt: skip
    shown = {key: svg for key, svg in images.items() if not key.startswith("trade_off")}
    counts = ", ".join(f"{count} {status}" for status, count in frame["status"].value_counts().items())
    return pages.get_template("report.html").render(
        title=f"fitnets: runs of {name}",
        counts=f"{plural(len(frame), 'run')}: {counts}",
        made=datetime.now().strftime("%Y-%m-%d %H:%M"),
        headlines=headlines(frame),
        settings=settings(compared),
        has_points=bool(data["points"]),
        has_paper=bool(data["paper"]),
        figures=[(key.replace("_", " "), f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")
                 for key, svg in shown.items()],
        studies=[_study(study) for study in found],
        environment=_environment(frame),
        data=_embedded(data),
        plotly=Markup(get_plotlyjs()),
        **files,
    )  # fmt: skip


def _embedded(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def page_data(
    frame: pd.DataFrame, epochs: pd.DataFrame, confusions: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What the page's script draws. Missing numbers are null. confusions: of `runs.confusions`."""
    points = tradeoff.points(frame)
    shown = frame.assign(label=runs.labels(frame), epochs=verdicts.total_epochs(frame))
    index = {run: number for number, run in enumerate(frame["run"]) if pd.notna(run)}
    tasks = list(points["task"].unique())
    fronts = {cost: tradeoff.fronts(points, cost) for cost in COSTS}
    return {
        "tasks": tasks,
        "costs": {key: {"label": cost.label, "unit": cost.unit} for key, cost in COSTS.items()},
        "styles": {method: [colour, _SYMBOLS[marker]] for method, (colour, marker) in figures.STYLES.items()},
        "points": [
            {
                **{key: point[key] for key in ("task", "method", "schedule", "label")},
                "count": counted(point),
                "device": None if pd.isna(point["device"]) else point["device"],
                "chance": bool(point["at_chance"]),
                **_accuracies(point),
                "costs": {cost: _number(point[cost]) for cost in COSTS},
                "front": [cost for cost in COSTS if fronts[cost][number]],
                "runs": [index[run] for run in point["runs"]],
            }
            for number, point in enumerate(points.to_dict("records"))
        ],
        "teachers": [
            {
                "task": teacher["task"],
                **{key: teacher[key] for key in ("name", "schedule")},
                "chance": bool(teacher["at_chance"]),
                **_accuracies(teacher),
                "costs": {key: _number(teacher[key]) for key in COSTS},
            }
            for teacher in tradeoff.teachers(frame).to_dict("records")
        ],
        "paper": _paper(points),
        "columns": [
            {"key": key, "label": label, "format": form, "wide": key == "note"} for key, label, form in _COLUMNS
        ],
        "runs": [_row(run) for run in shown.to_dict("records")],
        "curves": _curves(epochs),
        "confusions": _confusions(confusions or {}, first=_on_fronts(points, fronts)),
        "hints": {
            progress["run"]: progress | {"left": _number(progress["left"])}
            for progress in runs.hint_progress(epochs).to_dict("records")
        },
    }


def _on_fronts(points: pd.DataFrame, fronts: dict[str, pd.Series]) -> list[str]:
    """The runs of the points that are on any front."""
    members = points[pd.DataFrame(fronts).any(axis=1)] if len(points) else points
    return [str(run) for names in members["runs"] for run in names]


def _confusions(found: dict[str, dict[str, Any]], first: list[str]) -> dict[str, Any]:
    """The confusion matrices by run, as many as the page can hold. first: the runs whose matrices matter most."""
    kept, room = {}, _CONFUSION_BYTES
    for run in dict.fromkeys([*first, *found]):
        if run not in found:
            continue
        room -= len(json.dumps(found[run], separators=(",", ":")))
        if room < 0:
            break
        kept[run] = found[run]
    return kept


def _accuracies(point: dict[Any, Any]) -> dict[str, Any]:
    return {
        split: [_number(point[f"{split}_accuracy"]), _number(point[f"{split}_half_width"])]
        for split in ("valid", "test")
    }


def _number(value: Any) -> float | None:
    return None if pd.isna(value) or math.isinf(value) else float(value)


def _paper(points: pd.DataFrame) -> list[dict[str, Any]]:
    """The published points, in the tasks of their data sets."""
    datasets = dict(zip(points["task"], points["dataset"], strict=True))
    found = []
    for task, dataset in datasets.items():
        for published in paper.PUBLISHED[paper.PUBLISHED["dataset"] == dataset].to_dict("records"):
            costs = {cost: _number(published[cost]) for cost in ("paper_multiplications", "paper_parameters")}
            found.append(
                {"task": task, "costs": costs}
                | {key: published[key] for key in ("method", "network", "accuracy", "source")}
            )
    return found


def _row(run: dict[Any, Any]) -> dict[str, Any]:
    """A row of the page's table."""

    def text(key: str) -> str | None:
        return None if pd.isna(run[key]) else str(run[key])

    return {
        **{key: text(key) for key in ("run", "status", "data", "method", "command", "folder")},
        "seed": None if pd.isna(run["seed"]) else int(run["seed"]),
        "label": text("label"),
        "valid": _number(run["student_valid_accuracy"]),
        "test": _number(run["student_test_accuracy"]),
        "multiplications": _number(run["student_multiplications"]),
        "parameters": _number(run["student_parameters"]),
        "latency_ms": _number(run["student_batch_1_p50_ms"]),
        "latency_128_ms": _number(run["student_batch_128_p50_ms"]),
        "epochs": _number(run["epochs"]),
        "seconds": _number(run["seconds"]),
        "note": "; ".join(part for part in (text("error"), text("trials")) if part) or None,
    }


_SERIES = {"loss": "train_loss", "error": "valid_error", "hint": "valid_hint_loss", "lambda": "kd_weight"}


def _curves(epochs: pd.DataFrame) -> dict[str, Any]:
    """By run and stage; errors in %."""
    found: dict[str, Any] = {}
    for (run, stage), rows in epochs.groupby(["run", "stage"], sort=False):
        step = -(-len(rows) // _CURVE_POINTS)
        kept = rows.iloc[::-step].iloc[::-1]  # the last one is
        series: dict[str, Any] = {"first": int(kept["epoch"].iloc[0]), "step": step, "count": len(kept)}
        for name, column in _SERIES.items():
            if column in kept and kept[column].notna().any():
                factor = 100 if name == "error" else 1
                series[name] = [_rounded(factor, value) for value in kept[column]]
        found.setdefault(str(run), {})[str(stage)] = series
    return found


def _rounded(factor: float, value: Any) -> float | None:
    number = _number(value) if isinstance(value, int | float) else None
    return None if number is None else float(f"{factor * number:.3g}")


def _study(study: Study) -> str:
    if study.error is not None:
        return f"{study.name}: cannot be read: {study.error}"
    counts = ", ".join(f"{count} {status}" for status, count in study.trials["status"].value_counts().items())
    wanted = " and ".join(f"{direction} {name}" for name, direction in study.objectives.items())
    few = "" if study.importances else f"; too few to tell which parameter matters (from {studies.ENOUGH_TRIALS} on)"
    return f"{study.name}: {wanted}; {plural(len(study.trials), 'trial')}: {counts}{few}"


def _environment(frame: pd.DataFrame) -> list[str]:
    """What the runs were made with, by how many."""
    lines = []
    for label, column in (
        ("device", "device"),
        ("PyTorch", "torch"),
        ("system", "platform"),
        ("commit", "commit"),
        ("precision", "precision"),
    ):
        counts = frame[column].value_counts()
        if len(counts):
            lines.append(
                f"{label}: " + ", ".join(f"{value} ({plural(count, 'run')})" for value, count in counts.items())
            )
    return lines
