"""Runs exported files, compares them with PyTorch and times them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from fitnets.machine import latency

Runner = Callable[[Tensor], Tensor]
"""Maps images (N, C, H, W) to logits (N, classes)."""
Files = dict[str, tuple[Path, Callable[[int], Tensor]]]
"""ONNX files by name, each with a function that makes an example batch of the given size."""
_BATCH = 100
_IN_A_ROW = 5
"""Runs of one file before the next file has its turn, because a file's threads stay awake for a while after a run."""
BATCHES = (1, 128)


def onnx_runner(path: Path, threads: int | None = None) -> Runner:
    """Return a function that runs an ONNX file in ONNX Runtime on the CPU.

    threads: number of threads; None: as many as PyTorch uses
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # spinning threads would disturb the next file
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return run


def program_runner(path: Path) -> Runner:
    """Return a function that runs a torch.export program from its file alone."""
    module = torch.export.load(path).module()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = module(images)
        return logits

    return run


def in_batches(run: Runner, images: Tensor) -> Tensor:
    """Return the logits of all images. The first image is a batch of its own, so that two batch sizes are tried."""
    return torch.cat([run(images[:1]), *(run(batch) for batch in torch.split(images[1:], _BATCH))])


def difference(logits: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected logit."""
    return float((logits - expected).abs().max() / expected.abs().max())


def latencies(files: Files) -> list[dict[str, str | int | float]]:
    """Time one batch in ONNX Runtime for each file, batch size and number of threads. Files are timed in alternation.

    Each row has p50_ms and p95_ms, the median and the 95th percentile in milliseconds.
    """
    rows: list[dict[str, str | int | float]] = []
    for threads in sorted({1, torch.get_num_threads()}):
        runners = {name: onnx_runner(path, threads) for name, (path, _) in files.items()}
        for size in BATCHES:
            runs = {name: partial(run, files[name][1](size)) for name, run in runners.items()}
            measured = latency.in_turns(runs, torch.device("cpu"), in_a_row=_IN_A_ROW)
            rows += [{"file": name, "batch": size, "threads": threads, **times} for name, times in measured.items()]
    return rows
