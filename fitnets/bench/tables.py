"""Puts the results of the benchmarks into tables and JSON."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from fitnets.bench.photo_input import InputTimes
from fitnets.bench.runs import Epochs
from fitnets.bench.steps import Measured
from fitnets.bench.streaming import Streaming
from fitnets.console import quantities
from fitnets.console.tables import Table
from fitnets.machine import devices, environment


def of_steps(measurements: Sequence[Measured], *, batch: int, rounds: int, device: torch.device) -> Table:
    peers = list(dict.fromkeys(name for measured in measurements for name in measured.against_peers))
    title = f"training steps of {batch} images on {devices.describe(device)}, {rounds} rounds in turns"
    header = ["student", "step", "by", "precision", "images/s", "quartiles", "time / plain backprop"]
    header += [f"images/s / {name}" for name in peers] + ["of the matrix product's rate"]
    return Table(title, header, [_row(measured, peers) for measured in measurements])


def _row(measured: Measured, peers: Sequence[str]) -> list[str]:
    contestant = measured.contestant
    is_own = contestant.who == "fitnets"
    speedups = [measured.against_peers.get(name) for name in peers]
    return [
        measured.student,
        contestant.step,
        _with_teacher(contestant.who, contestant.answers) if is_own else contestant.who,
        contestant.precision,
        f"{measured.images_per_s:.0f}",
        f"{measured.low:.0f} - {measured.high:.0f}",
        f"{measured.against_plain:.2f}",
        *("-" if speedup is None else f"{speedup:.1f}" for speedup in speedups),
        "-" if measured.peak_share is None else f"{100 * measured.peak_share:.0f} %",
    ]


def _with_teacher(who: str, answers: str | None) -> str:
    return f"{who}, teacher {answers}" if answers else who


def of_contents(measurements: Sequence[Measured]) -> Table:
    """A table of what each step computes."""
    contestants = [measured.contestant for measured in measurements]
    computes = {(one.who, one.step, one.answers): one.computes for one in contestants}
    rows = [[_with_teacher(who, answers), step, what] for (who, step, answers), what in computes.items()]
    return Table("what a step computes", ["by", "step", "computes"], rows)


def of_epochs(measurements: Sequence[Epochs], device: torch.device) -> Table:
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
        for epochs in measurements
    ]
    return Table(title, header, rows)


def of_startup(durations_s: dict[str, float]) -> Table:
    rows = [[name, f"{duration_s:.2f} s"] for name, duration_s in durations_s.items()]
    return Table("start-up, on digits", ["", "seconds"], rows)


def of_photo_input(measurements: Sequence[InputTimes]) -> Table:
    images, rounds = measurements[0].images, measurements[0].rounds
    title = f"input of {images} JPEG photos without a network, {rounds} rounds in turns"
    header = ["by", "first epoch", "plain / this", "later epochs", "plain / this", "images/s later"]
    rows = [
        [
            by.who,
            f"{by.first_s:.2f} s",
            f"{by.first_ratio:.2f}",
            f"{by.later_s:.2f} s",
            f"{by.later_ratio:.2f}",
            f"{images / by.later_s:.0f}",
        ]
        for by in measurements
    ]
    return Table(title, header, rows)


def of_streaming(measurements: Sequence[Streaming]) -> Table:
    title = "training a ResNet-18 on streamed photos, against photos in memory, in turns"
    header = ["photos", "stored", "until stored", "precision", "steps", "a streamed step", "a step in memory", "ratio"]
    header += ["memory beside mapped files", "its limit"]
    rows = [
        [
            str(measured.images),
            quantities.size(measured.stored_bytes),
            f"{measured.decoding_s:.1f} s",
            measured.precision,
            str(measured.steps),
            f"{1000 * measured.streamed_s:.0f} ms",
            f"{1000 * measured.resident_s:.0f} ms",
            f"{measured.ratio:.3f}",
            "-" if measured.anonymous_bytes is None else quantities.size(measured.anonymous_bytes),
            "-" if measured.memory_limit_bytes is None else quantities.size(measured.memory_limit_bytes),
        ]
        for measured in measurements
    ]
    return Table(title, header, rows)


def as_json(results: Mapping[str, Sequence[Any]], *, device: torch.device, **settings: Any) -> dict[str, Any]:
    """All results with the environment and the time.

    results: measurements of each kind
    settings: further entries, such as the batch size"""
    return {
        **{kind: [asdict(measured) for measured in measurements] for kind, measurements in results.items()},
        **settings,
        "environment": environment.environment_record(device),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
