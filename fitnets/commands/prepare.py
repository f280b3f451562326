"""Cut the patches for dataset=aflw and write them as Parquet files."""

import argparse
from pathlib import Path

from fitnets import paths
from fitnets.commands.arguments import path, positive
from fitnets.composition import overrides
from fitnets.console.terminal import Terminal
from fitnets.data import aflw


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets prepare", description=__doc__)
    parser.add_argument("dataset", choices=["aflw"])
    parser.add_argument("--aflw", type=path, required=True, help="folder with aflw.sqlite and the images")
    parser.add_argument("--negatives", type=path, required=True, help="folder of images without faces")
    parser.add_argument("--out", type=path, default=Path("aflw-patches"), help="default: aflw-patches")
    parser.add_argument("--count", type=positive, help="patches without faces; default: as many as faces")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for the patches without faces and for the split; default: 0"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out database rows and images that give no patch"
    )
    arguments = parser.parse_args(words)

    terminal = Terminal()
    parts, skipped = aflw.prepare(
        arguments.aflw,
        arguments.negatives,
        arguments.out,
        count=arguments.count,
        seed=arguments.seed,
        skip_broken=arguments.skip_broken,
        track=terminal.track,
    )
    for reason in skipped:
        terminal.say(f"left out: {reason}")
    for part, classes in parts.items():
        terminal.say(f"{part}: " + ", ".join(f"{count} patches with {name}" for name, count in classes.items()))
    terminal.say(f"{paths.COMMAND} dataset=aflw {overrides.shown('dataset.path', str(arguments.out))}")
