"""Shortens what tests wait for, in the test process and in the interpreter that other processes are forked from."""

import functools
import gc
import os

import pytest
from hydra import compose, initialize_config_dir
from torch.onnx._internal.exporter._registration import ONNXRegistry

from fitnets.machine import latency
from fitnets.paths import CONF
from fitnets.planning import estimates
from support import composed
from support.runs import TINY
from support.studies import STUDY


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Shorten measurements, let Hydra compose the same options only once and PyTorch list its ONNX operators only once,
    and do not wait until files are on the disk: no test cuts the power."""
    measure = estimates.median_s
    composed.remember(patch)
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
    patch.setattr(latency, "_LATENCY_BUDGET_S", 0.02)
    patch.setattr(latency, "_LEAST_TURNS", 2)
    patch.setattr(estimates, "median_s", lambda work, device, budget_s: measure(work, device, min(budget_s, 0.01)))
    patch.setattr(os, "fsync", lambda file: None)
    gc.freeze()  # imported modules are never garbage: looking through them takes 4 % of the time


def warm_up() -> None:
    """Prepare the interpreter that other processes are forked from: they have what Hydra composed here."""
    shorten(pytest.MonkeyPatch())
    with initialize_config_dir(str(CONF)):
        for words in (TINY, STUDY[1:]):
            compose("config", [*words])
    gc.freeze()  # a forked process that looked for garbage here would copy all of it
