"""Mistakes in a study are told before its first trial: sampler, pruner, search space, budgets."""

import importlib.util
from contextlib import nullcontext
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from studies import STUDY, ends, opened

from fitnets.composition import loading
from fitnets.config import Sweep, Thin
from fitnets.errors import BudgetError, ConfigError
from fitnets.sweeper import probes, sampling, study_settings, trials

LOG = "sweeps/depth_width-digits/study.log"
ACCURACY = "hydra.sweeper.objectives=[accuracy]"


def refused(command, tmp_path, *words: str) -> str:
    """What is told of a study that begins nothing."""
    finished = command(*STUDY, "hydra.sweeper.n_trials=2", *words)
    assert finished.code == 1, finished.out
    assert "Traceback" not in finished.err
    assert len(finished.err.splitlines()) <= 4
    assert not (tmp_path / "store" / "sweeps").exists()
    return finished.err


SAMPLERS = [
    ("{_target_: optuna.samplers.TPESampler, sed: 1}", "unexpected keyword argument 'sed'"),
    ("{_target_: optuna.samplers.NoSuchSampler}", "NoSuchSampler"),
    ("{_target_: optuna.pruners.MedianPruner}", "MedianPruner is no sampler"),
    ("{_target_: mine.Sampler}", "not in the Hydra execution whitelist"),
    ("{seed: 1}", "no class is named"),
    ("optuna.samplers.TPESampler", "no class is named"),
    ("{_target_: optuna.samplers.GridSampler}", "missing 1 required positional argument: 'search_space'"),
    (
        "{_target_: optuna.samplers.GridSampler, search_space: {student.depth: [3]}}",
        "has student.depth, and the study's parameters are student.depth, student.width",
    ),
    (
        "{_target_: optuna.samplers.GridSampler, search_space: {student.depth: [3, 99], student.width: [4]}}",
        "student.depth=99 is not in the study's search space",
    ),
    ("{_target_: optuna.samplers.BruteForceSampler, seed: x}", "hydra.sweeper.sampler=optuna.samplers.Brute"),
]
PRUNERS = [
    ("{_target_: optuna.pruners.PercentilePruner}", "missing 1 required positional argument: 'percentile'"),
    ("{_target_: optuna.pruners.ThresholdPruner}", "Either lower or upper must be specified"),
    ("{_target_: optuna.pruners.SuccessiveHalvingPruner, min_resource: 0}", "min_resource"),
    ("{_target_: optuna.pruners.HyperbandPruner, min_resource: x}", "hydra.sweeper.pruner=optuna.pruners.Hyperband"),
    ("{_target_: optuna.samplers.TPESampler}", "TPESampler is no pruner"),
    ("{_target_: optuna.pruners.PatientPruner, patience: 2}", "wrapped_pruner"),
]


class TestSamplersAndPruners:
    @pytest.mark.parametrize(("given", "told"), SAMPLERS)
    def test_a_sampler_that_cannot_be_used(self, command, tmp_path, given, told):
        assert told in refused(command, tmp_path, ACCURACY, f"hydra.sweeper.sampler={given}")

    @pytest.mark.parametrize(("given", "told"), PRUNERS)
    def test_a_pruner_that_cannot_be_used(self, command, tmp_path, given, told):
        assert told in refused(command, tmp_path, ACCURACY, f"hydra.sweeper.pruner={given}")

    @pytest.mark.skipif(importlib.util.find_spec("cmaes") is not None, reason="the package is there")
    @pytest.mark.parametrize("more", ["", ", n_startup_trials: 30"])
    def test_a_sampler_whose_package_is_missing(self, command, tmp_path, more):
        given = f"{{_target_: optuna.samplers.CmaEsSampler{more}}}"
        told = refused(command, tmp_path, ACCURACY, f"hydra.sweeper.sampler={given}")
        assert "pip install cmaes" in told

    def test_a_sampler_for_one_objective_given_two(self, command, tmp_path):
        told = refused(command, tmp_path, "hydra.sweeper.sampler={_target_: optuna.samplers.CmaEsSampler}")
        assert "hydra.sweeper.sampler=optuna.samplers.CmaEsSampler: " in told

    @pytest.mark.parametrize("name", ["NSGAIISampler", "RandomSampler", "BruteForceSampler", "QMCSampler"])
    def test_samplers_that_can(self, name):
        space, _ = study_settings.parsed({"student.depth": "range(3,6)", "method": "kd,hints"}, [])
        given = loading.OmegaConf.create({"_target_": f"optuna.samplers.{name}", "seed": 1})
        for directions in (["maximize"], ["maximize", "minimize"]):
            sampling.try_sampler(given, space, directions)

    def test_a_sampler_that_fails_later_leaves_no_trial_open(self, study, monkeypatch):
        class Late(optuna.samplers.RandomSampler):
            def sample_independent(self, study, trial, name, distribution):
                if trial.number >= 1:
                    raise RuntimeError("no more")
                return super().sample_independent(study, trial, name, distribution)

        monkeypatch.setattr("fitnets.sweeper.worker.sampling.sampler", lambda *_: Late())
        monkeypatch.setattr("fitnets.sweeper.worker.sampling.try_sampler", lambda *_: None)
        finished, found = study("hydra.sweeper.n_trials=3", "hydra.sweeper.sampler={_target_: x}")
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert "hydra.sweeper.sampler: it proposes nothing (RuntimeError: no more)" in finished.err
        assert ends(found)[-1] == "FAIL stillborn"
        assert not [trial for trial in found.trials if not trial.state.is_finished()]

    def test_a_grid_of_the_sampler_ends_the_study(self, study):
        given = "{_target_: optuna.samplers.GridSampler, search_space: {student.depth: [3], student.width: [4, 5]}}"
        words = ["hydra.sweeper.n_trials=9", ACCURACY, f"hydra.sweeper.sampler={given}"]
        finished, found = study(*words)
        assert finished.code == 0, finished.err
        assert sorted(trial.params["student.width"] for trial in trials.counted(found.trials)) == [4, 5]


class TestSearchSpaces:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["student.depth=interval(3,8)"], ["'student.depth=int(interval(3,8))'"]),
            (
                ["student.depth=interval(3,8)", "student.width=tag(log,interval(4,64))"],
                ["'student.depth=int(interval(3,8))'", "'student.width=tag(log, int(interval(4,64)))'"],
            ),
            (["student.depth=3,a"], ["student.depth=a: ", "Integer"]),
            (["student.depth=3.5,4"], ["student.depth=3.5: ", "Integer"]),
            (["student.depth=range(0,5)"], ["student.depth=0 is out of range: at least 1"]),
            (
                ["schedule.student.dropout.hidden=interval(0,1)"],
                ["schedule.student.dropout.hidden=1.0 is out of range"],
            ),
            (["student=fitnet9,fitnet1"], ["student=fitnet9: no such option; did you mean fitnet"]),
            (["method=kd,hint"], ["method=hint: no such option; did you mean hints?"]),
            (["student.dpeth=3,4"], ["'dpeth' not in 'Thin'", "'depth'"]),
            (["student=thin,fitnet1"], ["student=fitnet1: ", "Key 'depth' not in"]),
            (["+student.nonsense=3,4"], ["student.nonsense: no such key"]),
        ],
        ids=lambda value: value[0],
    )
    def test_what_no_trial_could_be_composed_with_is_refused_at_once(self, command, tmp_path, words, told):
        text = refused(command, tmp_path, *words)
        assert all(part in text for part in told), text

    def test_a_mistake_that_is_no_parameters_is_told_once(self, command, tmp_path):
        text = refused(command, tmp_path, "schedule.student.epochs=0")
        assert text == "schedule.student.epochs=0 is out of range: at least 1, finite\n"

    def test_whole_numbers_suit_keys_of_numbers(self):
        space, _ = study_settings.parsed({"a": "interval(1,2)", "b": "int(interval(1,2))"}, [])
        seen = []
        probes.check(space, lambda params: seen.append(params))
        assert {"a": 1, "b": 1} in seen


# --- budgets ---


def configured(cost_of, budget=10.0):
    """The configuration of a job whose cost is a function of its parameters."""

    class Job:
        sweep = Sweep(budgets={"multiplications": budget})

        def __init__(self, params):
            self.params = params

    return Job, lambda config: ({"multiplications": cost_of(config.params)}, {})


class TestBudgets:
    @pytest.mark.parametrize(
        ("space", "is_met"),
        [
            ({"a": "range(11,20)"}, False),
            ({"a": "range(10,20)"}, True),
            ({"a": "interval(10.5,1000)", "b": "kd,hints"}, False),
            ({"a": "interval(9,1000)", "b": "kd,hints"}, True),
            ({"a": "11,12,30"}, False),
        ],
    )
    def test_of_which_no_point_is_within_are_refused(self, monkeypatch, space, is_met):
        parsed, _ = study_settings.parsed(space, [])
        configure, bounded = configured(lambda params: params["a"])
        monkeypatch.setattr(probes.job, "bounded", bounded)
        told = r"no student of the study is within budget.*the cheapest a=1.*=10 "
        with nullcontext() if is_met else pytest.raises(ConfigError, match=told):
            probes.check_budgets(parsed, configure)

    def test_a_small_space_is_looked_at_point_by_point(self, monkeypatch):
        """The only point within budget is no corner."""
        parsed, _ = study_settings.parsed({"a": "range(0,9)"}, [])
        configure, bounded = configured(lambda params: 1 if params["a"] == 4 else 99)
        monkeypatch.setattr(probes.job, "bounded", bounded)
        probes.check_budgets(parsed, configure)

    def test_that_the_space_cannot_meet_end_the_study_at_once(self, command, tmp_path):
        words = ["sweep.budgets.relative_multiplications=1e-9"]
        text = refused(command, tmp_path, *words)
        assert "the cheapest depth=3 width=4 has" in text
        assert "sweep.budgets.relative_multiplications=1e-09" in text
        assert "give larger budgets" in text

    def test_a_student_of_a_given_budget_that_no_depth_meets(self, command, tmp_path):
        words = ["+sweeps=budget_30m", "dataset=digits", "student.budget=1e-6", "hint_layer=middle", "tracker=none"]
        finished = command("-m", *words)
        assert finished.code == 1
        assert "student.budget=1e-06: a student of depth" in finished.err
        assert len(finished.err.splitlines()) == 1

    def test_of_a_given_budget_the_depths_that_cannot_meet_it_do_not_count(self, command, tmp_path, monkeypatch):
        def within(config, student: Thin):
            if student.depth > 3:
                raise BudgetError("too deep")
            return replace(config, student=replace(student, width=4, budget=None))

        monkeypatch.setattr("fitnets.models.costs.within_budget", within)
        words = [word for word in STUDY if not word.startswith(("+sweeps", "sweep.budgets"))]
        words += ["+sweeps=budget_30m", "dataset=digits", "student.depth=3,4,5", "hint_layer=middle", "test=false"]
        finished = command(*words, "hydra.sweeper.n_trials=3")
        assert finished.code == 0, finished.err
        found = opened(tmp_path / "store" / "sweeps" / "budget_30m-digits" / "study.log", "budget_30m-digits")
        states = {trial.params["student.depth"]: trial for trial in found.trials}
        assert states[3].state == TrialState.COMPLETE
        assert [states[depth].user_attrs["closed"] for depth in (4, 5)] == ["infeasible"] * 2

    def test_proposals_over_budget_are_not_silent(self, study, monkeypatch):
        monkeypatch.setattr("fitnets.sweeper.worker._TOLD_OVER", 2)
        monkeypatch.setattr("fitnets.sweeper.worker._TOLD_AGAIN", 2)
        monkeypatch.setattr("fitnets.sweeper.worker._FRUITLESS_TRIALS", 4)
        monkeypatch.setattr("fitnets.sweeper.worker.probes.check_budgets", lambda *_: None)
        finished, _ = study("+sweep.budgets.parameters=10", "hydra.sweeper.n_trials=2", opens=False)
        assert finished.code == 1
        assert "the last 2 proposals were over budget; the cheapest " in finished.out
        assert "the last 4 proposals were over budget; the cheapest " in finished.out
        assert "of sweep.budgets.parameters=10 (10)" in finished.err
