"""Hooks on a model's modules: what they answer, in one forward pass."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fitnets.layers import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """An output of one of a model's modules (`layers.Output`). call: which one of the module's in a forward pass,
    from 0; multiplications: of one image, until it is there."""

    module: str
    call: int
    out_shape: tuple[int, ...]
    activation: Activation
    multiplications: int
    tied_biases: bool = True


class Reached(BaseException):
    """Ends a forward pass where the wanted output is there."""

    def __init__(self, output: Tensor):
        super().__init__()
        self.output = output


@contextmanager
def hooks(model: nn.Module, names: Collection[str], take: Callable[[str, int, Tensor], None]) -> Iterator[None]:
    """Hand over (module, which call of it from 0, first tensor of its output) of these modules' calls."""
    calls: Counter[str] = Counter()

    def hook(module: str, output: Any) -> None:
        call = calls[module]
        calls[module] += 1
        values = first_tensor(output)
        if values is not None:
            take(module, call, values)

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _module, _given, output, name=name: hook(name, output))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(output: Any) -> Tensor | None:
    """Of a tensor, tuple, list, dict or ModelOutput."""
    match output:
        case Tensor():
            return output
        case Mapping():
            return next((item for item in output.values() if isinstance(item, Tensor)), None)
        case tuple() | list():
            return next((item for item in output if isinstance(item, Tensor)), None)
        case _:
            return None
