"""Studies on one machine: what they train, how they resume, and what they show at the end."""

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import stdev

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from optuna.trial import TrialState

from fitnets.composition import loading
from fitnets.store.directories import is_finished
from fitnets.store.files import read_json
from fitnets.sweeper import study_settings, trials
from support.places import ROOT
from support.processes import cold
from support.runs import interrupted
from support.studies import BASE, STUDY, opened, params_of


class TestStudy:
    def test_trains_one_teacher_and_n_trials_students_and_shows_the_front(self, study, tmp_path):
        finished, opened_study = study("hydra.sweeper.n_trials=4")
        assert finished.code == 0, finished.err
        counted = trials.counted(opened_study.trials)
        assert [trial.state for trial in counted] == [TrialState.COMPLETE] * 4
        assert len(list((tmp_path / "store" / "teacher").iterdir())) == 1
        for trial in counted:
            (run,) = trial.user_attrs["runs"]
            result = read_json(tmp_path / "store" / "run" / run / "result.json")
            assert params_of(tmp_path / "store" / "run" / run) == trial.params
            assert trial.values == [result["student"]["valid_accuracy"], result["student"]["multiplications"]]
        front = read_json(tmp_path / "store" / "sweeps" / "depth_width-digits" / "front.json")["front"]
        best = {trial.number for trial in opened_study.best_trials if "closed" not in trial.user_attrs}
        assert {row["trial"] for row in front} == best
        on_test = {path.name for path in (tmp_path / "store" / "run").iterdir() if has_test(path)}
        assert on_test == {run for row in front for run in row["runs"]}  # only the front
        assert f"front of {len(front)} among 4 trials" in finished.out
        assert finished.out.count("multiplications") >= 4

    def test_resumes_and_can_be_made_longer(self, study):
        study("hydra.sweeper.n_trials=2")
        _, opened_study = study("hydra.sweeper.n_trials=2")
        assert len(trials.counted(opened_study.trials)) == 2
        finished, opened_study = study("hydra.sweeper.n_trials=3")
        assert finished.code == 0
        assert len(trials.counted(opened_study.trials)) == 3
        # A sampler that was seeded alike would propose the first trial again.
        assert len({str(trial.params) for trial in trials.counted(opened_study.trials)}) == 3

    def test_trains_nothing_that_is_over_budget(self, study, tmp_path):
        finished, opened_study = study("hydra.sweeper.n_trials=3", "+sweep.budgets.multiplications=100000")
        assert finished.code == 0, finished.err
        over = [trial for trial in opened_study.trials if trial.user_attrs.get("closed") == "infeasible"]
        assert over
        for trial in over:
            assert trial.state == TrialState.PRUNED
            assert trial.constraints["multiplications"] == trial.user_attrs["multiplications"] - 100_000 > 0
            assert "runs" not in trial.user_attrs
        assert len([name for name in os.listdir(tmp_path / "store" / "run")]) == 3

    def test_ends_once_every_point_of_its_space_was_tried(self, study):
        finished, opened_study = study("student.depth=3", "student.width=4,5,6", "hydra.sweeper.n_trials=9")
        assert finished.code == 0, finished.err
        assert sorted(t.params["student.width"] for t in trials.counted(opened_study.trials)) == [4, 5, 6]

    def test_value_is_the_mean_over_seeds_and_the_spread_is_recorded(self, study, tmp_path):
        finished, opened_study = study("hydra.sweeper.n_trials=1", "sweep.seeds=3")
        assert finished.code == 0, finished.err
        (trial,) = trials.counted(opened_study.trials)
        accuracies = [
            read_json(tmp_path / "store" / "run" / run / "result.json")["student"]["valid_accuracy"]
            for run in trial.user_attrs["runs"]
        ]
        assert len(set(trial.user_attrs["runs"])) == 3
        assert trial.values[0] == pytest.approx(sum(accuracies) / 3)
        assert trial.user_attrs["spread_accuracy"] == pytest.approx(stdev(accuracies))
        assert len(list((tmp_path / "store" / "teacher").iterdir())) == 1
        assert " ± " in finished.out

    def test_pruner_ends_trials_early(self, study, tmp_path):
        finished, opened_study = study(
            "hydra.sweeper.objectives=[accuracy]", "hydra.sweeper.n_trials=6", "schedule.student.epochs=6",
            "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 0.99, n_warmup_steps: 2}",
            "hydra.sweeper.max_failures=1",
        )  # fmt: skip
        assert finished.code == 0, finished.err
        counted = trials.counted(opened_study.trials)
        assert {trial.state for trial in counted} == {TrialState.PRUNED}
        assert [sorted(trial.intermediate_values) for trial in counted] == [[0, 1, 2]] * 6
        statuses = {read_json(path)["status"] for path in (tmp_path / "store").glob("run/[!.]*/result.json")}
        assert statuses == {"pruned"}
        assert not list((tmp_path / "store" / "run").glob(".*.checkpoints"))
        assert "pruned after epoch 3 of the student's stage" in finished.out

    def test_best_trial_of_one_objective_comes_first_and_alone_sees_the_test_images(self, study, tmp_path):
        finished, opened_study = study("hydra.sweeper.n_trials=3", "hydra.sweeper.objectives=[error]")
        assert finished.code == 0, finished.err
        ranked = sorted(trials.counted(opened_study.trials), key=lambda trial: trial.values[0])
        front = read_json(tmp_path / "store" / "sweeps" / "depth_width-digits" / "front.json")["front"]
        assert [row["trial"] for row in front] == [ranked[0].number]
        rows = [line.split("│")[1] for line in finished.out.splitlines() if line.startswith("│")]
        assert [int(row) for row in rows] == [trial.number for trial in ranked]
        assert sum(has_test(run) for run in (tmp_path / "store" / "run").iterdir()) == 1

    @pytest.mark.parametrize("questions", [["student.depth=3,4", "student.width=4"]])
    def test_grid_of_optuna_is_run_to_its_end(self, study, questions):
        """Optuna's BruteForceSampler calls `Study.stop` at the last point, although no `Study.optimize` runs."""
        grid = "hydra.sweeper.sampler={_target_: optuna.samplers.BruteForceSampler, seed: 0}"
        words = [*questions, grid, "hydra.sweeper.n_trials=9", "hydra.sweeper.objectives=[accuracy]"]
        finished, opened_study = study(*words)
        assert finished.code == 0, finished.err
        assert sorted(trial.params["student.depth"] for trial in trials.counted(opened_study.trials)) == [3, 4]
        assert "best among 2 trials" in finished.out

    def test_latency_is_measured_again_for_a_stored_run(self, study, command, monkeypatch):
        assert command(*BASE, "engine.threads=1", "student=thin", "student.depth=3", "student.width=4").code == 0

        def constant(networks, *_positional):
            return {name: {f"batch_{size}_p50_ms": 7.5 for size in (1, 128)} for name in networks}

        monkeypatch.setattr("fitnets.experiment.evaluation.machine_latency.latencies", constant)
        space = ["student.depth=3", "student.width=4,5", "hydra.sweeper.objectives=[accuracy,latency_ms]"]
        finished, opened_study = study(*space, "hydra.sweeper.n_trials=2")
        assert finished.code == 0, finished.err
        assert [trial.values[1] for trial in trials.counted(opened_study.trials)] == [7.5, 7.5]

    def test_stage_that_was_started_with_other_threads_starts_over(self, study, tmp_path, monkeypatch):
        interrupted(tmp_path, monkeypatch, "student.depth=3", "student.width=4")
        space = ("student.depth=3", "student.width=4,5")
        finished, opened_study = study(*space, "engine.threads=2", "hydra.sweeper.n_trials=2")
        assert finished.code == 0, finished.err
        assert "would change the result: restarting the stage" in finished.out
        assert {trial.state for trial in trials.counted(opened_study.trials)} == {TrialState.COMPLETE}


def has_test(run: Path) -> bool:
    return "test_accuracy" in read_json(run / "result.json")["student"]


# --- mistakes ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.objectives=[acuracy]"], "acuracy: no such measure; did you mean accuracy?"),
        (["hydra.sweeper.objectives=[]"], "give one measure or several different ones"),
        (["+sweep.budgets.accuracy=1"], "sweep.budgets.accuracy: no such cost"),
        (["hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner}"], "give hydra.sweeper.pruner=null"),
        (["hydra.sweeper.storage=sqlite:////no/such/folder/x.db"], "storage=sqlite:////no/such/folder/x.db: "),
        (["hydra.sweeper.storage=mysqq://u:pw@h/x"], "hydra.sweeper.storage=mysqq://u:***@h/x: "),
        (["hydra.sweeper.storage=postgresql://u:pw@127.0.0.1:1/x"], "postgresql://u:***@127.0.0.1:1/x: "),
        (["return_measures=acuracy"], "return_measures=acuracy: no such measure; did you mean accuracy?"),
        (["+sweep.budgets.multiplications=1", "student.width=4"], "give larger budgets, or a larger search space"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_mistake_is_reported_in_short(command, words, message, monkeypatch):
    monkeypatch.setattr("fitnets.sweeper.rejections.MAX_REJECTED", 3)
    finished = command(*STUDY, "hydra.sweeper.n_trials=1", "hydra.sweeper.max_failures=0", *words)
    assert finished.code == 1
    assert message in finished.err
    assert "Traceback" not in finished.err
    assert "pw" not in finished.err
    assert len(finished.err.splitlines()) <= 3


def test_study_of_the_same_name_with_other_settings_is_refused(study):
    assert study("hydra.sweeper.n_trials=1")[0].code == 0
    for words, message in (
        (["schedule.student.epochs=2"], "was started with schedule.student.epochs=1, not 2"),
        (["student.depth=3,4,5", "student.width=4,5"], "was started with student.width="),
        (
            ["hydra.sweeper.objectives=[accuracy,parameters]"],
            "has the objectives max. accuracy and min. multiplications, not max. accuracy and min. parameters",
        ),
        (
            ["hydra.sweeper.objectives=[accuracy]"],
            "has the objectives max. accuracy and min. multiplications, not max. accuracy:",
        ),
    ):
        finished, _ = study("hydra.sweeper.n_trials=2", *words)
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert message in finished.err
    assert study("hydra.sweeper.n_trials=1", "tracker=none", "engine.threads=2")[0].code == 0


# --- Hydra's other sweepers and launchers ---


class TestOtherSweepers:
    def test_optuna_with_one_objective(self, command, tmp_path):
        words = (
            "hydra/sweeper=optuna",
            "hydra.sweeper.n_trials=2",
            "hydra.sweeper.storage=null",
            "return_measures=accuracy",
        )
        finished = command(
            "-m",
            *BASE,
            *words,
            "student=thin",
            "student.depth=3,4",
            "student.width=4",
            "hydra.sweeper.direction=maximize",
        )
        assert finished.code == 0, finished.err
        assert 1 <= len(list((tmp_path / "store" / "run").glob("[!.]*"))) <= 2  # the sampler may repeat a point

    def test_optuna_with_two_objectives(self, command):
        finished = command(
            "-m", *BASE, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2",
            "return_measures=[accuracy,multiplications]", "hydra.sweeper.direction=[maximize,minimize]",
            "student=thin", "student.depth=3,4", "student.width=4",
        )  # fmt: skip
        assert finished.code == 0, finished.err

    @pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
    def test_launcher_runs_a_grid(self, tmp_path, launcher):
        more = ["hydra.launcher.timeout_min=5"] if launcher == "submitit_local" else ["hydra.launcher.n_jobs=2"]
        finished = cold(
            str(ROOT / "run.py"), "-m", *BASE, "student=thin", "student.depth=3", "student.width=4,5", *more,
            f"hydra/launcher={launcher}", f"store={tmp_path / 'store'}", "engine.threads=1", cwd=tmp_path,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        assert len([path for path in (tmp_path / "store" / "run").glob("[!.]*") if is_finished(path)]) == 2
        assert len(list((tmp_path / "store" / "teacher").glob("[!.]*"))) == 1

    @pytest.mark.soak
    def test_study_through_submitit(self, tmp_path):
        finished = cold(
            str(ROOT / "run.py"), *STUDY, "hydra.sweeper.n_trials=1", "hydra/launcher=submitit_local",
            "hydra.launcher.timeout_min=5", f"store={tmp_path / 'store'}", cwd=tmp_path,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        study = opened(tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log")
        assert len(trials.counted(study.trials)) == 1


def test_optuna_dashboard_opens_the_journal(study, tmp_path):
    study("hydra.sweeper.n_trials=1")
    port = random.randrange(30_000, 40_000)
    log = tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log"
    dashboard = subprocess.Popen(
        [Path(sys.executable).parent / "optuna-dashboard", log, "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        (shown,) = fetch_json(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert shown["study_name"] == "depth_width-digits"
    finally:
        dashboard.kill()
        dashboard.wait()


def fetch_json(url: str) -> dict:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url) as response:
                return json.loads(response.read())
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no response from {url}")


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "sweeps").glob("*.yaml"))])
def test_every_question_composes(name):
    with initialize_config_dir(str(loading.CONF)):
        composed = hydra_compose("config", [f"+sweeps={name}"], return_hydra_config=True)
    space, _ = study_settings.parsed(composed.hydra.sweeper.params, [])
    assert space
    assert f"`{name}`" in (ROOT / "README.md").read_text()
    if "objectives" in composed.hydra.sweeper:
        assert study_settings.objectives(composed.hydra.sweeper)
        assert not composed.test
        total = trials.size(space)
        assert total is not None
        assert composed.hydra.sweeper.n_trials <= total
