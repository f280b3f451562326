"""How tensors lie on a kind of device, and in which precision they are computed there."""

from dataclasses import dataclass

import torch

from fitnets.config import Precision


@dataclass(frozen=True, slots=True)
class Placement:
    """Decides layout, arithmetic and copies.

    kind: type of the device, `cpu`, `cuda` or `meta`.
    precision: of convolutions and matrix products."""

    kind: str
    precision: Precision = "fp32"

    @property
    def autocasts(self) -> bool:
        """Return whether convolutions and products are cast to bf16. Nothing is computed on the meta device."""
        return self.precision == "bf16" and self.kind != "meta"

    @property
    def layout(self) -> torch.memory_format:
        """The layout of images and of kernels that is faster: channels first for fp32 on a GPU, else channels last."""
        channels_first = self.kind == "cuda" and self.precision == "fp32"
        return torch.contiguous_format if channels_first else torch.channels_last

    @property
    def pins(self) -> bool:
        """Return whether memory from which the device copies is pinned, so that the copy runs beside other work."""
        return self.kind == "cuda"
