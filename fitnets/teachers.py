"""The teacher's network: new, to be trained; the user's own; or rebuilt from earlier runs with its weights."""

from pathlib import Path
from typing import Any

from fitnets import build, custom, digests, store, stored
from fitnets.config import Config, CustomTeacher, Dataset, Ensemble, Mimic, ReadyTeacher, RunTeacher
from fitnets.networks import EnsembleNetwork, Network


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
    store.read_weights(one.weights, rebuilt)
    return rebuilt


def _temperature(config: Config) -> float | None:
    """At which the outputs of an ensemble are averaged; None: its logits are."""
    return None if isinstance(config.method, Mimic) else config.schedule.kd.temperature


def identity(config: Config, teacher: ReadyTeacher) -> list[Any]:
    """What determines a teacher that is not trained: networks and weights, not where they lie."""
    if isinstance(teacher, CustomTeacher):
        source = custom.source_digest(teacher, "teacher", config.root)
        return [teacher, source, digests.of_state(build.network(teacher, config.dataset, "teacher"))]
    members = stored.members(teacher)
    parts: list[Any] = [[one.net, digests.of_file(one.weights, config.root)] for one in members.values()]
    if isinstance(teacher, Ensemble):
        parts += [list(members).index(teacher.hint_member), _temperature(config)]
    return parts


def weights_bytes(config: Config, teacher: ReadyTeacher) -> int:
    """Size of the weight files."""
    if isinstance(teacher, CustomTeacher):
        if teacher.weights is not None:
            return Path(teacher.weights).expanduser().stat().st_size
        state = build.network(teacher, config.dataset, "teacher").state_dict()
        return sum(values.nbytes for values in state.values())
    return sum(one.weights.stat().st_size for one in stored.members(teacher).values())
