"""Who this process is, by the variables that torchrun sets."""

import pytest

from fitnets.errors import ConfigError
from fitnets.parallel import launch
from support.groups import variables


def test_the_whole_set_makes_a_process_of_several_and_children_inherit_none_of_it():
    environment = variables(1, 2, 29400) | {"HOME": "/home"}
    launched = launch.take(environment)
    assert (launched.rank, launched.size, launched.local_rank, launched.port) == (1, 2, 1, 29400)
    assert environment == {"HOME": "/home", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"},  # independent workers
        {
            "RANK": "1",
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": "29500",
        },  # not torchrun's whole set
        variables(0, 1, 29400),
    ],
)
def test_otherwise_a_process_works_alone(environment):
    assert launch.take(environment) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"LOCAL_RANK": ""}, "LOCAL_RANK is missing beside TORCHELASTIC_RUN_ID"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two is no number"),
        ({"RANK": "2"}, "RANK=2 is not less than WORLD_SIZE=2"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is missing"),
    ],
)
def test_a_set_with_a_gap_or_a_contradiction_is_an_error(change, message):
    with pytest.raises(ConfigError, match=message):
        launch.take(variables(1, 2, 29400) | change)
