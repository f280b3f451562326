"""Train a teacher and its student, or run a sweep: the same as `python run.py`, with Hydra's flags."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

from fitnets import paths


def main(words: list[str]) -> None:
    """Run `run.py` with a command line that lacks the word `run`, because Hydra reads its words from there."""
    spec = spec_from_file_location("run", paths.RUN)
    assert spec is not None
    assert spec.loader is not None
    run = module_from_spec(spec)
    typed, sys.argv = sys.argv, ["fitnets run", *words]
    try:
        spec.loader.exec_module(run)
        run.main()
    finally:
        sys.argv = typed
