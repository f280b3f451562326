"""Questions asked of a sweep: each YAML file here is `python run.py -m +sweeps=NAME`."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

for _path in sorted(Path(__file__).parent.glob("*.yaml")):
    # The folder is outside conf/ and would otherwise need a search path that makes groups of all of the repository.
    ConfigStore.instance().store(group="sweeps", name=_path.stem, node=OmegaConf.load(_path), package="_global_")
