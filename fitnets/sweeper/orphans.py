"""Trials that have lost their worker: `Orphans` fails them and queues them once more."""

import time
from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from fitnets.sweeper import internals, storage, trials
from fitnets.sweeper.journal import Say

UNCLAIMED_S = 60.0
"""seconds after which a running trial without a worker's name counts as orphaned"""


class Orphans:
    """Takes over the trials of dead workers, for one living worker of a study.

    worker: name of this worker, which is alive
    say: shows a line to the user
    """

    def __init__(self, worker: str, say: Say):
        self._worker, self._say = worker, say
        self._first_seen_at: dict[int, float] = {}
        """number of an unclaimed trial -> when this worker first saw it (the clocks of other hosts may be wrong)"""

    def take_over(self, study: optuna.Study, n_trials: int) -> None:
        """Fail the trials of dead workers and queue them once more. While there is room, queue those over quota."""
        self._fail_orphans(study)
        all_trials = study.get_trials(deepcopy=False)
        for trial in trials.to_retry(all_trials):
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number, "deaths": trials.deaths(trial)})
            self._say(f"trial {trial.number} lost its worker and is run once more")
        room = n_trials - len(trials.counted(all_trials))
        for trial in trials.untried_over_quota(all_trials)[: max(0, room)]:
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})

    def _fail_orphans(self, study: optuna.Study) -> None:
        storage.fail_silent_trials(study)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trials.is_unclaimed(trial):
                if self.is_orphaned(trial):
                    fail(study, trial, excluded_because="stillborn")
            elif trials.is_abandoned(trial, self._worker):
                fail(study, trial)

    def is_orphaned(self, trial: FrozenTrial) -> bool:
        """Return whether this worker has seen an unclaimed trial for so long that its worker must be dead."""
        now = time.monotonic()
        return now - self._first_seen_at.setdefault(trial.number, now) > UNCLAIMED_S


def fail(study: optuna.Study, trial: FrozenTrial, excluded_because: str | None = None) -> None:
    """Finish a trial as FAIL without a reason, unless another worker has finished it already."""
    with suppress(ValueError, UpdateFinishedTrialError):
        if excluded_because:
            internals.trial_handle(study, trial.number).set_user_attr("closed", excluded_because)
        study.tell(trial.number, state=TrialState.FAIL)
