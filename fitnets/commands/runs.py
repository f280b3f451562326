"""The runs of a store and their status."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from fitnets import inventory
from fitnets.commands.arguments import path
from fitnets.terminal import Terminal


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets runs", description="The runs of a store and their status, oldest first.")
    parser.add_argument("store", nargs="?", type=path, default=Path("outputs"), help="default: outputs")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_args(words)

    inventory.check_store(arguments.store)
    found = inventory.runs(arguments.store)
    if arguments.json:
        print(json.dumps([asdict(run) for run in found], indent=2))
        return

    header = ["run", "status", "data", "method", "teacher", "student", "seed", "validation", "test"]
    rows = [
        [
            Path(run.directory).name,
            run.status,
            *(str(part or "-") for part in (run.dataset, run.method, run.teacher, run.student)),
            "-" if run.seed is None else str(run.seed),
            *("-" if share is None else f"{100 * share:.2f} %" for share in (run.valid_accuracy, run.test_accuracy)),
        ]
        for run in found
    ]
    terminal = Terminal()
    terminal.table(f"{arguments.store}: accuracies are the student's", header, rows)
    for run in found:
        if run.error is not None:
            terminal.say(f"{Path(run.directory).name} {run.status}: {run.error.splitlines()[0]}")
