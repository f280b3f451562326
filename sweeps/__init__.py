"""Questions asked of a sweep: each YAML file here is `python run.py -m +sweeps=NAME`; and the sweepers
`hydra/sweeper=study` and `basic`, which is Hydra's own with a table at the end."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from fitnets import overrides
from sweeps.grid import GridConf, GridSweeper
from sweeps.study import StudyConf, StudySweeper

Plugins.instance().register(StudySweeper)
Plugins.instance().register(GridSweeper)
overrides.register("hydra.sweeper", StudyConf)
ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudyConf, provider="fitnets")
ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=GridConf, provider="fitnets", replace=True)
for _path in sorted(Path(__file__).parent.glob("*.yaml")):
    # The folder is outside conf/ and would otherwise need a search path that makes groups of all of the repository.
    ConfigStore.instance().store(group="sweeps", name=_path.stem, node=OmegaConf.load(_path), package="_global_")
