"""Speed of training."""

import argparse
import json

from fitnets.bench import peers, runs, steps, tables
from fitnets.commands.arguments import at_least_two, path, positive
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.machine import devices


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets bench", description="Speed of training; nothing is kept.")
    parser.add_argument("overrides", nargs="*", help="as for fitnets run; default: dataset=cifar10 and its teacher")
    parser.add_argument("--students", default="fitnet1,fitnet4", help="options of student; default: fitnet1,fitnet4")
    parser.add_argument("--batch", type=positive, default=128, help="images of a step; default: 128")
    parser.add_argument("--rounds", type=at_least_two, default=5, help="steps of each kind, in turns; default: 5")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=DIR", help="checkout to compare with")
    parser.add_argument("--epochs", action="store_true", help="epochs of whole runs too, on the data set itself")
    parser.add_argument("--startup", action="store_true", help="what processes take beyond epochs, too")
    parser.add_argument("--json", type=path, help="file for the figures")
    parser.add_argument("--markdown", type=path, help="file for the tables")
    arguments = parser.parse_intermixed_args(words)

    terminal, rivals = Terminal(), list(map(peers.find, arguments.peer))
    dataset = [] if any(word.startswith("dataset=") for word in arguments.overrides) else ["dataset=cifar10"]
    configs = [
        loading.load([*dataset, f"student={student}", *arguments.overrides])
        for student in arguments.students.split(",")
    ]
    device = devices.set_up_device(configs[0].engine)
    size = {"batch": arguments.batch, "rounds": arguments.rounds}
    stepped = [
        measured for config in configs for measured in steps.measure(config, **size, peers=rivals, progress=terminal)
    ]
    shown = [tables.of_steps(stepped, **size, device=device), tables.of_contents(stepped)]
    epochs = [stage for config in configs for stage in runs.epochs(config)] if arguments.epochs else []
    if epochs:
        shown.append(tables.of_epochs(epochs, device))
    startup = runs.startup(arguments.rounds) if arguments.startup else {}
    if startup:
        shown.append(tables.of_startup(startup))
    for table in shown:
        terminal.show(table)
    if arguments.json:
        told = tables.as_json(stepped, epochs, startup, device, **size)
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in shown), encoding="utf-8")
