"""Builds the teacher: a new network to be trained, the user's own, or a network of earlier runs with its weights."""

from typing import Any

from fitnets.config import (
    Architecture,
    Config,
    CustomNet,
    CustomTeacher,
    Dataset,
    EarlierRunTeacher,
    Ensemble,
    NoTeacher,
    PretrainedTeacher,
    RunTeacher,
)
from fitnets.config.methods import kinds
from fitnets.errors import ConfigError
from fitnets.models import build
from fitnets.models.custom import wrapping
from fitnets.models.network import EnsembleNetwork, Network
from fitnets.store import digests, earlier_runs, weights
from fitnets.system import imports


def build_teacher(config: Config) -> Network:
    """Build the teacher's network.

    Raises ConfigError for teacher=none, if the network does not fit the images, or if a stored one cannot be read."""
    match config.teacher:
        case RunTeacher(path=path) as teacher:
            return _rebuilt(earlier_runs.members(teacher)[path], config.dataset)
        case Ensemble(hint_member=hint_member) as teacher:
            members = earlier_runs.members(teacher)
            networks = [_rebuilt(member, config.dataset) for member in members.values()]
            return EnsembleNetwork(networks, list(members).index(hint_member), _temperature(config))
        case NoTeacher():
            raise ConfigError("teacher=none: a teacher is needed here: give teacher=...")
        case architecture:
            return build.network(architecture, config.dataset, "teacher")


def _rebuilt(member: earlier_runs.StoredNetwork, dataset: Dataset) -> Network:
    rebuilt = build.network(member.net, dataset, "teacher")
    weights.read_weights(member.weights, rebuilt)
    return rebuilt


def _temperature(config: Config) -> float | None:
    """Temperature at which an ensemble's outputs are averaged; None to average logits."""
    return None if "mimic" in kinds(config.method) else config.schedule.kd.temperature


def identity(config: Config, teacher: PretrainedTeacher) -> list[Any]:
    """Return everything that determines a teacher that is not trained, for its hash: its networks and weights, wherever
    they are stored, and the settings of an ensemble."""
    if isinstance(teacher, CustomTeacher):
        return [teacher, *wrapping.identity(teacher, config.dataset, "teacher", seed=0)]
    members = earlier_runs.members(teacher)
    parts: list[Any] = [
        [member.net, digests.of_file(member.weights, config.root), *_source(member.net)] for member in members.values()
    ]
    if isinstance(teacher, Ensemble):
        parts += [list(members).index(teacher.hint_member), _temperature(config)]
    return parts


def _source(net: Architecture) -> list[str]:
    return [imports.source_digest(net.target)] if isinstance(net, CustomNet) else []


def weights_bytes(teacher: EarlierRunTeacher) -> int:
    """Size of the teacher's weight files in bytes."""
    return sum(member.weights.stat().st_size for member in earlier_runs.members(teacher).values())
