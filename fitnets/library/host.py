"""Keeps the process of a caller as it is: what a run sets for itself is put back when it ends, however it ends."""

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, nullcontext
from typing import Any

Restore = Callable[[], None]
_SEED = 0
"""seed of the random streams at the start of a run. Everything that determines a result is drawn with seeds of its own,
so this one only makes sure that nothing depends on the caller's streams"""


class Host:
    """The process as its caller left it."""

    def __init__(self) -> None:
        self._outside = _saved()

    def call(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the caller in the caller's state, and return to the run's state afterwards. What the
        function draws and sets stays in the caller's state."""
        inside = _saved()
        self.restore()
        try:
            return callback(*arguments)
        finally:
            self._outside = _saved()
            for restore in inside:
                restore()

    def restore(self) -> None:
        """Put the caller's state back."""
        for restore in self._outside:
            restore()


@contextmanager
def untouched() -> Iterator[Host]:
    """Put everything back after the block that belongs to the whole process.

    These are the environment, the current folder, the import path, loggers, warnings, random streams, and PyTorch's
    threads and flags. Inside the block PyTorch has its own defaults, whatever the caller has set."""
    with warnings.catch_warnings(), chdir(os.getcwd()):
        host = Host()
        try:
            with _default_arithmetic() if "torch" in sys.modules else nullcontext():
                yield host
        finally:
            host.restore()


def _saved() -> list[Restore]:
    """Functions that put the present state of the process back."""
    environment, path, hook = dict(os.environ), list(sys.path), sys.excepthook
    streams = random.getstate()

    def restore() -> None:
        random.setstate(streams)
        sys.excepthook, sys.path[:] = hook, path
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    restores = [restore, _saved_loggers()]
    if "numpy" in sys.modules:
        restores.append(_saved_numpy())
    if "torch" in sys.modules:
        restores.append(_saved_torch())
    return restores


def _saved_loggers() -> Restore:
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    loggers = [
        (logger, logger.level, logger.handlers, list(logger.handlers), logger.propagate, logger.disabled)
        for logger in known
        if isinstance(logger, logging.Logger)
    ]

    def restore() -> None:
        for logger, level, handlers, present, propagate, disabled in loggers:
            if logger.level != level:
                logger.setLevel(level)
            handlers[:] = present
            logger.handlers, logger.propagate, logger.disabled = handlers, propagate, disabled

    return restore


def _saved_numpy() -> Restore:
    import numpy as np

    state = np.random.get_state()
    return lambda: np.random.set_state(state)


def _saved_torch() -> Restore:
    import torch

    from fitnets.kernels import library

    cudnn, is_on = torch.backends.cudnn, library.is_on()
    threads, stream = torch.get_num_threads(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    flags = {name: getattr(cudnn, name) for name in ("allow_tf32", "benchmark", "deterministic", "enabled")}
    precision, dtype, device = torch.get_float32_matmul_precision(), torch.get_default_dtype(), _default_device()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    grad = torch.is_grad_enabled()

    def restore() -> None:
        torch.set_num_threads(threads)
        torch.set_rng_state(stream)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
        for name, value in flags.items():
            setattr(cudnn, name, value)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)
        if _default_device() != device:
            torch.set_default_device(device)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.set_grad_enabled(grad)
        library.switch(on=is_on)

    return restore


def _default_device() -> Any:
    """The device that `torch.set_default_device` has set; None if it has set none."""
    import torch

    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


@contextmanager
def _default_arithmetic() -> Iterator[None]:
    """Give PyTorch its defaults inside the block, so that a run's bits do not depend on the caller's settings."""
    import torch

    torch.manual_seed(_SEED)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.enabled = True
    if torch.get_float32_matmul_precision() != "highest":
        torch.set_float32_matmul_precision("highest")
    torch.set_default_dtype(torch.float32)
    if _default_device() is not None:
        torch.set_default_device(None)
    torch.use_deterministic_algorithms(False)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
