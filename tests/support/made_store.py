"""Writes a store of runs with known results, so that reports can be tested without training.

| data | runs |
|---|---|
| digits | student `fitnet` by backprop, KD and hints, five seeds each |
| | six `thin` students of the study `sizes`, one seed each, and a failed trial that left no run |
| | one run that diverged, one that is still running, one whose result is damaged |
| cifar10 | students of 5, 7 and 9 layers at 27 to 30 million multiplications, by backprop, KD and hints |
| | a student with three different guided layers |
"""

import json
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from fitnets.sweeper import address

SEEDS = range(5)
VALID = {
    "backprop": [95.0, 94.0, 96.0, 95.5, 94.5],
    "kd": [96.1, 95.8, 96.9, 96.2, 95.9],
    "hints": [96.4, 95.9, 96.8, 96.5, 95.8],
}
"""Validation accuracy in % of the student `fitnet`, for each seed."""
THIN = {
    (3, 4): (90.0, 20_000),
    (5, 4): (89.0, 30_000),
    (3, 8): (94.0, 70_000),
    (9, 4): (93.0, 90_000),
    (3, 12): (97.0, 150_000),
    (9, 12): (96.5, 800_000),
}
"""Validation accuracy in % and multiplications of the `thin` students, by (depth, width)."""
FRONT = [(3, 4), (3, 8), (3, 12)]
"""The students of THIN that are on the front."""
DEPTHS = {
    5: (27_200_000, {"backprop": 84.0, "kd": 85.0, "hints": 86.0}),
    7: (29_300_000, {"backprop": 10.0, "kd": 87.0, "hints": 88.0}),
    9: (29_900_000, {"backprop": 10.0, "kd": 10.0, "hints": 89.0}),
}
"""Multiplications, and accuracy in % by method, for each number of layers."""
HOSTILE = "</script><img src=x onerror=alert(1)> $\\frac$ $x"
"""Text that the page must show literally and not interpret."""


def write_run(store: Path, name: str, *, epochs: int = 0, **changes: Any) -> Path:
    """Write a finished run and return its folder.

    epochs: epochs of each of its two stages, written to `metrics.jsonl`
    changes: replace top-level keys of its `result.json`
    """
    result = {
        "status": "finished",
        "dataset": "digits",
        "method": "kd",
        "schedule": "quick",
        "hashes": hashes(),
        "seeds": {"dataset": 0, "teacher": 0, "student": int(name[-1]) if name[-1].isdigit() else 0},
        "hint": None,
        "images": {"train": 1137, "valid": 3000, "test": 3000},
        "stages": {"teacher": {"epochs": 9}, "student": {"epochs": 30}},
        "teacher": side("big", 99.0, 3_000_000, 100_000),
        "student": side("thin", 90.0, 1_000_000, 20_000),
        "timing": {"run_seconds": 9.5, "device": "cpu, 2 threads", "precision": "fp32", "latency": latency(1.0)},
    }
    directory = store / "run" / name
    directory.mkdir(parents=True)
    (directory / "result.json").write_text(json.dumps(result | changes))
    if epochs:
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(epochs)))
    return directory


def hashes(setting: str = "s0", method: str = "m0", teacher: str = "t0", data: str = "d0") -> dict[str, str]:
    """The hashes of a run. Each data set has one teacher setting."""
    return {
        "data": data,
        "teacher": teacher,
        "teacher_setting": f"teacher of {data}",
        "setting": setting,
        "method": method,
    }


def side(name: str, accuracy: float, multiplications: int, parameters: int, **options: int) -> dict[str, Any]:
    """The result's section of the teacher or student.

    accuracy: in %, on validation; it is one point lower on test
    """
    section = {"name": name, "options": options, "layers": options.get("layers", options.get("depth", 3) + 1)}
    for split, share in (("valid", accuracy / 100), ("test", accuracy / 100 - 0.01)):
        section |= {
            f"{split}_accuracy": share,
            f"{split}_error": 1 - share,
            f"{split}_loss": 0.3,
            f"{split}_calibration_error": 0.02,
        }
    counts = {"multiplications": multiplications, "parameters": parameters, "weights_bytes": 4 * parameters}
    return section | counts | {f"paper_{key}": counts[key] for key in ("multiplications", "parameters")}


def latency(student_ms: float) -> dict[str, dict[str, float]]:
    """Latencies in ms: 2 for the teacher. A batch of 128 takes 50 times as long as a single image."""
    return {
        name: {
            f"batch_{size}_{part}_ms": factor * ms for size, factor in ((1, 1), (128, 50)) for part in ("p50", "p95")
        }
        for name, ms in (("teacher", 2.0), ("student", student_ms))
    }


def pair(guided: str) -> dict[str, str]:
    return {"teacher_layer": "conv2", "student_layer": guided}


def diagnoses(after_hint: float | None) -> dict[str, Any]:
    quality = {"agreement": 0.9, "accuracy": 0.9, "calibration_error": 0.05}
    moments = {"initial": 0.5, **({} if after_hint is None else {"hint": after_hint}), "student": 0.8}
    return {moment: {"similarity": value, **quality} for moment, value in moments.items()}


def rows(epochs: int) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` for stage 1 and stage 2."""
    written = []
    for stage in ("hint", "student"):
        for epoch in range(epochs):
            row = {
                "step": len(written), "stage": stage, "epoch": epoch, "images": 1000 * (epoch + 1), "lr": 0.003,
                "train_loss": 2.5 / (epoch + 1), "best": epoch == epochs - 1, "timing": {"seconds": 0.5},
            }  # fmt: skip
            if stage == "hint":
                row["valid_hint_loss"] = 3.0 / (epoch + 1)
            else:
                row |= {
                    "valid_error": 0.5 / (epoch + 1),
                    "valid_loss": 2.0 / (epoch + 1),
                    "kd_weight": 4.0 - 3.0 * epoch / epochs,
                }
            written.append(row)
    return written


def write_environment(directory: Path, *words: str, **notes: str) -> None:
    environment = {
        "command": ["python", "run.py", *words],
        "platform": "Linux",
        "commit": "c0ffee",
        "packages": {"torch": "2.13"},
    }
    (directory / "environment.json").write_text(json.dumps(environment | notes))


def make(store: Path) -> Path:
    """Write the whole store and return its folder."""
    _methods(store)
    _sizes(store)
    _depths(store)
    write_run(store, "diverged0", status="diverged", error=f"not finite at step 3 {HOSTILE}")
    write_run(store, "running0", status="running")
    (write_run(store, "damaged0") / "result.json").write_text('{"status": "fin')
    return store


def _methods(store: Path) -> None:
    for method, accuracies in VALID.items():
        stages = {"teacher": {"epochs": 9}, "student": {"epochs": 30}}
        if method == "hints":
            stages |= {"hint": {"epochs": 10}, "student": {"epochs": 20}}
        for seed, accuracy in zip(SEEDS, accuracies, strict=True):
            directory = write_run(
                store, f"{method}{seed}", epochs=4, method=method, stages=stages,
                student=side("fitnet", accuracy, 600_000, 32_000), hint=pair("conv5") if method == "hints" else None,
                hashes=hashes("methods", method, teacher=f"t{seed}"),
                seeds={"dataset": 0, "teacher": seed, "student": seed},
                diagnoses=diagnoses(0.9 if method == "hints" else None),
            )  # fmt: skip
            write_environment(directory, f"method={method}", f"seed={seed}", f"teacher.seed={seed}")


def _sizes(store: Path) -> None:
    """Write the study `sizes` with six finished trials, one over budget and one that failed."""
    study = write_study(store, THIN)
    for number, ((depth, width), (accuracy, multiplications)) in enumerate(THIN.items()):
        directory = write_run(
            store, f"thin{number}-0", epochs=4, method="hints", hint=pair("conv2"), diagnoses=diagnoses(0.9),
            student=side("thin", accuracy, multiplications, multiplications // 20, depth=depth, width=width),
            hashes=hashes(f"thin{number}", "hints"),
        )  # fmt: skip
        words = ("student=thin", f"student.depth={depth}", f"student.width={width}", "hydra.mode=RUN")
        write_environment(directory, *words, trial=f"sizes #{number}")
    _add(study, 6, {"depth": 17, "width": 60}, state=TrialState.PRUNED, closed="infeasible")
    _add(study, 7, {"depth": 17, "width": 30}, state=TrialState.FAIL, reason=f"MemoryError: {HOSTILE}")


def write_study(store: Path, results: dict[tuple[int, int], tuple[float, int]]) -> optuna.Study:
    """Write the study `sizes` with one finished trial for each result. Its runs are `thin0-0`, `thin1-0` and so on.

    results: accuracy in % and multiplications by (depth, width), as in THIN
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = store / "sweeps" / "sizes"
    folder.mkdir(parents=True)
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.log")))
    study = optuna.create_study(study_name="sizes", storage=journal, directions=["maximize", "minimize"])
    address.write_record(folder / "study.json", study, str(folder / "study.log"))
    with warnings.catch_warnings(action="ignore"):
        study.set_metric_names(["accuracy", "multiplications"])
    for number, ((depth, width), (accuracy, multiplications)) in enumerate(results.items()):
        values = [accuracy / 100, multiplications]
        _add(study, number, {"depth": depth, "width": width}, values=values, runs=[f"thin{number}-0"])
    return study


def _add(
    study: optuna.Study,
    number: int,
    params: dict[str, int],
    *,
    state: TrialState = TrialState.COMPLETE,
    values: list[float] | None = None,
    **attributes: Any,
) -> None:
    if values is not None:
        attributes |= {"accuracy": values[0], "multiplications": values[1], "seconds": 9.5}
    parameters = {f"student.{name}": value for name, value in params.items()}
    distributions = dict.fromkeys(parameters, optuna.distributions.IntDistribution(3, 99))
    trial = create_trial(
        state=state, values=values, user_attrs=attributes, distributions=distributions, params=parameters
    )
    trial.datetime_start = datetime(2026, 1, 1) + timedelta(minutes=number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=30)
    study.add_trial(trial)


def _depths(store: Path) -> None:
    common = {
        "dataset": "cifar10",
        "images": {"train": 40_000, "valid": 10_000, "test": 10_000},
        "teacher": side("maxout_cifar10", 90.0, 725_000_000, 9_000_000),
    }
    for layers, (multiplications, accuracies) in DEPTHS.items():
        for method, accuracy in accuracies.items():
            write_run(
                store, f"{method}-{layers}", **common, epochs=4, method=method,
                student=side("table6", accuracy, multiplications, 220_000, layers=layers),
                hint=pair(f"conv{layers // 2}") if method == "hints" else None,
                hashes=hashes(f"depth{layers}", method, "c0", "c0"),
            )  # fmt: skip
    for place, accuracy in enumerate((88.0, 91.0, 90.0), start=1):
        write_run(
            store, f"guided{place}", **common, method="hints", hint=pair(f"conv{4 + 3 * place}"),
            student=side("fitnet1", accuracy, 30_150_000, 250_000),
            hashes=hashes("guided", f"hints {place}", "c0", "c0"),
        )  # fmt: skip
