"""`python -m fitnets` is the `fitnets` command."""

import sys

from fitnets.cli import main

if __name__ == "__main__":
    sys.exit(main())
