"""What the benchmarks found: as tables, as Markdown, as JSON."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from fitnets.bench.runs import Epochs
from fitnets.bench.steps import Measured
from fitnets.console.tables import Table
from fitnets.machine import devices, environment


def of_steps(found: Sequence[Measured], *, batch: int, rounds: int, device: torch.device) -> Table:
    rivals = list(dict.fromkeys(name for measured in found for name in measured.against_peers))
    title = f"training steps of {batch} images on {devices.describe(device)}, {rounds} rounds in turns"
    header = ["student", "step", "by", "precision", "images/s", "quartiles", "time / plain backprop"]
    header += [f"images/s / {name}" for name in rivals] + ["of the matrix product's rate"]
    return Table(title, header, [_row(measured, rivals) for measured in found])


def _row(measured: Measured, rivals: Sequence[str]) -> list[str]:
    contestant = measured.contestant
    who = contestant.who if contestant.who != "fitnets" else f"fitnets, {_teacher(contestant.answers)}"
    shares = [measured.against_peers.get(name) for name in rivals]
    return [
        measured.student,
        contestant.step,
        who.removesuffix(", "),
        contestant.precision,
        f"{measured.images_per_s:.0f}",
        f"{measured.low:.0f} - {measured.high:.0f}",
        f"{measured.against_plain:.2f}",
        *("-" if share is None else f"{share:.1f}" for share in shares),
        "-" if measured.peak_share is None else f"{100 * measured.peak_share:.0f} %",
    ]


def _teacher(answers: str | None) -> str:
    return f"teacher {answers}" if answers else ""


def of_contents(found: Sequence[Measured]) -> Table:
    """What each step computes."""
    contestants = [measured.contestant for measured in found]
    computed = {(by.who, by.step, by.answers): by.computes for by in contestants}
    rows = [
        [f"{who}, {_teacher(answers)}".removesuffix(", "), step, what]
        for (who, step, answers), what in computed.items()
    ]
    return Table("what a step computes", ["by", "step", "computes"], rows)


def of_epochs(found: Sequence[Epochs], device: torch.device) -> Table:
    title = f"epochs of whole runs on {devices.describe(device)}, validation apart, against as many steps"
    header = ["student", "stage", "precision", "epochs", "an epoch", "its steps", "ratio", "images/s"]
    rows = [
        [
            epochs.student,
            epochs.stage,
            epochs.precision,
            str(epochs.epochs),
            f"{epochs.epoch_s:.2f} s",
            f"{epochs.steps_s:.2f} s",
            f"{epochs.ratio:.3f}",
            f"{epochs.images_per_s:.0f}",
        ]
        for epochs in found
    ]
    return Table(title, header, rows)


def of_startup(found: dict[str, float]) -> Table:
    return Table("start-up, on digits", ["", "seconds"], [[name, f"{took:.2f} s"] for name, took in found.items()])


def as_json(
    steps: Sequence[Measured], epochs: Sequence[Epochs], startup: dict[str, float], device: torch.device, **asked: Any
) -> dict[str, Any]:
    return {
        "steps": [asdict(measured) for measured in steps],
        "epochs": [asdict(of_stage) for of_stage in epochs],
        "startup_seconds": startup,
        **asked,
        "environment": environment.environment(device),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
