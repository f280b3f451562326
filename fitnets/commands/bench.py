"""Time training steps against plain PyTorch and other frameworks; nothing is stored."""

import argparse
import json

from fitnets.bench import peers, runs, steps, tables
from fitnets.commands.arguments import at_least_two, path, positive
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.machine import devices


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets bench", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="as for fitnets run; default: dataset=cifar10 with its teacher")
    parser.add_argument(
        "--students", default="fitnet1,fitnet4", help="options of the group student; default: fitnet1,fitnet4"
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
    parser.add_argument("--json", type=path, help="file for the numbers")
    parser.add_argument("--markdown", type=path, help="file for the tables")
    arguments = parser.parse_intermixed_args(words)

    terminal, frameworks = Terminal(), list(map(peers.find, arguments.peer))
    dataset = [] if any(word.startswith("dataset=") for word in arguments.overrides) else ["dataset=cifar10"]
    configs = [
        loading.load([*dataset, f"student={student}", *arguments.overrides])
        for student in arguments.students.split(",")
    ]
    device = devices.set_up_device(configs[0].engine)
    size = {"batch": arguments.batch, "rounds": arguments.rounds}
    step_times = [
        time for config in configs for time in steps.measure(config, **size, peers=frameworks, progress=terminal)
    ]
    shown_tables = [tables.of_steps(step_times, **size, device=device), tables.of_contents(step_times)]
    epochs = [stage for config in configs for stage in runs.epochs(config)] if arguments.epochs else []
    if epochs:
        shown_tables.append(tables.of_epochs(epochs, device))
    startup = runs.startup(arguments.rounds) if arguments.startup else {}
    if startup:
        shown_tables.append(tables.of_startup(startup))
    for table in shown_tables:
        terminal.show(table)
    if arguments.json:
        content = tables.as_json(step_times, epochs, startup, device, **size)
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in shown_tables), encoding="utf-8")
