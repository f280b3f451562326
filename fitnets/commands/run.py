"""Train: the same as `python run.py`, with its words and Hydra's flags (-m, --help, --cfg, --config-dir)."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

from fitnets import paths


def main(words: list[str]) -> None:
    """Hydra reads the words from the command line: it gets one without the word `run`."""
    spec = spec_from_file_location("run", paths.RUN)
    assert spec is not None
    assert spec.loader is not None
    run = module_from_spec(spec)
    given, sys.argv = sys.argv, ["fitnets run", *words]
    try:
        spec.loader.exec_module(run)
        run.main()
    finally:
        sys.argv = given
