"""Which trials of a study count, which are tried again, and which repeat one another."""

from types import SimpleNamespace

import optuna
from optuna.trial import TrialState

from fitnets.sweeper import study_settings, trials
from fitnets.sweeper.worker import Worker


def made(*told: tuple[TrialState, dict], params: dict[int, dict] | None = None) -> list[optuna.trial.FrozenTrial]:
    """Trials with these states and user attributes; each has parameters of its own unless others are given."""
    study = optuna.create_study()
    width = optuna.distributions.IntDistribution(0, 99)
    for number, (state, attrs) in enumerate(told):
        chosen = (params or {}).get(number, {"width": number})
        value = 0.5 if state == TrialState.COMPLETE else None
        trial = optuna.create_trial(
            state=state, value=value, params=chosen, distributions=dict.fromkeys(chosen, width), user_attrs=attrs
        )
        study.add_trial(trial)
    return study.trials


class TestTrials:
    C, F, R, P, W = (getattr(TrialState, name) for name in ("COMPLETE", "FAIL", "RUNNING", "PRUNED", "WAITING"))

    def numbers(self, found) -> list[int]:
        return [trial.number for trial in found]

    def test_failed_and_pruned_ones_count_and_closed_and_retried_ones_do_not(self):
        known = made(
            (self.C, {}), (self.F, {"reason": "NaN"}), (self.P, {}), (self.P, {"closed": "infeasible"}),
            (self.C, {"closed": "duplicate"}), (self.F, {}), (self.W, {"retry_of": 5}), (self.R, {}),
        )  # fmt: skip
        assert self.numbers(trials.counted(known)) == [0, 1, 2, 6, 7]
        assert trials.to_retry(known) == []

    def test_of_more_than_enough_the_last_ones_are_surplus(self):
        known = made((self.C, {}), (self.P, {"closed": "infeasible"}), (self.R, {}), (self.R, {}), (self.R, {}))
        assert [trials.is_surplus(number, known, 3) for number in range(5)] == [False, False, False, False, True]

    def test_a_dead_trial_is_tried_once_more_and_a_stopped_one_always(self):
        known = made(
            (self.F, {}), (self.F, {"deaths": 1}), (self.F, {"deaths": 1, "stopped": True}), (self.F, {"reason": "x"})
        )
        assert self.numbers(trials.to_retry(known)) == [0, 2]
        assert [trials.deaths(trial) for trial in known[:3]] == [1, 2, 1]

    def test_a_retry_that_repeats_another_trial_is_no_reason_for_one_more(self):
        """Two workers proposed the same; the first died, and what its retry would do the second does."""
        retry = {"retry_of": 0, "closed": "duplicate"}
        known = made((self.F, {}), (self.R, {}), (self.F, retry), params={n: {"width": 1} for n in range(3)})
        assert self.numbers(trials.counted(known)) == [1]
        assert trials.to_retry(known) == []

    def test_a_retry_that_nobody_began_is_made_again(self):
        known = made((self.F, {}), (self.F, {"retry_of": 0, "closed": "stillborn"}))
        assert self.numbers(trials.to_retry(known)) == [0]

    def test_a_retry_is_no_repetition_of_what_it_retries(self):
        known = made((self.F, {}), (self.R, {"retry_of": 0}), params={n: {"width": 1} for n in range(2)})
        assert trials.same_before(known[1], known) is None
        known = made((self.C, {}), (self.R, {}), params={n: {"width": 1} for n in range(2)})
        assert trials.same_before(known[1], known).number == 0

    def test_a_waiting_trial_has_the_parameters_that_it_will_be_given(self):
        study = optuna.create_study()
        study.enqueue_trial({"width": 1})
        known = [*study.trials, made((self.R, {}), (self.R, {}), params={1: {"width": 1}})[1]]
        assert trials.same_before(known[1], known).number == 0

    def test_a_torn_reading_of_a_data_base_is_read_again(self):
        """Trial 0 seen with its worker, of a later moment, and without parameters, of an earlier one."""
        torn = made((self.R, {"worker": "another"}), (self.R, {"worker": "me"}), params={0: {}, 1: {"width": 1}})
        whole = made(
            (self.R, {"worker": "another"}), (self.R, {"worker": "me"}), params=dict.fromkeys((0, 1), {"width": 1})
        )
        readings = iter([torn, whole])
        worker = Worker.__new__(Worker)
        worker.study, worker.unborn = SimpleNamespace(get_trials=lambda **_: next(readings)), {}
        known = worker._settled(1)
        assert trials.same_before(known[1], known).number == 0

    def test_sizes_of_spaces(self):
        space, _ = study_settings.parsed({"a": "1,2,3", "b": "range(3,18)", "c": "range(0,1,0.25)"}, [])
        assert trials.size(space) == 3 * 15 * 4
        assert trials.size(study_settings.parsed({"a": "interval(0,1)"}, [])[0]) is None
