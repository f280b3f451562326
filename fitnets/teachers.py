"""The teacher's network: new, to be trained, or rebuilt from earlier runs with its weights."""

from typing import Any

from safetensors import SafetensorError

from fitnets import build, store, stored
from fitnets.config import Config, Dataset, Ensemble, Mimic, RunTeacher, StoredTeacher
from fitnets.networks import EnsembleNetwork, Network
from fitnets.options import ConfigError


def network(config: Config) -> Network:
    """Raises ConfigError where the network does not fit the images, or a stored one cannot be read."""
    match config.teacher:
        case RunTeacher(path=path) as teacher:
            return _rebuilt(stored.members(teacher)[path], config.dataset)
        case Ensemble(hint_member=hint_member) as teacher:
            found = stored.members(teacher)
            networks = [_rebuilt(one, config.dataset) for one in found.values()]
            return EnsembleNetwork(networks, list(found).index(hint_member), _temperature(config))
        case architecture:
            return build.network(architecture, config.dataset, "teacher")


def _rebuilt(one: stored.Stored, dataset: Dataset) -> Network:
    rebuilt = build.network(one.net, dataset, "teacher")
    try:
        store.read_weights(one.weights, rebuilt)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{one.weights} cannot be read as {one.net.name} ({reason})") from error
    return rebuilt


def _temperature(config: Config) -> float | None:
    """At which the outputs of an ensemble are averaged; None: its logits are."""
    return None if isinstance(config.method, Mimic) else config.schedule.kd.temperature


def identity(config: Config, teacher: StoredTeacher) -> list[Any]:
    """What determines a stored teacher: networks and weights, not where they lie."""
    members = stored.members(teacher)
    parts: list[Any] = [[one.net, one.digest()] for one in members.values()]
    if isinstance(teacher, Ensemble):
        parts += [list(members).index(teacher.hint_member), _temperature(config)]
    return parts


def weights_bytes(teacher: StoredTeacher) -> int:
    """Size of the weight files."""
    return sum(one.weights.stat().st_size for one in stored.members(teacher).values())
