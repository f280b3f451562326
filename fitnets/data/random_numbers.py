"""Random numbers that are pure functions of a seed, a view, an image's row, and the operation that needs them.

No generator has a state: the number of draws of one operation does not shift those of another, and neither threads nor
the order of images matter.
"""

import hashlib

import torch
from torch import Tensor

_ODD = -7046029254386353131
"""2^64 / golden ratio as a signed number, the increment of splitmix64"""
_FACTORS = (-4658895280553007687, -7723592293110705685)
"""the multipliers of splitmix64 as signed numbers"""


def uniform(rows: Tensor, view: int, seed: int, operation: str, count: int) -> Tensor:
    """(N, count) float64: random numbers from 0 to less than 1.

    rows: (N,), row of each image in its data set.
    view: number of the view.
    operation: name of what the numbers are for.
    count: numbers for each image."""
    key = int.from_bytes(hashlib.sha256(f"{operation} {view} {seed}".encode()).digest()[:8], "little", signed=True)
    counters = torch.arange(1, count + 1, device=rows.device)
    states = _mixed(rows.long() * _ODD + key)[:, None] + counters * _ODD
    return (_mixed(states) >> 11 & (2**53 - 1)).double() / 2**53


def integers(rows: Tensor, view: int, seed: int, operation: str, below: int) -> Tensor:
    """(N,): random whole numbers from 0 to `below` - 1. Arguments as for `uniform`."""
    return (uniform(rows, view, seed, operation, 1)[:, 0] * below).long()


def _mixed(states: Tensor) -> Tensor:
    """The output of splitmix64 for each 64-bit state, in wrapping arithmetic."""
    states = (states ^ _shifted(states, 30)) * _FACTORS[0]
    states = (states ^ _shifted(states, 27)) * _FACTORS[1]
    return states ^ _shifted(states, 31)


def _shifted(states: Tensor, bits: int) -> Tensor:
    """The states shifted to the right as unsigned numbers."""
    shifted: Tensor = states >> bits & (2 ** (64 - bits) - 1)
    return shifted
