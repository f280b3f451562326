"""Models that PyTorch cannot copy, inspect or store like others. Each function builds one for 8x8 grey images."""

import threading
import warnings

import torch
from torch import nn
from torch.nn.utils import prune


def conv() -> nn.Module:
    return nn.Conv2d(1, 4, 3, padding=1)


def small(first: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(first or conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls it deprecated
        return small(nn.utils.weight_norm(conv()))


def weight_norm() -> nn.Module:
    return small(nn.utils.parametrizations.weight_norm(conv()))


def spectral_norm() -> nn.Module:
    return small(nn.utils.spectral_norm(conv()))


def pruned() -> nn.Module:
    model = small()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


class Holding(nn.Module):
    """A small model with something else in an attribute."""

    def __init__(self, make):
        super().__init__()
        self.net = small()
        self.held = make(self)

    def forward(self, images):
        return self.net(images)


def with_lock() -> nn.Module:
    return Holding(lambda model: threading.Lock())


def with_generator() -> nn.Module:
    return Holding(lambda model: (number for number in range(3)))


def with_result() -> nn.Module:
    return Holding(lambda model: model.net[0].weight * 2)


class Calling(Holding):
    """Its forward calls a function in an attribute, which refers to the model itself."""

    def forward(self, images):
        return self.held(images)


def with_closure() -> nn.Module:
    return Calling(lambda model: lambda images: model.net(images))


class Wrapping(nn.Module):
    """Raises KeyError for an unknown attribute, so that `copy.deepcopy` cannot look for `__deepcopy__`."""

    def __init__(self):
        super().__init__()
        self.net = small()

    def __getattr__(self, name):
        return self.__dict__["_modules"][name]

    def forward(self, images):
        return self.net(images)


def wrapping() -> nn.Module:
    return Wrapping()


class Slotted(Holding):
    __slots__ = ("extra",)


def slotted() -> nn.Module:
    return Slotted(lambda model: None)


class Growing(nn.Module):
    """Adds a buffer at its first call."""

    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, images):
        if "mask" not in self._buffers:
            self.register_buffer("mask", torch.ones(images.shape[1:], device=images.device))
        return self.net(images * self.mask)


def growing() -> nn.Module:
    return Growing()


class Extra(Holding):
    """Has extra state that is no tensor."""

    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        assert state == {"version": 3}


def extra() -> nn.Module:
    return Extra(lambda model: None)


class Dotted(nn.Module):
    def __init__(self):
        super().__init__()
        self._modules["first.conv"] = conv()
        self.last = nn.Linear(256, 10)

    def forward(self, images):
        return self.last(self._modules["first.conv"](images).relu().flatten(1))


def dotted() -> nn.Module:
    return Dotted()


class InPlace(Holding):
    """Changes its input in place."""

    def forward(self, images):
        images.mul_(0)
        return self.net(images)


def in_place() -> nn.Module:
    return InPlace(lambda model: None)


class Inferring(Holding):
    @torch.inference_mode()
    def forward(self, images):
        return self.net(images)


def inferring() -> nn.Module:
    return Inferring(lambda model: None)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()
        self.scale = nn.Parameter(torch.ones(8, 8, dtype=torch.cfloat))

    def forward(self, images):
        return self.net(torch.fft.ifft2(torch.fft.fft2(images) * self.scale).real)


def complex_scale() -> nn.Module:
    return Complex()


class Keyword(Holding):
    def forward(self, *, pixel_values):
        return self.net(pixel_values)


def keyword() -> nn.Module:
    return Keyword(lambda model: None)


class Halved(Holding):
    def forward(self, images):
        return self.net(images.half())


def halved() -> nn.Module:
    return Halved(lambda model: None)


class OnGpu(Holding):
    def forward(self, images):
        return self.net(images.to("cuda"))


def on_gpu() -> nn.Module:
    return OnGpu(lambda model: None)


class TwoAtATime(Holding):
    def forward(self, images):
        return self.net(images.view(2, 1, 8, 8))


def two_at_a_time() -> nn.Module:
    return TwoAtATime(lambda model: None)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return small()


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(small().eval(), {nn.Linear}, dtype=torch.qint8)


def parallel() -> nn.Module:
    return nn.DataParallel(small())


def compiled() -> nn.Module:
    return torch.compile(small(), backend="eager")


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(small())


def traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(small().eval(), torch.rand(2, 1, 8, 8))


_LOCKED = with_lock()
_SHARED = small()


def locked_and_shared() -> nn.Module:
    return _LOCKED


def shared() -> nn.Module:
    return _SHARED


# --- blocks ---


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1))
        self.norm = nn.BatchNorm2d(out)

    def forward(self, images):
        return self.norm(self.body(images)).relu()


class Blocks(nn.Module):
    """Has blocks as attributes, as in many models, with maps of 8x8, 4x4 and 2x2."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.block1 = Block(width, width)
        self.block2 = Block(width, 2 * width, 2)
        self.block3 = Block(2 * width, 4 * width, 2)
        self.last = nn.Linear(4 * width, 10)

    def forward(self, images):
        return self.last(self.block3(self.block2(self.block1(self.stem(images)))).mean((2, 3)))


def blocks(width: int = 4) -> nn.Module:
    return Blocks(width)


def plain() -> nn.Module:
    """Twelve convolutions in a row, each with an activation, inside another sequence."""
    layers = [layer for i in range(12) for layer in (nn.Conv2d(4 if i else 1, 4, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Sequential(*layers), nn.Flatten(), nn.Linear(256, 10))
