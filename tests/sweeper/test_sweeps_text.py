"""Choices of grids and studies reach text keys as they were typed, and recorded commands repeat the run."""

import json
import shlex

import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution

from fitnets.composition import loading, overrides
from fitnets.config import Config
from fitnets.sweeper import job, study_settings
from fitnets.sweeper.worker import Worker

TEXTS = ["0.10", "1e3", "007", "true", "a(b)", "ü b", "conv1"]


@pytest.fixture
def jobs(command, monkeypatch):
    """Runs `python run.py WORDS` without training. Returns each job's configuration and recorded command."""
    configs: list[tuple[Config, list[str]]] = []

    def record(config: Config) -> None:
        configs.append((config, job._notes(config, config.seed)["command"]))

    monkeypatch.setattr(job, "run", record)

    def call(*words: str) -> list[tuple[Config, list[str]]]:
        configs.clear()
        finished = command(*words)
        assert finished.code == 0, finished.err
        return list(configs)

    return call


def projects(recorded: list[tuple[Config, list[str]]]) -> list[str]:
    return [config.tracker.project for config, _ in recorded]


def test_choices_of_a_grid_are_text(jobs):
    assert projects(jobs("-m", "tracker=wandb", f"tracker.project={','.join(TEXTS)}")) == TEXTS
    assert projects(jobs("-m", "tracker=wandb", "tracker.project=choice(1e3,a=b)")) == ["1e3", "a=b"]


def test_folder_with_the_name_of_a_key_makes_no_group(jobs, tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "store").mkdir()
    ((config, _),) = jobs("--config-dir", str(tmp_path), "test=false")
    assert not config.test


def test_choices_in_a_file_that_replaces_a_shipped_question_are_text(jobs, tmp_path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "controls.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      tracker.project: 0.10,1e3\n      tracker.group: 1_0\n      seed: 4\n      tracker.entity: null\n"
    )
    recorded = jobs("-m", "--config-dir", str(tmp_path), "+sweeps=controls", "tracker=wandb")
    assert projects(recorded) == ["0.10", "1e3"]
    assert {(config.tracker.group, config.seed, config.tracker.entity) for config, _ in recorded} == {("1_0", 4, None)}


def test_recorded_command_repeats_the_run_when_it_is_pasted(jobs, tmp_path):
    folder = tmp_path / "o'p (ü)"
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "mine.yaml").write_text("defaults: [thin, _self_]\nwidth: 9\n")
    words = ("tracker=wandb", "tracker.tags=[0.10,it's]", "student=mine", "hint_layer=middle")
    config_dir = ("--config-dir", str(folder))
    searchpath = (f"hydra.searchpath=[{overrides.quoted(f'file://{folder}')}]",)
    for options, text in ((config_dir, "0.10"), (searchpath, "a, 'b' (c) $d"), (config_dir, "~x=ü;& ${z}")):
        project = overrides.literal("tracker.project", text)
        ((first, command),) = jobs(*options, *words, project)
        pasted = shlex.split(shlex.join(command))[2:]  # after python run.py
        ((again, _),) = jobs(*pasted)
        assert again.tracker == first.tracker
        assert again.student == first.student
        assert (first.tracker.project, first.tracker.tags) == (text, ["0.10", "it's"])


def test_choices_of_a_study_are_text():
    space, fixed = study_settings.parsed(
        {"tracker.project": "0.10,1e3,conv1"}, ["tracker.group=choice(1_0,ü)", "student.depth=range(3,5)", "store=a=b"]
    )
    assert [distribution for distribution in space.values() if isinstance(distribution, CategoricalDistribution)] == [
        CategoricalDistribution(["'0.10'", "'1e3'", "conv1"]),
        CategoricalDistribution(["'1_0'", "'ü'"]),
    ]
    assert fixed == ["store='a=b'"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"tracker.project": "'0.10'"}, "0.10"),
        ({"tracker.project": 0.1}, "0.1"),
        ({"tracker.project": "conv1"}, "conv1"),
        ({"tracker.project": "a=b"}, "a=b"),
        ({"tracker.project": True}, "True"),
    ],
)
def test_trial_composes_the_text(params, expected):
    worker = Worker.__new__(Worker)
    worker.fixed = ["tracker=wandb"]
    assert loading.load(worker._overrides(params)).tracker.project == expected


def test_choice_of_null_is_null():
    worker = Worker.__new__(Worker)
    worker.fixed = []
    assert worker._overrides({"schedule.hint.max_steps": None}) == ["schedule.hint.max_steps=null"]


def test_search_space_of_earlier_studies_is_unchanged():
    """Distributions are compared by their JSON, so that a study of an earlier version resumes."""
    params = {"method": "backprop,kd,hints", "student.depth": "range(3,18)", "dataset.train_share": "0.1,0.5"}
    space, _ = study_settings.parsed(params, ["hint_layer.teacher=conv1,conv2"])
    assert space["method"] == CategoricalDistribution(["backprop", "kd", "hints"])
    assert space["dataset.train_share"] == CategoricalDistribution([0.1, 0.5])
    assert space["hint_layer.teacher"] == CategoricalDistribution(["conv1", "conv2"])


def test_study_may_have_a_number_as_its_name(study, tmp_path):
    finished, _ = study(
        "hydra.sweeper.study_name=1e3", "hydra.sweeper.n_trials=1", f"store={tmp_path / 'a=b (ü)'}", opens=False
    )
    store = tmp_path / "store"  # the fixture appends its own store, which wins
    assert finished.code == 0, finished.err
    record = json.loads((store / "sweeps" / "1e3" / "study.json").read_text())
    assert "1e3" in json.dumps(record)


def test_study_name_in_a_file_keeps_its_text(tmp_path, command):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: study\n"
        "hydra: {sweeper: {study_name: 007, params: {seed: '1,2'}}}\n"
    )
    shown = command("--config-dir", str(tmp_path), "+sweeps=mine", "--cfg", "hydra", "-p", "hydra.sweeper")
    assert OmegaConf.create(shown.out).study_name == "007", shown.err
