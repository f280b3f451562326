"""Write the pages of `analysis/results` and the README's tables from stored results."""

import argparse

from fitnets import paths
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.reproduction import result_pages


def main(words: list[str]) -> None:
    description = "Write the pages of analysis/results and the README's tables from the stored results of a checkout."
    argparse.ArgumentParser("fitnets results", description=description).parse_args(words)
    if not result_pages.RESULTS.is_dir():
        raise ConfigError(f"{paths.ROOT} holds no analysis/results: run fitnets results in a checkout of the project")
    changed = result_pages.write()
    for path in changed:
        Terminal().say(f"written: {path.relative_to(paths.ROOT)}")
    if not changed:
        Terminal().say("every page is up to date")
