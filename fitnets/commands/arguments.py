"""Parsers and argument types that the commands share."""

import argparse
from pathlib import Path

from fitnets.paths import expanded
from fitnets.store import earlier_runs
from fitnets.store.earlier_runs import StoredNetwork

RUN_HELP = "folder of a run, or a hash of the store or its first 4 or more digits"


def with_overrides(name: str, description: str | None, overrides: str) -> argparse.ArgumentParser:
    """Return a parser for a command that takes the overrides of `fitnets run`.

    name: name of the command
    description: the help line
    overrides: help for the overrides

    Parse with `parse_intermixed_args`, so that options may stand between overrides.
    """
    parser = argparse.ArgumentParser(f"fitnets {name}", description=description)
    parser.add_argument("overrides", nargs="*", help=overrides)
    parser.add_argument("--config-dir", help="folder with your own options, as for fitnets run")
    return parser


def find_run(run: str, overrides: list[str]) -> StoredNetwork:
    """Find the trained network of the argument RUN.

    run: folder of the run, or its hash
    overrides: name the store in which a hash is looked up

    Raises ConfigError if there is no such run.
    """
    if not expanded(run).is_dir():
        from fitnets.composition import loading  # imports Hydra, which a folder does not need

        root = loading.load([word for word in overrides if word.startswith("store=")]).root
        run = earlier_runs.locate(run, root, "RUN")
    return earlier_runs.find_network(run, "RUN")


def path(text: str) -> Path:
    """Convert an argument to a path and expand `~`. Refuse an empty one, which would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: give a path")
    return expanded(text)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def at_least_two(text: str) -> int:
    number = positive(text)
    if number < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2 rounds, and 1 was given")
    return number
