"""Mistakes in a study's sampler, pruner, search space and budgets are reported before its first trial."""

import importlib.util
from contextlib import nullcontext
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from fitnets.composition import loading
from fitnets.config import Sweep, Thin
from fitnets.errors import BudgetError, ConfigError
from fitnets.sweeper import probes, sampling, study_settings, trials
from support.studies import STUDY, ends, opened

LOG = "sweeps/depth_width-digits/study.log"
ACCURACY = "hydra.sweeper.objectives=[accuracy]"


def refused(command, tmp_path, *words: str) -> str:
    """The message of a study that is refused before it writes anything."""
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
    @pytest.mark.parametrize(("given", "message"), SAMPLERS)
    def test_sampler_that_cannot_be_used_is_refused(self, command, tmp_path, given, message):
        assert message in refused(command, tmp_path, ACCURACY, f"hydra.sweeper.sampler={given}")

    @pytest.mark.parametrize(("given", "message"), PRUNERS)
    def test_pruner_that_cannot_be_used_is_refused(self, command, tmp_path, given, message):
        assert message in refused(command, tmp_path, ACCURACY, f"hydra.sweeper.pruner={given}")

    @pytest.mark.skipif(importlib.util.find_spec("cmaes") is not None, reason="the package is installed")
    @pytest.mark.parametrize("more", ["", ", n_startup_trials: 30"])
    def test_sampler_whose_package_is_missing_is_refused(self, command, tmp_path, more):
        given = f"{{_target_: optuna.samplers.CmaEsSampler{more}}}"
        message = refused(command, tmp_path, ACCURACY, f"hydra.sweeper.sampler={given}")
        assert "pip install cmaes" in message

    def test_sampler_for_one_objective_is_refused_for_two(self, command, tmp_path):
        message = refused(command, tmp_path, "hydra.sweeper.sampler={_target_: optuna.samplers.CmaEsSampler}")
        assert "hydra.sweeper.sampler=optuna.samplers.CmaEsSampler: " in message

    @pytest.mark.parametrize("name", ["NSGAIISampler", "RandomSampler", "BruteForceSampler", "QMCSampler"])
    def test_other_samplers_are_accepted(self, name):
        space, _ = study_settings.parsed({"student.depth": "range(3,6)", "method": "kd,hints"}, [])
        given = loading.OmegaConf.create({"_target_": f"optuna.samplers.{name}", "seed": 1})
        for directions in (["maximize"], ["maximize", "minimize"]):
            sampling.try_sampler(given, space, directions)

    def test_sampler_that_fails_later_leaves_no_trial_open(self, study, monkeypatch):
        class Late(optuna.samplers.RandomSampler):
            def sample_independent(self, study, trial, name, distribution):
                if trial.number >= 1:
                    raise RuntimeError("no more")
                return super().sample_independent(study, trial, name, distribution)

        monkeypatch.setattr("fitnets.sweeper.worker.sampling.sampler", lambda *_: Late())
        monkeypatch.setattr("fitnets.sweeper.worker.sampling.try_sampler", lambda *_: None)
        finished, opened_study = study("hydra.sweeper.n_trials=3", "hydra.sweeper.sampler={_target_: x}")
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert "hydra.sweeper.sampler cannot propose values (RuntimeError: no more)" in finished.err
        assert ends(opened_study)[-1] == "FAIL stillborn"
        assert not [trial for trial in opened_study.trials if not trial.state.is_finished()]

    def test_grid_of_the_sampler_ends_the_study(self, study):
        given = "{_target_: optuna.samplers.GridSampler, search_space: {student.depth: [3], student.width: [4, 5]}}"
        words = ["hydra.sweeper.n_trials=9", ACCURACY, f"hydra.sweeper.sampler={given}"]
        finished, opened_study = study(*words)
        assert finished.code == 0, finished.err
        assert sorted(trial.params["student.width"] for trial in trials.counted(opened_study.trials)) == [4, 5]


class TestSearchSpaces:
    @pytest.mark.parametrize(
        ("words", "parts"),
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
    def test_parameter_that_cannot_be_composed_is_refused(self, command, tmp_path, words, parts):
        message = refused(command, tmp_path, *words)
        assert all(part in message for part in parts), message

    def test_mistake_outside_of_the_parameters_is_reported_once(self, command, tmp_path):
        message = refused(command, tmp_path, "schedule.student.epochs=0")
        assert message == "schedule.student.epochs=0 is out of range: at least 1, finite\n"

    def test_interval_is_tried_with_whole_numbers(self):
        space, _ = study_settings.parsed({"a": "interval(1,2)", "b": "int(interval(1,2))"}, [])
        tried = []
        probes.check(space, tried.append)
        assert {"a": 1, "b": 1} in tried


# --- budgets ---


def configured(cost_of, budget=10.0):
    """(configure, bounded) for jobs whose cost is a function of their parameters, in place of the real functions."""

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
    def test_budgets_that_no_point_meets_are_refused(self, monkeypatch, space, is_met):
        parsed, _ = study_settings.parsed(space, [])
        configure, bounded = configured(lambda params: params["a"])
        monkeypatch.setattr(probes.job, "bounded", bounded)
        message = r"no student of the study is within budget.*the cheapest a=1.*=10 "
        with nullcontext() if is_met else pytest.raises(ConfigError, match=message):
            probes.check_budgets(parsed, configure)

    def test_small_space_is_checked_point_by_point(self, monkeypatch):
        """The only point within budget is no corner."""
        parsed, _ = study_settings.parsed({"a": "range(0,9)"}, [])
        configure, bounded = configured(lambda params: 1 if params["a"] == 4 else 99)
        monkeypatch.setattr(probes.job, "bounded", bounded)
        probes.check_budgets(parsed, configure)

    def test_budgets_that_the_space_cannot_meet_end_the_study_at_once(self, command, tmp_path):
        words = ["sweep.budgets.relative_multiplications=1e-9"]
        message = refused(command, tmp_path, *words)
        assert "the cheapest depth=3 width=4 has" in message
        assert "sweep.budgets.relative_multiplications=1e-09" in message
        assert "give larger budgets" in message

    def test_student_budget_that_no_depth_meets_is_refused(self, command, tmp_path):
        words = ["+sweeps=budget_30m", "dataset=digits", "student.budget=1e-6", "hint_layer=middle", "tracker=none"]
        finished = command("-m", *words)
        assert finished.code == 1
        assert "student.budget=1e-06: a student of depth" in finished.err
        assert len(finished.err.splitlines()) == 1

    def test_depths_that_cannot_meet_the_student_budget_do_not_count(self, command, tmp_path, monkeypatch):
        def within(config, student: Thin):
            if student.depth > 3:
                raise BudgetError("too deep")
            return replace(config, student=replace(student, width=4, budget=None))

        monkeypatch.setattr("fitnets.models.costs.within_budget", within)
        words = [word for word in STUDY if not word.startswith(("+sweeps", "sweep.budgets"))]
        words += ["+sweeps=budget_30m", "dataset=digits", "student.depth=3,4,5", "hint_layer=middle", "test=false"]
        finished = command(*words, "hydra.sweeper.n_trials=3")
        assert finished.code == 0, finished.err
        opened_study = opened(tmp_path / "store" / "sweeps" / "budget_30m-digits" / "study.log", "budget_30m-digits")
        states = {trial.params["student.depth"]: trial for trial in opened_study.trials}
        assert states[3].state == TrialState.COMPLETE
        assert [states[depth].user_attrs["closed"] for depth in (4, 5)] == ["infeasible"] * 2

    def test_proposals_over_budget_are_reported(self, study, monkeypatch):
        monkeypatch.setattr("fitnets.sweeper.rejections.FIRST_NOTICE", 2)
        monkeypatch.setattr("fitnets.sweeper.rejections.NEXT_NOTICE", 2)
        monkeypatch.setattr("fitnets.sweeper.rejections.MAX_REJECTED", 4)
        monkeypatch.setattr("fitnets.sweeper.worker.probes.check_budgets", lambda *_: None)
        finished, _ = study("+sweep.budgets.parameters=10", "hydra.sweeper.n_trials=2", opens=False)
        assert finished.code == 1
        assert "the last 2 proposals were over budget; the cheapest " in finished.out
        assert "the last 4 proposals were over budget; the cheapest " in finished.out
        assert "of sweep.budgets.parameters=10 (10)" in finished.err
