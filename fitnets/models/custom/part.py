"""A selection of a custom model's parameters, as a module that can be trained."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import nn

from fitnets.models.custom.hooks import submodule


class TrainedPart(nn.Module):
    """Some parameters of a model, and all of its buffers.

    The model is not registered as a submodule, since the network that contains the model saves the weights.

    names: names of the parameters to train."""

    kind: ClassVar[str] = "custom"

    def __init__(self, model: nn.Module, names: list[str]):
        super().__init__()
        self._model = (model,)
        self.names = names

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        parameters = dict(self._model[0].named_parameters())
        return ((name, parameters[name]) for name in self.names)

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        """Yield the model's modules that own one of the parameters."""
        owners = {name.rpartition(".")[0]: None for name in self.names}
        return (submodule(self._model[0], owner) for owner in owners)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]
        state, buffers = self._model[0].state_dict(), dict(self._model[0].named_buffers())
        return {name: state[name] for name in [*self.names, *(name for name in buffers if name in state)]}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load these parameters and the buffers; the model's other parameters stay unchanged."""
        assert state_dict.keys() == self.state_dict().keys(), "weights of other parameters"
        return self._model[0].load_state_dict(state_dict, strict=False)
