"""A run that the tests of a file share, and a watch over everything that belongs to the whole process."""

import logging
import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fitnets
from support.runs import TINY


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> fitnets.Result:
    torch.set_num_threads(1)
    return fitnets.run([*TINY, f"store={tmp_path_factory.mktemp('library') / 'store'}"], quiet=True)


def process() -> dict[str, Any]:
    """Everything of the process that a caller may rely on."""
    loggers = ("optuna", "torch.onnx", "onnxscript", "datasets", "fitnets")
    return {
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "cwd": Path.cwd(),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "excepthook": sys.excepthook,
        "handlers": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        "warnings": list(warnings.filters),
        "root": (logging.root.level, list(logging.root.handlers)),
        "loggers": {name: logging.getLogger(name).level for name in loggers},
        "random": random.getstate(),
        "numpy": [np.array(part).tolist() for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "cudnn": {name: getattr(torch.backends.cudnn, name) for name in ("allow_tf32", "benchmark", "deterministic")},
        "precision": torch.get_float32_matmul_precision(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
    }


@pytest.fixture
def watched():
    """Fail if the test leaves the process otherwise than it was. What libraries do when they are first imported is
    theirs."""
    for name in fitnets.__all__:
        getattr(fitnets, name)
    before = process()
    yield
    after = process()
    assert {name for name in before if before[name] != after[name]} == set()
