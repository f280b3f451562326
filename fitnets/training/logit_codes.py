"""How the teacher's logits are stored in tables: exactly, in half precision, or the largest ones alone.

A million images with a thousand classes take 4 GB in fp32 for every view. Losses are computed in fp32 from what is
decoded.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kept = int | Literal["exact", "half"]
"""what is stored of each image's logits, see `config.Engine.cached_logits`"""


@dataclass(frozen=True, slots=True)
class LogitCode:
    """A way to store logits.

    kept: exact: fp32; half: fp16; a number: that many of the largest, and the sum of the exponentials of the rest."""

    kept: Kept = "exact"

    def bytes_per_image(self, classes: int) -> int:
        """Size of an image's logits."""
        if isinstance(self.kept, int):
            return 2 * (2 * min(self.kept, classes - 1) + 1)
        return (4 if self.kept == "exact" else 2) * classes

    def encode(self, logits: Tensor) -> Tensor:
        """Return what is stored. logits: (N, classes) fp32."""
        if self.kept == "exact":
            return logits
        if self.kept == "half":
            return logits.half()
        count = min(self.kept, logits.shape[1] - 1)
        values, classes = logits.topk(count, dim=1)
        rest = logits.scatter(1, classes, -torch.inf).logsumexp(dim=1, keepdim=True)
        parts = [values.half().view(torch.int16), classes.to(torch.int16), rest.half().view(torch.int16)]
        return torch.cat(parts, dim=1)

    def decode(self, stored: Tensor, classes: int) -> Tensor:
        """(..., classes) fp32: the logits. Those that were not kept are equal, and have the right sum of exponentials.

        stored: (..., width), result of `encode`."""
        if not isinstance(self.kept, int):
            return stored.float()
        count = min(self.kept, classes - 1)
        values, rest = (_from_16_bits(part) for part in (stored[..., :count], stored[..., -1:]))
        places = stored[..., count:-1].long() & 0xFFFF  # they are stored as 16 bits without a sign
        each = rest - math.log(classes - count)
        return each.expand(*each.shape[:-1], classes).scatter(-1, places, values)


def _from_16_bits(stored: Tensor) -> Tensor:
    return stored.contiguous().view(torch.float16).float()


EXACT = LogitCode()
