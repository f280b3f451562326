"""Honest small versions: a fraction of the epochs and of the training images."""

from dataclasses import dataclass

from fitnets.config import Config, LinearLr, Sgd, StageSettings
from fitnets.errors import ConfigError, near

_SHARES = ("epochs", "images")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableScale:
    """Fractions, above 0 and at most 1."""

    epochs: float = 1.0
    images: float = 1.0

    @classmethod
    def read(cls, text: str) -> "TableScale":
        """'0.1' of both, or 'epochs=0.1', 'epochs=0.1,images=0.2'. ConfigError for anything else."""
        pairs = [part.split("=") for part in (text if "=" in text else f"epochs={text},images={text}").split(",")]
        found: dict[str, float] = {}
        for name, value in ((pair[0], "=".join(pair[1:])) for pair in pairs):
            if name in found:
                raise ConfigError(f"--scale {text}: {name} is in it twice")
            if name not in _SHARES:
                raise ConfigError(f"--scale {text}: {name}: no such part{near(name, list(_SHARES))} (epochs, images)")
            try:
                found[name] = float(value)
            except ValueError:
                raise ConfigError(f"--scale {text}: {value or 'nothing'} is no number") from None
            if not 0 < found[name] <= 1:
                raise ConfigError(f"--scale {text}: {value} is out of range: more than 0, at most 1")
        return cls(**found)

    @property
    def is_full(self) -> bool:
        return self == TableScale()

    @property
    def label(self) -> str:
        """'epochs0.1_images0.2', for names."""
        return "_".join(f"{name}{getattr(self, name):g}" for name in _SHARES if getattr(self, name) < 1)

    def __str__(self) -> str:
        return ", ".join(f"{name} x {getattr(self, name):g}" for name in _SHARES if getattr(self, name) < 1) or "full"

    def overrides(self, config: Config) -> list[str]:
        """What makes the small version of a configuration: stages, and the ramps of momentum, rate and lambda, become
        shorter; what falls by update stays as it is; nothing stops early (a plateau of the full length would not fit
        in), nothing is trained again on validation images. The schedule's name says it wherever a run is shown that was
        first made so."""
        if self.is_full:
            return []
        schedule = config.schedule
        found = [f"schedule.name={schedule.name}_{self.label}"]
        for name in ("teacher", "hint", "student"):
            stage: StageSettings = getattr(schedule, name)
            found.append(f"schedule.{name}.epochs={self._shorter(stage.epochs)}")
            if stage.patience is not None:
                found.append(f"schedule.{name}.patience=null")
            if isinstance(stage.optimizer, Sgd):
                momentum_epochs = self._shorter(stage.optimizer.momentum_epochs)
                found.append(f"schedule.{name}.optimizer.momentum_epochs={momentum_epochs}")
            if isinstance(stage.lr_decay, LinearLr):
                found.append(f"schedule.{name}.lr_decay.epochs={self._shorter(stage.lr_decay.epochs)}")
        if schedule.kd.end_epoch is not None:
            found.append(f"schedule.kd.end_epoch={self._shorter(schedule.kd.end_epoch)}")
        found += [
            f"schedule.{name}=false" for name in ("retrain_teacher", "retrain_student") if getattr(schedule, name)
        ]
        if self.images < 1:
            found.append(f"dataset.train_share={self.images:g}")
        return found

    def _shorter(self, epochs: int) -> int:
        return max(1, round(self.epochs * epochs))


def epochs_told(config: Config, full: Config) -> str:
    """'teacher 50 of 500, stage 1 50 of 500, stage 2 50 of 500 epochs'."""
    parts = (
        f"{label} {getattr(config.schedule, name).epochs} of {getattr(full.schedule, name).epochs}"
        for name, label in (("teacher", "teacher"), ("hint", "stage 1"), ("student", "stage 2"))
    )
    return f"{', '.join(parts)} epochs"
