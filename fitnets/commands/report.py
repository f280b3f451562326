"""One page, figures and tables of a store."""

from analysis import report
from fitnets.terminal import Terminal


def main(words: list[str]) -> None:
    raise SystemExit(report.run(words, Terminal().track))
