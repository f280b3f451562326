"""The runs of a store as two tidy tables: `load` has one row for each run, `epochs` one row for each epoch of each run.

Fractions go from 0 to 1. Losses are in nats, latencies in milliseconds, durations in seconds. Rows also stand for runs
that are not finished, for damaged files, for results of older versions, and for trials that failed before their run
began. A value that such a row does not have is missing (NA).
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
    """A column of the run table.

    path: the key in `result.json`; keys under `environment` are those of `environment.json`
    dtype: the pandas dtype
    meaning: what the values are, with their unit
    """

    path: str
    dtype: str
    meaning: str


def _of_side(side: str) -> dict[str, Column]:
    """The columns of the teacher or of the student."""
    quality = {
        f"{split}_{metric}": f"{meaning} on {name}"
        for split, name in {"valid": "validation", "test": "test"}.items()
        for metric, meaning in {
            "accuracy": "accuracy, fraction,",
            "error": "error, fraction,",
            "loss": "cross-entropy, nats,",
            "calibration_error": "expected calibration error, fraction,",
        }.items()
    }
    if side == "student":
        quality |= {
            "valid_agreement": "fraction of the validation images to which student and teacher give the same class",
            "test_agreement": "fraction of the test images to which student and teacher give the same class",
        }
    costs = {
        "parameters": "number of parameters",
        "multiplications": "multiply-accumulates of one image in convolutions and dense layers",
        "weights_bytes": "size of the weights in bytes",
        "paper_parameters": "number of parameters, counted as in the paper",
        "paper_multiplications": "multiply-accumulates of one image, counted as in the paper",
    }
    latencies = {
        f"batch_{size}_{part}_ms": f"{meaning} of a forward pass of {images}, ms"
        for size, images in {1: "1 image", 128: "128 images"}.items()
        for part, meaning in {"p50": "median latency", "p95": "95th percentile of the latency"}.items()
    }
    counts = {
        "layers": "number of convolutions and dense layers",
        "options.depth": "option `depth`, if the network has it",
        "options.width": "option `width`, if the network has it",
    }
    return {
        f"{side}": Column(f"{side}.name", "string", "name of the option"),
        f"{side}_options": Column(f"{side}.options", "string", "all options of the network, such as depth and width"),
        **{
            f"{side}_{name.removeprefix('options.')}": Column(f"{side}.{name}", "Int64", meaning)
            for name, meaning in counts.items()
        },
        **{f"{side}_{name}": Column(f"{side}.{name}", "Float64", meaning) for name, meaning in quality.items()},
        **{f"{side}_{name}": Column(f"{side}.{name}", "Int64", meaning) for name, meaning in costs.items()},
        **{
            f"{side}_{name}": Column(f"timing.latency.{side}.{name}", "Float64", meaning)
            for name, meaning in latencies.items()
        },
    }


def _diagnoses() -> dict[str, Column]:
    """The columns of the diagnoses at the start and after each stage."""
    meanings = {
        "similarity": "CKA of guided and hint layer, about 0 to 1,",
        "agreement": "fraction of the validation images to which student and teacher give the same class,",
        "calibration_error": "expected calibration error, fraction,",
    }
    moments = {
        "initial": ("initial", "at the start"),
        "after_hint": ("hint", "after stage 1"),
        "after_student": ("student", "after stage 2"),
    }
    return {
        f"{name}_{moment}": Column(f"diagnoses.{stage}.{name}", "Float64", f"{meaning} {when}")
        for name, meaning in meanings.items()
        for moment, (stage, when) in moments.items()
    }


RUN_COLUMNS = {
    "status": Column("status", "string", "finished, running, stopped, failed, diverged, pruned, damaged or unreadable"),
    "error": Column("error", "string", "why the run did not finish"),
    "dataset": Column("dataset", "string", "name of the option"),
    "method": Column("method", "string", "name of the option"),
    "schedule": Column("schedule", "string", "name of the option"),
    "initial_weights": Column("initial_weights", "string", "rule of the student's initial weights"),
    "normalization": Column("normalization", "string", "normalisation of the student, `none` or `batch`"),
    "seed": Column("seeds.student", "Int64", "seed of the student"),
    "teacher_seed": Column("seeds.teacher", "Int64", "seed of the teacher"),
    "dataset_seed": Column("seeds.dataset", "Int64", "seed of the validation split and of the augmentation"),
    "valid_images": Column("images.valid", "Int64", "number of validation images"),
    "test_images": Column("images.test", "Int64", "number of test images"),
    "commonest_class": Column("commonest_class", "Float64", "share of the commonest class in the validation images"),
    "hint_layer": Column("hint.teacher_layer", "string", "layer of the teacher"),
    "guided_layer": Column("hint.student_layer", "string", "layer of the student"),
    "teacher_epochs": Column("stages.teacher.epochs", "Int64", "epochs of the teacher, without retraining"),
    "hint_epochs": Column("stages.hint.epochs", "Int64", "epochs of stage 1"),
    "student_epochs": Column("stages.student.epochs", "Int64", "epochs of the whole student"),
    **_of_side("teacher"),
    **_of_side("student"),
    **_diagnoses(),
    "seconds": Column(
        "timing.run_seconds",
        "Float64",
        "s, of the process that finished the run, and of earlier processes in the stages that it resumed",
    ),
    "teacher_seconds": Column(
        "timing.stage_seconds.teacher", "Float64", "s, of the teacher's training, in all processes that trained it"
    ),
    "hint_seconds": Column("timing.stage_seconds.hint", "Float64", "s, of stage 1, in all processes that trained it"),
    "student_seconds": Column(
        "timing.stage_seconds.student",
        "Float64",
        "s, of the whole student's training, in all processes that trained it",
    ),
    "device": Column("timing.device", "string", "device and threads that the latencies were measured on"),
    "precision": Column("timing.precision", "string", "precision of the training"),
    "command": Column("environment.command", "string", "command that repeats this run alone"),
    "trial": Column("environment.trial", "string", "study and trial that first started the run"),
    "commit": Column("environment.commit", "string", "commit of the project"),
    "platform": Column("environment.platform", "string", "operating system"),
    "torch": Column("environment.packages.torch", "string", "version of PyTorch"),
    "folder": Column("environment.folder", "string", "working folder of the command"),
    "is_taught": Column("is_taught", "boolean", "true if the teacher takes part in the student's training"),
    "retrain_epochs": Column("stages.retrain_student.epochs", "Int64", "epochs of the student's retraining"),
    "data_hash": Column("hashes.data", "string", "hash of the training and validation images"),
    "setting_hash": Column("hashes.setting", "string", "hash of everything that all methods have in common"),
    "method_hash": Column("hashes.method", "string", "hash of the method's own part: epochs, pair, regressor"),
    "kd_hash": Column("hashes.kd", "string", "hash of temperature and weight of Eq. 2, if the method has them"),
    "student_setting_hash": Column(
        "hashes.student_setting", "string", "hash of everything that all methods have in common, without the teacher"
    ),
    "bare_setting_hash": Column(
        "hashes.bare_setting",
        "string",
        "the same without the student's initial weights and its normalisation",
    ),
    "teacher_hash": Column("hashes.teacher", "string", "hash of the trained teacher"),
    "teacher_setting_hash": Column("hashes.teacher_setting", "string", "hash of the teacher without its seed"),
    "data": Column("names.data", "string", "name of the data set: its option, or the name of its folder"),
    "teacher_name": Column(
        "names.teacher", "string", "name of the option, with what distinguishes it from other teachers of that option"
    ),
}
"""The columns of `load`, between `run` and `trials`.

run: the name of the run's folder
trials: all trials that use the run, each as study, number and parameters
"""
EPOCH_COLUMNS = {
    "step": "number of epochs since the start of the run, over all stages",
    "stage": "teacher, hint, student or retrain_...",
    "epoch": "number within the stage, from 0",
    "images": "images seen by the end of the epoch",
    "lr": "learning rate of the epoch's first update",
    "train_loss": "nats; in stage 1 squared activations",
    "valid_error": "fraction",
    "valid_loss": "nats",
    "best": "true if it was the best epoch so far",
    "seconds": "duration, s",
}
"""The columns that the epochs of every run have, after `run`.

Stages add columns for their own terms of the loss and for the number that selects their epoch."""


def load(store: Path, loaded_studies: list[studies.Study] | None = None) -> pd.DataFrame:
    """Load one row for each `run/<hash>` of a store, and for each failed trial that left no run.

    The columns are `run`, those of RUN_COLUMNS, and `trials`.

    loaded_studies: the studies of the store, if they are already loaded
    """
    directories = _directories(store)
    results = [_result(directory) for directory in directories]
    names.add(results, directories)
    columns = {"run": pd.array([directory.name for directory in directories], dtype="string")}
    for name, column in RUN_COLUMNS.items():
        columns[name] = _typed([_at(result, column.path) for result in results], column.dtype)
    return _with_trials(pd.DataFrame(columns), studies.load(store) if loaded_studies is None else loaded_studies)


def _typed(values: list[Any], dtype: Any) -> Any:
    """Convert the values to the dtype. Values of another type and numbers that are not finite become missing."""
    if dtype == "string":
        return pd.Series([pd.NA if value is None else str(value) for value in values], dtype=dtype).array
    if dtype == "boolean":
        return pd.Series([value if isinstance(value, bool) else pd.NA for value in values], dtype=dtype).array
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").astype("Float64")
    numbers = numbers.mask(numbers.abs() == math.inf)
    return numbers.where(numbers % 1 == 0).astype("Int64").array if dtype == "Int64" else numbers.array


def _with_trials(frame: pd.DataFrame, loaded_studies: list[studies.Study]) -> pd.DataFrame:
    """Add the column `trials`, and one row for each failed trial that left no run."""
    trials_of: dict[str, list[str]] = {}
    without_run = []
    began = set(frame["trial"].dropna())
    for study in loaded_studies:
        for trial in study.trials.to_dict("records"):
            number = f"{study.name} #{trial['trial']}"
            label = f"{number} ({trial['name']})"
            for run in trial["runs"]:
                trials_of.setdefault(run, []).append(label)
            if trial["status"] == "failed" and number not in began:
                without_run.append({"status": "failed", "error": trial["reason"], "trial": number, "trials": label})
    frame["trials"] = pd.array([", ".join(trials_of.get(run, [])) or pd.NA for run in frame["run"]], dtype="string")
    if not without_run:
        return frame
    return pd.concat([frame, pd.DataFrame(without_run, columns=frame.columns).astype(frame.dtypes)], ignore_index=True)


def students(frame: pd.DataFrame) -> pd.Series:
    """The student of each run with its options: 'thin depth=3 width=8'. frame: rows of `load`."""
    return frame["student"] + (" " + frame["student_options"]).fillna("")


def labels(frame: pd.DataFrame) -> pd.Series:
    """The student of each run and, if it has hints, the pair: 'thin depth=3 width=8, conv5 learns conv2'."""
    return students(frame) + (", " + frame["guided_layer"] + " learns " + frame["hint_layer"]).fillna("")


def confusions(store: Path) -> dict[str, dict[str, Any]]:
    """Load the confusion matrices by run, under the keys `valid` and `test`.

    A matrix holds numbers of images, with one row for each true class. The key `classes` holds the classes' names, or
    None if they are not known. Anything but a square matrix of counts is left out.
    """
    loaded: dict[str, dict[str, Any]] = {}
    for directory in _directories(store):
        result = _result(directory)
        stored = {split: _at(result, f"student.{split}_confusion") for split in ("valid", "test")}
        matrices: dict[str, Any] = {split: matrix for split, matrix in stored.items() if _is_square(matrix)}
        if matrices:
            classes = result.get("classes")
            sizes = {len(matrix) for matrix in matrices.values()}
            has_names = isinstance(classes, list) and sizes == {len(classes)}
            loaded[directory.name] = matrices | {"classes": list(map(str, classes or [])) if has_names else None}
    return loaded


def _is_square(matrix: Any) -> bool:
    """True for a square matrix of counts, as lists of whole numbers."""
    if not isinstance(matrix, list) or not all(isinstance(row, list) and len(row) == len(matrix) for row in matrix):
        return False
    return bool(matrix) and all(type(count) is int and count >= 0 for row in matrix for count in row)


def epochs(store: Path) -> pd.DataFrame:
    """Load one row for each epoch of each run, in their order.

    The columns are `run`, those of EPOCH_COLUMNS, and every other key of the `metrics.jsonl` files.
    """
    rows = [{"run": directory.name, **row} for directory in _directories(store) for row in _rows(directory)]
    frame = pd.DataFrame(rows, columns=None if rows else ["run", *EPOCH_COLUMNS])
    for name in frame.columns.difference(["run", "stage", "best"]):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame.reindex(columns=[*dict.fromkeys(["run", *EPOCH_COLUMNS, *frame.columns])])


HINT_PROGRESS_COLUMNS = {
    "run": "name of the run",
    "left": "the best epoch's hint loss on validation, as a fraction of the first epoch's",
    "plateau_epoch": "first epoch, counted from 1, whose hint loss is within 5 % of the best; if it comes well before "
    "the last epoch, stage 1 was long enough",
    "epochs": "epochs of stage 1",
}
"""The meaning of each column of `hint_progress`."""


def hint_progress(epochs: pd.DataFrame) -> pd.DataFrame:
    """Measure how much stage 1 reduced the hint loss and when it stopped improving, with the columns of
    HINT_PROGRESS_COLUMNS.

    epochs: rows of `epochs`; runs without a stage 1 are left out
    """
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
    """Read `result.json`, and `environment.json` into its key `environment`.

    A result that cannot be read has the status damaged or unreadable.
    """
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
        command = environment.get("command")
        return dict(environment) | {"command": None if command is None else shlex.join(command)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _rows(directory: Path) -> list[dict[str, Any]]:
    """Read the rows of `metrics.jsonl`, up to the first line that is cut off."""
    rows = []
    path = directory / layout.METRICS
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # the file does not exist or must not be read
        lines = []
    for line in lines:
        try:
            row = json.loads(line)
            rows.append(row | row.pop("timing", {}))
        except (ValueError, AttributeError, TypeError):
            break
    return rows


def _at(tree: Any, path: str) -> Any:
    """The value at a dotted path; None if there is none. An object is written as `key=value key=value`."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    if isinstance(tree, dict):
        tree = " ".join(f"{key}={value}" for key, value in tree.items()) or None
    if isinstance(tree, str):  # bytes of a file name that are not text cannot be written to Parquet and HTML
        return tree.encode(errors="replace").decode()
    return tree
