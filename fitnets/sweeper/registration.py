"""Registers with Hydra, on import, the sweepers `hydra/sweeper=study` and `basic`, and every YAML file of `sweeps/`.

`sweeps/NAME.yaml` becomes `+sweeps=NAME`. The files of `sweeps/base/` are no questions; questions name them in their
`defaults`.
"""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from fitnets.composition import hydra_internals, sweeper_targets, text_keys
from fitnets.paths import SWEEPS
from fitnets.sweeper.grid import GridConf, GridSweeper
from fitnets.sweeper.study import StudyConf, StudySweeper


def _register_sweepers() -> None:
    Plugins.instance().register(StudySweeper)
    Plugins.instance().register(GridSweeper)
    for current, *former in (sweeper_targets.STUDY, sweeper_targets.GRID):
        hydra_internals.rename_sweepers(dict.fromkeys(former, current))
    text_keys.register("hydra.sweeper", StudyConf)
    store = ConfigStore.instance().store
    store(group="hydra/sweeper", name="study", node=StudyConf, provider="fitnets")
    store(group="hydra/sweeper", name="basic", node=GridConf, provider="fitnets", replace=True)


def _register_questions(folder: Path) -> None:
    """Store each YAML file of the folder and below.

    A search path would not do: Hydra would make a group of every folder beside `sweeps/`.
    """
    for path in sorted(folder.rglob("*.yaml")):
        group = "/".join(("sweeps", *path.relative_to(folder).parent.parts))
        ConfigStore.instance().store(group=group, name=path.stem, node=OmegaConf.load(path), package="_global_")


_register_sweepers()
_register_questions(SWEEPS)
