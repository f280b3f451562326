"""Push a finished student to the Hugging Face Hub: weights, configuration, ONNX file and a model card."""

import argparse

from fitnets.commands.arguments import RUN_HELP, find_run, path
from fitnets.composition import loading
from fitnets.exporting import hub_card
from fitnets.library import pushing


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets push", description=__doc__)
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("name", help="USER/NAME of the model on the Hub")
    parser.add_argument("overrides", nargs="*", help="store=..., where a hash is looked up")
    parser.add_argument(
        "--dry-run", action="store_true", help="print files, sizes and the card; write and send nothing"
    )
    parser.add_argument("--to", type=path, metavar="FOLDER", help="write the files into a folder instead")
    parser.add_argument("--public", action="store_true", help="a new repository is public; by default it is private")
    parser.add_argument("--license", default=hub_card.LICENCE, help="the licence's name on the Hub; default: mit")
    arguments = parser.parse_intermixed_args(words)
    loading.load(arguments.overrides)  # raises for a mistake in them
    network = find_run(arguments.run, arguments.overrides)
    pushing.push(
        network.weights.parent,
        arguments.name,
        say=print,
        to=arguments.to,
        dry_run=arguments.dry_run,
        public=arguments.public,
        licence=arguments.license,
    )
