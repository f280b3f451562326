"""Trials of a study that count, that are retried, and that repeat an earlier one."""

from types import SimpleNamespace

import optuna
from optuna.trial import TrialState

from fitnets.sweeper import study_settings, trials
from fitnets.sweeper.orphans import Orphans
from fitnets.sweeper.worker import Worker


def make(*states: tuple[TrialState, dict], params: dict[int, dict] | None = None) -> list[optuna.trial.FrozenTrial]:
    """Trials with these states and user attributes.

    params: parameters by trial number; by default no two trials have the same
    """
    study = optuna.create_study()
    width = optuna.distributions.IntDistribution(0, 99)
    for number, (state, attrs) in enumerate(states):
        chosen = (params or {}).get(number, {"width": number})
        value = 0.5 if state == TrialState.COMPLETE else None
        trial = optuna.create_trial(
            state=state, value=value, params=chosen, distributions=dict.fromkeys(chosen, width), user_attrs=attrs
        )
        study.add_trial(trial)
    return study.trials


class TestTrials:
    C, F, R, P, W = (getattr(TrialState, name) for name in ("COMPLETE", "FAIL", "RUNNING", "PRUNED", "WAITING"))

    def numbers(self, selected) -> list[int]:
        return [trial.number for trial in selected]

    def test_failed_and_pruned_trials_count_and_excluded_and_retried_ones_do_not(self):
        all_trials = make(
            (self.C, {}), (self.F, {"reason": "NaN"}), (self.P, {}), (self.P, {"closed": "infeasible"}),
            (self.C, {"closed": "duplicate"}), (self.F, {}), (self.W, {"retry_of": 5}), (self.R, {}),
        )  # fmt: skip
        assert self.numbers(trials.counted(all_trials)) == [0, 1, 2, 6, 7]
        assert trials.to_retry(all_trials) == []

    def test_the_last_trials_beyond_n_trials_are_over_quota(self):
        all_trials = make((self.C, {}), (self.P, {"closed": "infeasible"}), (self.R, {}), (self.R, {}), (self.R, {}))
        assert [trials.is_over_quota(number, all_trials, 3) for number in range(5)] == [
            False,
            False,
            False,
            False,
            True,
        ]

    def test_trial_of_a_dead_worker_is_retried_once_and_a_stopped_one_always(self):
        all_trials = make(
            (self.F, {}), (self.F, {"deaths": 1}), (self.F, {"deaths": 1, "stopped": True}), (self.F, {"reason": "x"})
        )
        assert self.numbers(trials.to_retry(all_trials)) == [0, 2]
        assert [trials.deaths(trial) for trial in all_trials[:3]] == [1, 2, 1]

    def test_retry_that_duplicates_another_trial_is_not_retried(self):
        """Two workers proposed the same and the first died. The second trial takes the place of a retry."""
        retry = {"retry_of": 0, "closed": "duplicate"}
        all_trials = make((self.F, {}), (self.R, {}), (self.F, retry), params={n: {"width": 1} for n in range(3)})
        assert self.numbers(trials.counted(all_trials)) == [1]
        assert trials.to_retry(all_trials) == []

    def test_retry_that_no_worker_started_is_retried(self):
        all_trials = make((self.F, {}), (self.F, {"retry_of": 0, "closed": "stillborn"}))
        assert self.numbers(trials.to_retry(all_trials)) == [0]

    def test_retry_is_no_duplicate_of_what_it_retries(self):
        all_trials = make((self.F, {}), (self.R, {"retry_of": 0}), params={n: {"width": 1} for n in range(2)})
        assert trials.earlier_duplicate(all_trials[1], all_trials) is None
        all_trials = make((self.C, {}), (self.R, {}), params={n: {"width": 1} for n in range(2)})
        assert trials.earlier_duplicate(all_trials[1], all_trials).number == 0

    def test_waiting_trial_has_the_parameters_that_it_is_queued_with(self):
        study = optuna.create_study()
        study.enqueue_trial({"width": 1})
        all_trials = [*study.trials, make((self.R, {}), (self.R, {}), params={1: {"width": 1}})[1]]
        assert trials.earlier_duplicate(all_trials[1], all_trials).number == 0

    def test_inconsistent_reading_of_a_database_is_read_again(self):
        """The first reading shows trial 0 with its new worker, but without its new parameters."""
        inconsistent = make(
            (self.R, {"worker": "another"}), (self.R, {"worker": "me"}), params={0: {}, 1: {"width": 1}}
        )
        whole = make(
            (self.R, {"worker": "another"}), (self.R, {"worker": "me"}), params=dict.fromkeys((0, 1), {"width": 1})
        )
        readings = iter([inconsistent, whole])
        worker = Worker.__new__(Worker)
        worker.study = SimpleNamespace(get_trials=lambda **_: next(readings))
        worker.orphans = Orphans("me", print)
        all_trials = worker._settled(1)
        assert trials.earlier_duplicate(all_trials[1], all_trials).number == 0

    def test_size_of_a_space_is_its_number_of_points(self):
        space, _ = study_settings.parsed({"a": "1,2,3", "b": "range(3,18)", "c": "range(0,1,0.25)"}, [])
        assert trials.size(space) == 3 * 15 * 4
        assert trials.size(study_settings.parsed({"a": "interval(0,1)"}, [])[0]) is None
