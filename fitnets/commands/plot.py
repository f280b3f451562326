"""Draw one figure of a store's runs into a file: PNG, SVG or PDF."""

import argparse
from pathlib import Path

from fitnets.commands.arguments import path
from fitnets.library import stored
from fitnets.reporting.figures import saving


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets plot", description=__doc__)
    parser.add_argument("kind", metavar="FIGURE", help=", ".join(saving.KINDS))
    parser.add_argument("store", nargs="?", type=path, default=Path("outputs"), help="default: outputs")
    parser.add_argument("-o", "--out", type=path, metavar="FILE", help="default: FIGURE.png")
    parser.add_argument("--name", help="for curves the hash of a run, for sweep a study; default: the latest")
    arguments = parser.parse_intermixed_args(words)
    saving.check_kind(arguments.kind)
    out = arguments.out or Path(f"{arguments.kind}.png")
    saving.check_path(out)
    saving.save(stored.plot(arguments.kind, arguments.store, arguments.name), out)
    print(f"{out}: written")
