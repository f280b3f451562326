"""Time until a student first reaches an accuracy on validation: this project's runs against RepDistiller's loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fitnets.console import markdown
from fitnets.console.quantities import duration
from fitnets.reporting import runs
from fitnets.store import files

_GOAL = 0.85
"""accuracy on validation, a fraction"""
_GOAL_WORDS = f"{100 * _GOAL:.0f} %"
_OWN_METHODS = ("hints", "kd")
_THEIR_STEPS = {"kd": "KD", "hint": "hint"}
"""RepDistiller's name of a method: the step of `fitnets bench` that it consists of"""


@dataclass(frozen=True)
class _Training:
    """One training of the student.

    method: a method of `_OWN_METHODS`, or "RepDistiller's kd" or "RepDistiller's hint"
    hint_epochs: epochs of stage 1
    accuracies: on validation, fractions, after each epoch of the whole student
    hint_speed, speed: images a second of stage 1, and of the whole student, with the teacher's forward pass"""

    method: str
    rate: float | None
    seed: int
    hint_epochs: int
    accuracies: list[float]
    hint_speed: float
    speed: float

    @property
    def epochs(self) -> int | None:
        """Epochs of the whole student until the goal; None if it ended below."""
        return next((number for number, share in enumerate(self.accuracies, start=1) if share >= _GOAL), None)

    @property
    def epochs_in_words(self) -> str:
        first = f"{self.hint_epochs} + " if self.hint_epochs else ""
        return f"{first}{self.epochs}" if self.epochs else f"> {first}{len(self.accuracies)}"

    def seconds(self, images: int) -> float:
        """Seconds until the goal, or of all epochs if it ended below.

        images: images of an epoch"""
        return images * (self.hint_epochs / self.hint_speed + (self.epochs or len(self.accuracies)) / self.speed)


def table(folder: Path, own: Path) -> str:
    """Write a Markdown table of the times until the goal, and one of the rates that were tried for RepDistiller.

    A time is a number of epochs, times the images of an epoch, divided by measured images a second. Every epoch counts
    with a forward pass of the teacher, ours too, though from the 17th on they find its outputs in the cache. Of
    RepDistiller's rates the one counts that needed the fewest epochs with seed 0.

    folder: holds `epochs.jsonl` of `python -m fitnets.bench.race`, and `bench.json` of `fitnets bench --peer`
    own: holds our runs of the same student and teacher, with their epochs
    """
    steps = [(step["contestant"], step["images_per_s"]) for step in files.read_json(folder / "bench.json")["steps"]]
    speeds = {(one["who"], one["step"]): speed for one, speed in steps if one["answers"] == "live"}  # the last is bf16
    epochs = runs.epochs(own)
    images = int(epochs.loc[epochs["stage"] == "student", "images"].min())
    ours = list(_ours(runs.load(own), epochs, speeds))
    theirs = list(_theirs(pd.read_json(folder / "epochs.jsonl", lines=True), speeds))
    groups = [[one for one in ours if one.method == method] for method in _OWN_METHODS]
    groups += [
        _with_best_rate([one for one in theirs if one.method == name])
        for name in sorted({one.method for one in theirs})
    ]
    return "\n\n".join([_times(groups, images), _tried(theirs)])


def _ours(frame: pd.DataFrame, epochs: pd.DataFrame, speeds: dict[tuple[str, str], float]) -> Iterator[_Training]:
    for _, run in frame[frame["method"].isin(_OWN_METHODS)].sort_values("seed").iterrows():
        student = epochs[(epochs["run"] == run["run"]) & (epochs["stage"] == "student")]
        yield _Training(
            method=run["method"],
            rate=None,
            seed=int(run["seed"]),
            hint_epochs=0 if pd.isna(run["hint_epochs"]) else int(run["hint_epochs"]),
            accuracies=list(1 - student["valid_error"]),
            hint_speed=speeds["fitnets", "hint"],
            speed=speeds["fitnets", "KD"],
        )


def _theirs(rows: pd.DataFrame, speeds: dict[tuple[str, str], float]) -> Iterator[_Training]:
    """RepDistiller's trainings. An epoch that was repeated after a stop has two rows, and counts once."""
    for _, epochs in rows.groupby(["method", "rate", "seed"]):
        first = epochs.iloc[0]
        speed = speeds["repdistiller", _THEIR_STEPS[first["method"]]]
        yield _Training(
            method=f"RepDistiller's {first['method']}",
            rate=float(first["rate"]),
            seed=int(first["seed"]),
            hint_epochs=0,
            accuracies=list(epochs.drop_duplicates("epoch").sort_values("epoch")["valid_accuracy"]),
            hint_speed=speed,
            speed=speed,
        )


def _with_best_rate(trainings: list[_Training]) -> list[_Training]:
    """The trainings with the rate that needed the fewest epochs with seed 0; of equal ones, the more accurate."""
    first = [one for one in trainings if one.seed == 0]
    best = min(first, key=lambda one: (one.epochs or len(one.accuracies) + 1, -max(one.accuracies)))
    return [one for one in trainings if one.rate == best.rate]


def _times(groups: list[list[_Training]], images: int) -> str:
    """The table of the times; the first groups are ours."""
    means = [sum(one.seconds(images) for one in group) / len(group) for group in groups]
    header = ["trained by", f"epochs until {_GOAL_WORDS}, each seed", "images a second", "time until then, mean"]
    header += [f"time / ours, {method}" for method in _OWN_METHODS]
    rows = []
    for group, mean in zip(groups, means, strict=True):
        first, bound = group[0], "> " if any(one.epochs is None for one in group) else ""
        speed = f"{first.hint_speed:.0f} + {first.speed:.0f}" if first.hint_epochs else f"{first.speed:.0f}"
        rows.append([first.method, ", ".join(one.epochs_in_words for one in group), speed, bound + duration(mean)])
        rows[-1] += [f"{bound}{mean / own:.1f}" for own in means[: len(_OWN_METHODS)]]
    return markdown.table(header, rows)


def _tried(trainings: list[_Training]) -> str:
    header = ["rates that were tried", "rate", "seed", "epochs", f"until {_GOAL_WORDS}", "best accuracy"]
    return markdown.table(
        header,
        [
            [one.method, f"{one.rate:g}", str(one.seed), str(len(one.accuracies)), one.epochs_in_words]
            + [f"{100 * max(one.accuracies):.2f} %"]
            for one in trainings
        ],
    )
