"""Exported files, run: how they agree with PyTorch, and how fast they are."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from fitnets.machine import latency

Runner = Callable[[Tensor], Tensor]
"""images (N, C, H, W) to logits (N, classes)"""
Files = dict[str, tuple[Path, Callable[[int], Tensor]]]
"""ONNX files, with what makes a batch of so many images for each, by name"""
_BATCH = 100
_IN_A_ROW = 5
"""runs of one file before the next has its turn: a file's threads stay awake a while after a run"""
BATCHES = (1, 128)


def onnx_runner(path: Path, threads: int | None = None) -> Runner:
    """ONNX Runtime on the CPU. threads: None: as many as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads would disturb the next file's
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return run


def program_runner(path: Path) -> Runner:
    """A torch.export program, as who has but the file runs it."""
    module = torch.export.load(path).module()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = module(images)
        return logits

    return run


def in_batches(run: Runner, images: Tensor) -> Tensor:
    """Logits of all images; the first by itself, so that two sizes of batches are tried."""
    return torch.cat([run(images[:1]), *(run(batch) for batch in torch.split(images[1:], _BATCH))])


def difference(logits: Tensor, expected: Tensor) -> float:
    """The largest, by the largest expected logit."""
    return float((logits - expected).abs().max() / expected.abs().max())


def latencies(files: Files) -> list[dict[str, str | int | float]]:
    """Of one batch by ONNX Runtime: p50 and p95 in ms for each file, batch and number of threads; files take turns."""
    found: list[dict[str, str | int | float]] = []
    for threads in sorted({1, torch.get_num_threads()}):
        runners = {name: onnx_runner(path, threads) for name, (path, _) in files.items()}
        for size in BATCHES:
            work = {name: partial(run, files[name][1](size)) for name, run in runners.items()}
            measured = latency.in_turns(work, torch.device("cpu"), in_a_row=_IN_A_ROW)
            found += [{"file": name, "batch": size, "threads": threads, **told} for name, told in measured.items()]
    return found
