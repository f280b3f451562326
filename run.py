"""Train a teacher, a hint-trained student, or a sweep of them: `python run.py --help`."""

import sys
from typing import Any

from fitnets import process

if __name__ == "__main__":
    process.prepare()  # before Hydra and PyTorch are imported

import hydra
from omegaconf import DictConfig

import sweeps  # noqa: F401  (registers +sweeps=...)
from fitnets import compose


@compose.as_typed
@hydra.main(config_path=str(compose.CONF), config_name="config", execution_whitelist=())
def main(composed: DictConfig) -> Any:
    with compose.job():
        config = compose.to_config(composed)
        from sweeps import job  # imports torch: not for --help and --cfg job

        return job.run(config)


if __name__ == "__main__":
    sys.exit(process.run(lambda: compose.command_line(main), trains=process.is_training(sys.argv[1:])))
