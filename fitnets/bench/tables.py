"""What the benchmarks found: as tables, as Markdown, as JSON."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from fitnets import engine
from fitnets.bench.runs import Epochs
from fitnets.bench.steps import Measured
from fitnets.tables import Table


def of_steps(found: Sequence[Measured], *, batch: int, rounds: int, device: torch.device) -> Table:
    rivals = list(dict.fromkeys(name for one in found for name in one.against_peers))
    title = f"training steps of {batch} images on {engine.describe(device)}, {rounds} rounds in turns"
    header = ["student", "step", "by", "precision", "images/s", "quartiles", "time / plain backprop"]
    header += [f"images/s / {name}" for name in rivals] + ["of the matrix product's rate"]
    return Table(title, header, [_row(one, rivals) for one in found])


def _row(one: Measured, rivals: Sequence[str]) -> list[str]:
    contestant = one.contestant
    who = contestant.who if contestant.who != "fitnets" else f"fitnets, {_teacher(contestant.answers)}"
    shares = [one.against_peers.get(name) for name in rivals]
    return [
        one.student,
        contestant.step,
        who.removesuffix(", "),
        contestant.precision,
        f"{one.images_per_s:.0f}",
        f"{one.low:.0f} - {one.high:.0f}",
        f"{one.against_plain:.2f}",
        *("-" if share is None else f"{share:.1f}" for share in shares),
        "-" if one.peak_share is None else f"{100 * one.peak_share:.0f} %",
    ]


def _teacher(answers: str | None) -> str:
    return f"teacher {answers}" if answers else ""


def of_contents(found: Sequence[Measured]) -> Table:
    """What each step computes."""
    told = {(one.contestant.who, one.contestant.step, one.contestant.answers): one.contestant.computes for one in found}
    rows = [
        [f"{who}, {_teacher(answers)}".removesuffix(", "), step, what] for (who, step, answers), what in told.items()
    ]
    return Table("what a step computes", ["by", "step", "computes"], rows)


def of_epochs(found: Sequence[Epochs], device: torch.device) -> Table:
    title = f"epochs of whole runs on {engine.describe(device)}, validation apart, against as many steps"
    header = ["student", "stage", "precision", "epochs", "an epoch", "its steps", "ratio", "images/s"]
    rows = [
        [
            one.student,
            one.stage,
            one.precision,
            str(one.epochs),
            f"{one.epoch_s:.2f} s",
            f"{one.steps_s:.2f} s",
            f"{one.ratio:.3f}",
            f"{one.images_per_s:.0f}",
        ]
        for one in found
    ]
    return Table(title, header, rows)


def of_startup(found: dict[str, float]) -> Table:
    return Table("start-up, on digits", ["", "seconds"], [[name, f"{took:.2f} s"] for name, took in found.items()])


def as_json(
    steps: Sequence[Measured], epochs: Sequence[Epochs], startup: dict[str, float], device: torch.device, **asked: Any
) -> dict[str, Any]:
    return {
        "steps": [asdict(one) for one in steps],
        "epochs": [asdict(one) for one in epochs],
        "startup_seconds": startup,
        **asked,
        "environment": engine.environment(device),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
