"""Write one page with the figures and tables of a store's runs."""

import argparse
import webbrowser
from pathlib import Path

from fitnets.commands.arguments import path
from fitnets.errors import ConfigError
from fitnets.library import stored
from fitnets.reporting.factors import FACTORS


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets report", description=__doc__)
    parser.add_argument("store", nargs="?", type=path, default=Path("outputs"), help="default: outputs")
    parser.add_argument("--out", type=path, help="folder for the report; default: STORE/report")
    parser.add_argument(
        "--against", metavar="METHOD", help="the method that every other one is compared with; default: kd"
    )
    parser.add_argument(
        "--differing",
        metavar="FACTOR",
        nargs="+",
        choices=list(FACTORS),
        default=[],
        help=f"what else may differ between the two sides of that comparison: {', '.join(FACTORS)}",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    arguments = parser.parse_args(words)
    written = stored.report(
        arguments.store, arguments.out, against=arguments.against, differing=arguments.differing, quiet=False
    )
    print(f"{written}: open it in a browser; tables and figures are beside it")
    if arguments.open and not webbrowser.open(written.resolve().as_uri()):
        raise ConfigError(f"--open: no browser can be started here: open {written} yourself")
