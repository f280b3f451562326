"""Makes Hydra know the sweepers `hydra/sweeper=study` and `basic`, and each question of `sweeps/` as `+sweeps=NAME`.

Importing this module is enough.
"""

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from fitnets.composition import hydra_internals, sweeper_targets, text_keys
from fitnets.paths import SWEEPS
from fitnets.sweeper.grid import GridConf, GridSweeper
from fitnets.sweeper.study import StudyConf, StudySweeper

Plugins.instance().register(StudySweeper)
Plugins.instance().register(GridSweeper)
hydra_internals.register_targets(StudySweeper, sweeper_targets.STUDY)
hydra_internals.register_targets(GridSweeper, sweeper_targets.GRID)
text_keys.register("hydra.sweeper", StudyConf)
ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudyConf, provider="fitnets")
ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=GridConf, provider="fitnets", replace=True)
for _path in sorted(SWEEPS.glob("*.yaml")):
    # As a search path, the folder's parent would make groups of everything in the repository.
    ConfigStore.instance().store(group="sweeps", name=_path.stem, node=OmegaConf.load(_path), package="_global_")
