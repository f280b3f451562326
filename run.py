"""Trains a teacher and a student, or a sweep of them: see `python run.py --help`."""

import sys
from typing import Any

from fitnets.system import process

if __name__ == "__main__":
    process.prepare()  # before Hydra and PyTorch are imported

import hydra
from omegaconf import DictConfig

from fitnets.composition import entry_point, loading
from fitnets.parallel import leading
from fitnets.sweeper import registration  # noqa: F401  (registers +sweeps=... and the sweepers with Hydra)


@leading.in_process_0
@entry_point.as_typed
@hydra.main(config_path=str(loading.CONF), config_name="config", execution_whitelist=())
def main(composed: DictConfig) -> Any:
    with entry_point.job():
        config = loading.to_config(composed)
        from fitnets.sweeper import job  # imports torch, which --help and --cfg job do not need

        return job.run(config)


if __name__ == "__main__":
    sys.exit(process.run(lambda: entry_point.command_line(main), trains=process.is_training(sys.argv[1:])))
