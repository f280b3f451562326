"""Names the folders of the project and of the shared data sets."""

from pathlib import Path

import run

ROOT = Path(run.__file__).parent
SHARED_MNIST = ROOT.parent / "shared" / "data" / "mnist"
SHARED_CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10"
