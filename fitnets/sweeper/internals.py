"""The names of Optuna that are private or undocumented, each behind a function of its own.

A new version of Optuna may change them. `tests/sweeper/test_internals.py` gives the reason for each.
Optuna is imported inside the functions, because `python run.py --help` does not need it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.storages.journal._file import BaseJournalFileLock
    from optuna.trial import FrozenTrial, TrialState


def search_space(overrides: list[str]) -> tuple[dict[str, "BaseDistribution"], dict[str, Any], list[str]]:
    """Parse overrides as `hydra/sweeper=optuna` does: (swept keys, fixed values by key, `~key` deletions).

    Raises AssertionError, NotImplementedError or ValueError for a sweep that is no distribution.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    return create_params_from_overrides(overrides)


# --- Optuna ---


def no_journal_lock() -> "BaseJournalFileLock":
    """A lock for Optuna's journal file that locks nothing, for a caller that holds a lock already."""
    from optuna.storages.journal._file import BaseJournalFileLock

    class NoLock(BaseJournalFileLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    return NoLock()


def trial_handle(study: "Study", number: int) -> "Trial":
    """A writable handle of the trial with that number, also of a trial that another process created."""
    from optuna import Trial

    return Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))


def queued_params(trial: "FrozenTrial") -> dict[str, Any]:
    """The parameters of a trial that waits in the queue; empty for a trial that was never queued."""
    params: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return params


def heartbeat(study: "Study", trial: "Trial") -> Callable[[], None] | None:
    """A function that records that the trial's worker is alive; None for a storage without heartbeats."""
    record: Callable[[int], None] | None = getattr(study._storage, "record_heartbeat", None)
    return None if record is None else lambda: record(trial._trial_id)


def tell(study: "Study", trial: "Trial", values: Sequence[float] | None, state: "TrialState | None" = None) -> None:
    """Finish a trial. Raises UpdateFinishedTrialError if another worker has finished it already.

    Samplers of grids call `Study.stop` at the last point, which fails outside of `Study.optimize`. The trial is
    finished by then, and the error is dropped.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        study.tell(trial, values, state)
    except ValueError as error:
        if "Cannot tell a" in str(error):
            raise UpdateFinishedTrialError(str(error)) from error
        raise
    except RuntimeError as error:
        if "Study.stop" not in str(error):
            raise


def contains(distribution: "BaseDistribution", value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False
