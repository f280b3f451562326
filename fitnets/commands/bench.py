"""Time training steps against plain PyTorch and other frameworks; nothing is stored."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from fitnets.bench import peers, photo_input, runs, steps, streaming, tables
from fitnets.commands.arguments import at_least_two, path, positive
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.machine import devices


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fitnets bench", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="as for fitnets run; default: dataset=cifar10 with its teacher")
    parser.add_argument(
        "--students",
        help="options of the group student; default: fitnet1,fitnet4, or none beside --photos and --streamed",
    )
    parser.add_argument("--batch", type=positive, default=128, help="images in a step; default: 128")
    parser.add_argument(
        "--rounds", type=at_least_two, default=5, help="steps of each kind, timed in alternation; default: 5"
    )
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=DIR", help="checkout of a framework to compare with"
    )
    parser.add_argument("--epochs", action="store_true", help="also time epochs of whole runs, on the data set itself")
    parser.add_argument("--startup", action="store_true", help="also time a process before its first epoch")
    parser.add_argument(
        "--photos", type=positive, metavar="N", help="time the input of N JPEG files, made here, against a DataLoader"
    )
    parser.add_argument(
        "--streamed",
        type=positive,
        metavar="N",
        help="time training on N photos streamed from the disk, against photos in memory; they take 150 kB each in "
        "the folder for temporary files",
    )
    parser.add_argument(
        "--steps", type=positive, default=200, help="steps of each kind that --streamed times; default: 200"
    )
    parser.add_argument("--json", type=path, help="file for the numbers")
    parser.add_argument("--markdown", type=path, help="file for the tables")
    return parser


def main(words: list[str]) -> None:
    arguments = _parser().parse_intermixed_args(words)
    terminal, frameworks = Terminal(), list(map(peers.find, arguments.peer))
    made_here = bool(arguments.photos or arguments.streamed)
    students = arguments.students or ("" if made_here else "fitnet1,fitnet4")
    dataset = [] if any(word.startswith("dataset=") for word in arguments.overrides) else ["dataset=cifar10"]
    configs = [
        loading.load([*dataset, f"student={student}", *arguments.overrides])
        for student in students.split(",")
        if student
    ]
    device = devices.set_up_device((configs[0] if configs else loading.load(arguments.overrides)).engine)
    size = {"batch": arguments.batch, "rounds": arguments.rounds}
    step_times = [
        time for config in configs for time in steps.measure(config, **size, peers=frameworks, progress=terminal)
    ]
    epochs = [stage for config in configs for stage in runs.epochs(config)] if arguments.epochs else []
    startup = runs.startup(arguments.rounds) if arguments.startup else {}
    inputs = photo_input.measure(arguments.photos, arguments.rounds, terminal) if arguments.photos else []
    streamed = [streaming.measure(arguments.streamed, arguments.steps, terminal)] if arguments.streamed else []
    shown_tables = [
        *([tables.of_steps(step_times, **size, device=device), tables.of_contents(step_times)] if step_times else []),
        *([tables.of_epochs(epochs, device)] if epochs else []),
        *([tables.of_startup(startup)] if startup else []),
        *([tables.of_photo_input(inputs)] if inputs else []),
        *([tables.of_streaming(streamed)] if streamed else []),
    ]
    for table in shown_tables:
        terminal.show(table)
    if arguments.json:
        results: dict[str, Sequence[Any]] = {
            "steps": step_times,
            "epochs": epochs,
            "photo_input": inputs,
            "streaming": streamed,
        }
        content = tables.as_json(results, startup_seconds=startup, **size, device=device)
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in shown_tables), encoding="utf-8")
