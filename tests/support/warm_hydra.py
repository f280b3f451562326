"""What the interpreter imports last before it forks: there too, Hydra composes the same options only once."""

import gc

import pytest
from hydra import compose, initialize_config_dir

from fitnets.paths import CONF
from support import composed
from support.runs import TINY
from support.studies import STUDY

composed.remember(pytest.MonkeyPatch())
with initialize_config_dir(str(CONF)):
    for words in (TINY, STUDY[1:]):
        compose("config", [*words])
gc.freeze()  # a forked process that looked for garbage here would copy all of it
