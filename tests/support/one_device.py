"""Checks without a GPU that work stays on one device: it runs on PyTorch's `meta` device, which holds no values."""

import contextlib

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")


class OffDeviceError(AssertionError):
    pass


_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class OnMeta(TorchDispatchMode):
    """Raise OffDeviceError for a tensor on another device than meta, and where the host would wait for a value.

    Single numbers on the CPU are no fault, such as AdamW's count of steps, unless they are copied to the device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        on_meta = any(value.device == META for value in tensors)
        if function is torch.ops.aten._local_scalar_dense.default and on_meta:
            raise OffDeviceError("the host waits for a value")
        result = function(*args, **(kwargs or {}))
        tensors += [value for value in pytree.tree_leaves(result) if isinstance(value, torch.Tensor)]
        elsewhere = [value for value in tensors if value.device != META]
        is_copied = function in _COPIES and 0 < len(elsewhere) < len(tensors)
        if is_copied or any(value.ndim for value in elsewhere):
            raise OffDeviceError(f"{function} has a tensor on {elsewhere[0].device}")
        return result


def to_meta(plan) -> None:
    """Move networks, heads and memories of a plan to the meta device, in place."""
    for stage in plan.stages:
        stage.begin(plan.data.train)
        for module in (*stage.heads.values(), *stage.memory.values()):
            module.to(META)
        for term in stage.terms:
            if isinstance(getattr(term, "positions", None), torch.Tensor):
                term.positions = term.positions.to(META)
    for network in filter(None, (plan.student, plan.teacher)):
        network.to(META)


@contextlib.contextmanager
def planted(owner, name: str, fault):
    """Let a method do something more before it returns."""
    real = getattr(owner, name)

    def faulty(*args, **kwargs):
        result = real(*args, **kwargs)
        return fault(result)

    setattr(owner, name, faulty)
    try:
        yield
    finally:
        setattr(owner, name, real)
