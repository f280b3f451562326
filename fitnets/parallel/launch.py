"""Which of several processes this one is, from the variables that torchrun sets. Imports the standard library alone."""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass

from fitnets.errors import ConfigError

_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
_RUN_ID, _ADDRESS = "TORCHELASTIC_RUN_ID", "MASTER_ADDR"
_OTHERS = (
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_NAME",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "TORCHELASTIC_MAX_RESTARTS",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_USE_AGENT_STORE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """This process among those of a run.

    rank: its number, from 0. Process 0 leads: it composes, locks, writes and logs; the others do a share of the work
    size: number of processes
    local_rank, local_size: the same among the processes of this host
    address, port: where the processes find each other
    attempt: how often torchrun has started all of them again
    has_agent: whether torchrun itself holds the store at that address"""

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    attempt: int
    has_agent: bool


def take(environment: MutableMapping[str, str] = os.environ) -> Launch | None:
    """Read torchrun's variables and remove them, because the processes that this one starts are no part of the group.

    Returns None for a process that works alone. Variables of Slurm or of MPI alone leave it so: such processes are
    independent workers.

    Raises ConfigError if torchrun's variables are not whole, or contradict each other."""
    if _RUN_ID not in environment:
        return None
    launch = _read(environment)
    for name in (*_NUMBERS, _RUN_ID, _ADDRESS, *_OTHERS):
        environment.pop(name, None)
    return launch if launch.size > 1 else None


def _read(environment: MutableMapping[str, str]) -> Launch:
    numbers = {name: _number(name, environment) for name in _NUMBERS}
    if not environment.get(_ADDRESS):
        raise ConfigError(f"{_ADDRESS} is missing beside {_RUN_ID}: start all processes by torchrun")
    for number, count in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if numbers[number] >= numbers[count]:
            raise ConfigError(
                f"{number}={numbers[number]} is not less than {count}={numbers[count]}: start all processes by torchrun"
            )
    return Launch(
        rank=numbers["RANK"],
        size=numbers["WORLD_SIZE"],
        local_rank=numbers["LOCAL_RANK"],
        local_size=numbers["LOCAL_WORLD_SIZE"],
        address=environment[_ADDRESS],
        port=numbers["MASTER_PORT"],
        attempt=int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
        has_agent=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _number(name: str, environment: MutableMapping[str, str]) -> int:
    value = environment.get(name, "")
    if not value.isdigit():
        problem = f"{name}={value} is no number" if value else f"{name} is missing"
        raise ConfigError(f"{problem} beside {_RUN_ID}: start all processes by torchrun")
    return int(value)
