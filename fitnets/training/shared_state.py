"""The state of a stage that several processes train: one at its start, one update for all, one at its end."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fitnets.data.splits import Batch
from fitnets.errors import LostProcessError
from fitnets.store import digests
from fitnets.training.state import TrainingState


def share(state: TrainingState) -> None:
    """Give all processes the state of process 0, which is new or of a checkpoint, and both networks' weights."""
    if state.group.size == 1:
        return
    stage = state.stage
    networks = [network for network in (stage.network, stage.teacher) if network is not None]
    sent = state.group.from_leader([_on_cpu(network.state_dict()) for network in networks])
    own_tensors = state.resumed_random_states | state.tensors()
    tensors, facts = state.group.from_leader((_on_cpu(own_tensors), state.facts()))
    if not state.group.leads:
        for network, weights in zip(networks, sent, strict=True):
            network.load_state_dict(weights)
        state.restore(tensors, facts)


def share_weights(state: TrainingState) -> None:
    """Give all processes the network's weights and statistics in process 0."""
    if state.group.size > 1:
        sent = state.group.from_leader(_on_cpu(state.stage.network.state_dict()))
        state.stage.network.load_state_dict(sent)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() if isinstance(tensor, Tensor) else tensor for name, tensor in tensors.items()}


def step(state: TrainingState, batch: Batch) -> None:
    """Do one update from this process's part of a batch, together with the others.

    Gradients, running statistics of normalisation and the values to log are weighted by the share of the batch and
    summed over the processes, in one buffer. Everything after that, such as clipping, is the same in all of them."""
    stage, group = state.stage, state.group
    fraction = len(batch) / stage.settings.batch_size
    loss, terms = stage.step(batch, state.epoch, group)
    values = {"train_loss": loss, **terms}
    summed = {name: value.detach() * fraction for name, value in values.items() if isinstance(value, Tensor)}

    def reduce(gradients: list[Tensor]) -> None:
        running = _running_statistics(stage.layers)
        for values in running:
            values.mul_(fraction)
        group.reduce([*gradients, *running, *summed.values()])

    state.optimizer.update(loss * fraction, reduce)
    state.finish_batch({name: summed.get(name, value) for name, value in values.items()})


def _running_statistics(layers: Mapping[str, nn.Module]) -> list[Tensor]:
    """Running means and variances of the trained layers."""
    parts = [part for layer in layers.values() for part in layer.modules() if isinstance(part, _NormBase)]
    return [values for part in parts for values in (part.running_mean, part.running_var) if values is not None]


def check_equal(state: TrainingState) -> None:
    """Raise LostProcessError, which names the first tensor, unless all processes have the same weights and optimiser
    state."""
    group = state.group
    if group.size == 1:
        return
    own = {name: digests.of_tensors(tensor) for name, tensor in state.tensors().items() if "random" not in name}
    for rank, theirs in enumerate(group.gathered(own)):
        different = [name for name in own if theirs.get(name) != own[name]]
        if different:
            raise LostProcessError(
                f"rank {group.rank} and rank {rank} of {group.size} have different values in {different[0]} and "
                f"{len(different) - 1} more after the {state.stage.name} stage"
            )
