"""What commands have in common on their command lines."""

import argparse
from pathlib import Path

from fitnets.paths import expanded
from fitnets.store import earlier_runs
from fitnets.store.earlier_runs import StoredNetwork

RUN_HELP = "folder of a run, or a hash of the store or its first 4 or more digits"


def with_overrides(name: str, description: str, overrides: str) -> argparse.ArgumentParser:
    """A parser of a command that takes the overrides of `fitnets run`. Parse with `parse_intermixed_args`."""
    parser = argparse.ArgumentParser(f"fitnets {name}", description=description)
    parser.add_argument("overrides", nargs="*", help=overrides)
    parser.add_argument("--config-dir", help="folder with options of your own, as for fitnets run")
    return parser


def find_run(given: str, overrides: list[str]) -> StoredNetwork:
    """The trained network of a RUN on the command line. A hash is looked up in the store that the overrides name."""
    if not expanded(given).is_dir():
        from fitnets.composition import loading  # Hydra: not for a folder

        root = loading.load([word for word in overrides if word.startswith("store=")]).root
        given = earlier_runs.locate(given, root, "RUN")
    return earlier_runs.find_network(given, "RUN")


def path(text: str) -> Path:
    """A file or folder; `~` is a home. An empty one would be the present folder, which nobody named."""
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
        raise argparse.ArgumentTypeError("1 is no number of rounds to take quartiles of: give at least 2")
    return number
