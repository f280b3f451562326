"""What runs and studies left, as two tidy tables: `load`, a row a run, and `epochs`, a row a run and epoch.

Fractions are 0 to 1, losses in nats, latencies in milliseconds, durations in seconds. Runs that are not finished,
damaged files, results of older versions and trials that failed before their run began are rows too: what they do not
tell is missing (NA).
"""

import json
import math
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fitnets.reporting import names, studies
from fitnets.store import files, layout


class Column(NamedTuple):
    """Where it is in `result.json`, or under `environment` in `environment.json`; its pandas dtype; its unit."""

    path: str
    dtype: str
    unit: str


def _of_side(side: str) -> dict[str, Column]:
    quality = {
        f"{split}_{metric}": unit
        for split in ("valid", "test")
        for metric, unit in {
            "accuracy": "fraction",
            "error": "fraction",
            "loss": "nats",
            "calibration_error": "fraction",
        }.items()
    }
    if side == "student":
        quality |= {
            "valid_agreement": "fraction of the teacher's classes",
            "test_agreement": "fraction of the teacher's classes",
        }
    costs = {"parameters": "count", "multiplications": "of one image", "weights_bytes": "bytes"}
    costs |= {f"paper_{name}": f"{costs[name]}, as the paper counts" for name in ("parameters", "multiplications")}
    latencies = [f"batch_{size}_{part}_ms" for size in (1, 128) for part in ("p50", "p95")]
    counts = {
        "layers": "convolutions and dense layers",
        "options.depth": "as the option has it",
        "options.width": "as the option has it",
    }
    return {
        f"{side}": Column(f"{side}.name", "string", "option"),
        f"{side}_options": Column(f"{side}.options", "string", "depth, width and the like, where it has them"),
        **{
            f"{side}_{name.removeprefix('options.')}": Column(f"{side}.{name}", "Int64", unit)
            for name, unit in counts.items()
        },
        **{f"{side}_{name}": Column(f"{side}.{name}", "Float64", unit) for name, unit in quality.items()},
        **{f"{side}_{name}": Column(f"{side}.{name}", "Int64", unit) for name, unit in costs.items()},
        **{f"{side}_{name}": Column(f"timing.latency.{side}.{name}", "Float64", "ms") for name in latencies},
    }


RUN_COLUMNS = {
    "status": Column("status", "string", "finished, running, stopped, failed, diverged, pruned, damaged or unreadable"),
    "error": Column("error", "string", "what ended it"),
    "dataset": Column("dataset", "string", "option"),
    "method": Column("method", "string", "option"),
    "schedule": Column("schedule", "string", "option"),
    "seed": Column("seeds.student", "Int64", "of the student"),
    "teacher_seed": Column("seeds.teacher", "Int64", "of the teacher"),
    "dataset_seed": Column("seeds.dataset", "Int64", "of split and views"),
    "valid_images": Column("images.valid", "Int64", "count"),
    "test_images": Column("images.test", "Int64", "count"),
    "commonest_class": Column("commonest_class", "Float64", "fraction of the validation images"),
    "hint_layer": Column("hint.teacher_layer", "string", "of the teacher"),
    "guided_layer": Column("hint.student_layer", "string", "of the student"),
    "teacher_epochs": Column("stages.teacher.epochs", "Int64", "count, without retraining"),
    "hint_epochs": Column("stages.hint.epochs", "Int64", "count, of stage 1"),
    "student_epochs": Column("stages.student.epochs", "Int64", "count, of the whole student"),
    **_of_side("teacher"),
    **_of_side("student"),
    **{
        f"{name}_{moment}": Column(f"diagnoses.{stage}.{name}", "Float64", unit)
        for name, unit in {
            "similarity": "CKA of guided and hint layer, about 0 to 1",
            "agreement": "fraction of the teacher's classes",
            "calibration_error": "fraction",
        }.items()
        for moment, stage in {"initial": "initial", "after_hint": "hint", "after_student": "student"}.items()
    },
    "seconds": Column(
        "timing.run_seconds",
        "Float64",
        "s, of the process that finished it and of those before it in the stages that it went on with",
    ),
    "device": Column("timing.device", "string", "what the latencies were measured on"),
    "precision": Column("timing.precision", "string", "of the training"),
    "command": Column("environment.command", "string", "what does this run alone"),
    "trial": Column("environment.trial", "string", "the study and trial that wanted it first"),
    "commit": Column("environment.commit", "string", "of the project"),
    "platform": Column("environment.platform", "string", "operating system"),
    "torch": Column("environment.packages.torch", "string", "version"),
    "folder": Column("environment.folder", "string", "where that command was given"),
    "is_taught": Column("is_taught", "boolean", "whether the teacher has a say in the student's training"),
    "retrain_epochs": Column("stages.retrain_student.epochs", "Int64", "count, of the student's retraining"),
    "data_hash": Column("hashes.data", "string", "of the images for training and validation"),
    "setting_hash": Column("hashes.setting", "string", "what all methods have in common"),
    "method_hash": Column("hashes.method", "string", "the method's own part, with its lengths, pair and regressor"),
    "kd_hash": Column("hashes.kd", "string", "temperature and weight of Eq. 2, where the method has it"),
    "student_setting_hash": Column(
        "hashes.student_setting", "string", "what all methods have in common but the teacher"
    ),
    "teacher_hash": Column("hashes.teacher", "string", "of the teacher's artifact"),
    "teacher_setting_hash": Column("hashes.teacher_setting", "string", "the same for all seeds of a teacher"),
    "data": Column("names.data", "string", "name of the data set: its option, or its folder's name"),
    "teacher_name": Column("names.teacher", "string", "the option, with what tells it from others of that option"),
}
"""but for `run`, the name of its directory, and `trials`, all that wanted it: study and number, and the parameters"""
EPOCH_COLUMNS = {
    "step": "count of epochs since the start of the run, over all stages",
    "stage": "teacher, hint, student, retrain_...",
    "epoch": "from 0, within its stage",
    "images": "seen by the end of the epoch",
    "lr": "learning rate of its first update",
    "train_loss": "nats; of stage 1 squared activations",
    "valid_error": "fraction",
    "valid_loss": "nats",
    "best": "whether it was the best so far",
    "seconds": "s",
}
"""of every run, besides `run`; terms of the loss, and what a stage watches, come with the stages that have them"""


def load(store: Path, found: list[studies.Study] | None = None) -> pd.DataFrame:
    """A row for each `run/<hash>` of a store, and for each failed trial that left none, with the columns of
    RUN_COLUMNS. found: the studies of the store, where they were loaded already."""
    directories = _directories(store)
    results = [_result(directory) for directory in directories]
    names.add(results, directories)
    columns = {"run": pd.array([directory.name for directory in directories], dtype="string")}
    for name, column in RUN_COLUMNS.items():
        columns[name] = _typed([_at(result, column.path) for result in results], column.dtype)
    return _with_trials(pd.DataFrame(columns), studies.load(store) if found is None else found)


def _typed(values: list[Any], dtype: Any) -> Any:
    """What is of another type, or not finite, is missing."""
    if dtype == "string":
        return pd.Series([pd.NA if value is None else str(value) for value in values], dtype=dtype).array
    if dtype == "boolean":
        return pd.Series([value if isinstance(value, bool) else pd.NA for value in values], dtype=dtype).array
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").astype("Float64")
    numbers = numbers.mask(numbers.abs() == math.inf)
    return numbers.where(numbers % 1 == 0).astype("Int64").array if dtype == "Int64" else numbers.array


def _with_trials(frame: pd.DataFrame, found: list[studies.Study]) -> pd.DataFrame:
    wanted: dict[str, list[str]] = {}
    lost = []
    began = set(frame["trial"].dropna())
    for study in found:
        for trial in study.trials.to_dict("records"):
            label = f"{study.name} #{trial['trial']}"
            named = f"{label} ({trial['name']})"
            for run in trial["runs"]:
                wanted.setdefault(run, []).append(named)
            if trial["status"] == "failed" and label not in began:
                lost.append({"status": "failed", "error": trial["reason"], "trial": label, "trials": named})
    frame["trials"] = pd.array([", ".join(wanted.get(run, [])) or pd.NA for run in frame["run"]], dtype="string")
    if not lost:
        return frame
    return pd.concat([frame, pd.DataFrame(lost, columns=frame.columns).astype(frame.dtypes)], ignore_index=True)


def students(frame: pd.DataFrame) -> pd.Series:
    """'thin depth=3 width=8' of each run that tells its student. frame: of `load`."""
    return frame["student"] + (" " + frame["student_options"]).fillna("")


def labels(frame: pd.DataFrame) -> pd.Series:
    """The student and, of runs with hints, the pair: 'thin depth=3 width=8, conv5 learns conv2'."""
    return students(frame) + (", " + frame["guided_layer"] + " learns " + frame["hint_layer"]).fillna("")


def confusions(store: Path) -> dict[str, dict[str, Any]]:
    """By run, its confusion matrices under `valid` and `test` (counts of images, a row for each true class), and its
    class names under `classes`, None where they are not known. What is no square of counts is left out."""
    found: dict[str, dict[str, Any]] = {}
    for directory in _directories(store):
        result = _result(directory)
        kept = {split: _at(result, f"student.{split}_confusion") for split in ("valid", "test")}
        matrices: dict[str, Any] = {split: matrix for split, matrix in kept.items() if _is_square(matrix)}
        if matrices:
            names = result.get("classes")
            sizes = {len(matrix) for matrix in matrices.values()}
            known = isinstance(names, list) and sizes == {len(names)}
            found[directory.name] = matrices | {"classes": list(map(str, names or [])) if known else None}
    return found


def _is_square(matrix: Any) -> bool:
    """Whether it is a list of as many lists of whole numbers."""
    if not isinstance(matrix, list) or not all(isinstance(row, list) and len(row) == len(matrix) for row in matrix):
        return False
    return bool(matrix) and all(type(count) is int and count >= 0 for row in matrix for count in row)


def epochs(store: Path) -> pd.DataFrame:
    """A row for each epoch of each run, in their order, with the columns of EPOCH_COLUMNS and all others there are."""
    rows = [{"run": directory.name, **row} for directory in _directories(store) for row in _rows(directory)]
    frame = pd.DataFrame(rows, columns=None if rows else ["run", *EPOCH_COLUMNS])
    for name in frame.columns.difference(["run", "stage", "best"]):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame.reindex(columns=[*dict.fromkeys(["run", *EPOCH_COLUMNS, *frame.columns])])


HINT_PROGRESS_COLUMNS = {
    "run": "name",
    "left": "fraction of the first epoch's hint loss on validation that the best epoch has",
    "plateau_epoch": "from 1: the first one within 5 % of the best; well before the last: stage 1 was long enough",
    "epochs": "count, of stage 1",
}


def hint_progress(epochs: pd.DataFrame) -> pd.DataFrame:
    """How far stage 1 came, and when it stood still, for each run that has one. epochs: of `epochs`."""
    rows = []
    if "valid_hint_loss" in epochs:
        for run, stage in epochs[epochs["stage"] == "hint"].dropna(subset=["valid_hint_loss"]).groupby("run"):
            losses = stage["valid_hint_loss"].astype(float)
            is_near = losses <= 1.05 * losses.min()
            first = losses.iloc[0]
            left = losses.min() / first if 0 < first < math.inf else math.nan
            rows.append((run, left, int(stage["epoch"][is_near].iloc[0]) + 1, len(stage)))
    return pd.DataFrame(rows, columns=list(HINT_PROGRESS_COLUMNS))


def _directories(store: Path) -> list[Path]:
    return sorted(path for path in store.glob("run/*") if path.is_dir() and not path.name.startswith("."))


def _result(directory: Path) -> dict[str, Any]:
    """With what `environment.json` holds, if it can be read, as `environment`."""
    try:
        result = files.read_json(directory / layout.RESULT)
    except PermissionError:
        return {"status": "unreadable", "error": "no permission to read result.json"}
    except (OSError, ValueError) as error:
        return {"status": "damaged", "error": f"result.json cannot be read ({error.__cause__ or error})"}
    return result | {"environment": _environment(directory)}


def _environment(directory: Path) -> dict[str, Any]:
    try:
        environment = files.read_json(directory / layout.ENVIRONMENT)
        words = environment.get("command")
        return dict(environment) | {"command": None if words is None else shlex.join(words)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _rows(directory: Path) -> list[dict[str, Any]]:
    """Of `metrics.jsonl`; a line that was cut off ends it."""
    rows = []
    path = directory / layout.METRICS
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # there is none, or no permission to read it
        lines = []
    for line in lines:
        try:
            row = json.loads(line)
            rows.append(row | row.pop("timing", {}))
        except (ValueError, AttributeError, TypeError):
            break
    return rows


def _at(tree: Any, path: str) -> Any:
    """A table in the words of a command line."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    if isinstance(tree, dict):
        tree = " ".join(f"{key}={value}" for key, value in tree.items()) or None
    if isinstance(tree, str):  # bytes of a file name that are no text: Parquet and HTML have none
        return tree.encode(errors="replace").decode()
    return tree
