"""Small versions of a table, labelled as such: a fraction of the epochs, of the training images, or of both."""

from dataclasses import dataclass

from fitnets.config import Config, LinearLr, Schedule, Sgd, StageSettings
from fitnets.errors import ConfigError, suggest

_PARTS = ("epochs", "images")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableScale:
    """The fractions of a small version, above 0 and at most 1.

    epochs: fraction of the epochs of every stage
    images: fraction of the training images"""

    epochs: float = 1.0
    images: float = 1.0

    @classmethod
    def read(cls, text: str) -> "TableScale":
        """Read the value of `--scale`: '0.1' for both fractions, 'epochs=0.1', or 'epochs=0.1,images=0.2'. Raises
        ConfigError for anything else."""
        fractions: dict[str, float] = {}
        for part in (text if "=" in text else f"epochs={text},images={text}").split(","):
            name, _, value = part.partition("=")
            if name in fractions:
                raise ConfigError(f"--scale {text}: {name} is in it twice: give it once")
            if name not in _PARTS:
                raise ConfigError(
                    f"--scale {text}: {name}: no such part{suggest(name, list(_PARTS))} (parts: epochs, images)"
                )
            try:
                fractions[name] = float(value)
            except ValueError:
                raise ConfigError(
                    f"--scale {text}: {value or 'nothing'} is no number: give one above 0 and at most 1"
                ) from None
            if not 0 < fractions[name] <= 1:
                raise ConfigError(f"--scale {text}: {value} is out of range: give a number above 0 and at most 1")
        return cls(**fractions)

    @property
    def is_full(self) -> bool:
        return self == TableScale()

    @property
    def label(self) -> str:
        """The fractions as a part of a file name, such as 'epochs0.1_images0.2'."""
        return "_".join(f"{name}{getattr(self, name):g}" for name in _PARTS if getattr(self, name) < 1)

    def __str__(self) -> str:
        return ", ".join(f"{name} x {getattr(self, name):g}" for name in _PARTS if getattr(self, name) < 1) or "full"

    def overrides(self, config: Config) -> list[str]:
        """The overrides that make the small version of a configuration.

        The stages become shorter, and so do the ramps of momentum, learning rate and lambda. Decays per update stay as
        they are. No stage stops early, because a patience of full length would not fit in. No network is retrained on
        the validation images. The schedule's name gets the fractions, so that they show wherever a run is listed."""
        if self.is_full:
            return []
        schedule = config.schedule
        changes = [f"schedule.name={schedule.name}_{self.label}"]
        for name in ("teacher", "hint", "student"):
            stage: StageSettings = getattr(schedule, name)
            changes.append(f"schedule.{name}.epochs={self._shorter(stage.epochs)}")
            if stage.patience is not None:
                changes.append(f"schedule.{name}.patience=null")
            if isinstance(stage.optimizer, Sgd):
                momentum_epochs = self._shorter(stage.optimizer.momentum_epochs)
                changes.append(f"schedule.{name}.optimizer.momentum_epochs={momentum_epochs}")
            if isinstance(stage.lr_decay, LinearLr):
                changes.append(f"schedule.{name}.lr_decay.epochs={self._shorter(stage.lr_decay.epochs)}")
        if schedule.kd.end_epoch is not None:
            changes.append(f"schedule.kd.end_epoch={self._shorter(schedule.kd.end_epoch)}")
        changes += [
            f"schedule.{name}=false" for name in ("retrain_teacher", "retrain_student") if getattr(schedule, name)
        ]
        if self.images < 1:
            changes.append(f"dataset.train_share={self.images:g}")
        return changes

    def _shorter(self, epochs: int) -> int:
        return max(1, round(self.epochs * epochs))


def describe_epochs(schedule: Schedule, full: Schedule) -> str:
    """The lengths of the stages beside those of the full version, such as 'teacher 50 of 500, stage 1 50 of 500, stage
    2 50 of 500 epochs'."""
    parts = (
        f"{label} {getattr(schedule, name).epochs} of {getattr(full, name).epochs}"
        for name, label in (("teacher", "teacher"), ("hint", "stage 1"), ("student", "stage 2"))
    )
    return f"{', '.join(parts)} epochs"
