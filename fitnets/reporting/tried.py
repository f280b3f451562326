"""Runs that tried settings one after the other: what each changed, and what validation said."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fitnets.console import markdown
from fitnets.console.quantities import duration
from fitnets.reporting import runs

_PLACES = ("store", "dataset.path", "tracker", "engine.threads", "test", "seed", "--config-dir")
"""keys that change no result, and the seed, which has a column of its own"""
_HEADER = ["what was given", "seed", "epochs", "teacher, validation", "student, validation", "loss", "training"]


def table(folder: Path) -> str:
    """Write a Markdown table with one row for each finished run: the overrides that not all runs have, accuracies in %,
    the cross-entropy in nats. The longest trainings come first, and of equally long ones the best.

    folder: holds `run/<hash>/result.json` and `environment.json`
    """
    frame = runs.load(folder)
    frame = frame[frame["status"] == "finished"].reset_index(drop=True)
    given = [list(_overrides(command)) for command in frame["command"].fillna("")]
    common = set.intersection(*map(set, given)) if given else set()
    frame["epochs"] = frame["student_epochs"].astype(float) + frame["hint_epochs"].astype(float).fillna(0)
    order = frame.sort_values(["epochs", "student_valid_accuracy"], ascending=False).index
    rows = [_row(frame.loc[index], [word for word in given[index] if word not in common]) for index in order]
    shared = " ".join(f"`{word}`" for word in given[0] if word in common) if given else ""
    return "\n\n".join([f"All have {shared}.", markdown.table(_HEADER, rows)])


def _row(run: pd.Series, words: list[str]) -> list[str]:
    seconds = run[["hint_seconds", "student_seconds"]].fillna(0.0).sum()
    return [
        " ".join(f"`{word}`" for word in words) or "nothing else",
        str(run["seed"]),
        f"{run['epochs']:.0f}",
        *(
            "-" if pd.isna(share) else f"{100 * share:.2f} %"
            for share in run[["teacher_valid_accuracy", "student_valid_accuracy"]]
        ),
        f"{run['student_valid_loss']:.3f}",
        duration(float(seconds)),
    ]


def _overrides(command: str) -> Iterator[str]:
    """The overrides of a command that may change a result."""
    words = iter(shlex.split(command))
    for word in words:
        if word == "--config-dir":
            next(words, None)
        elif "=" in word and word.split("=")[0].lstrip("+~") not in _PLACES:
            yield word
