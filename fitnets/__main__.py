"""Runs the `fitnets` command for `python -m fitnets`."""

import sys

from fitnets.cli import main

if __name__ == "__main__":
    sys.exit(main())
