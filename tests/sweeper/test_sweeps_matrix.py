"""Every question of `sweeps/` on every kind of data set composes, lets a restarted worker join, and trains."""

import optuna
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig

from fitnets.composition import loading
from fitnets.errors import ConfigError
from fitnets.sweeper import study_settings, trials
from support import small_data
from support.places import ROOT
from support.small_data import BASE, KINDS, NETWORKS
from support.studies import opened

QUESTIONS = {  # name: (overrides for every kind of data set, a search space of two points)
    "depth_width": (NETWORKS, ("student.depth=3", "student.width=4,5")),
    "latency": (NETWORKS, ("student.depth=3", "student.width=4,5")),
    "budget_30m": (NETWORKS, ("student.depth=3,4", "student.budget=0.5")),
    "budget_107m": (NETWORKS, ("student.depth=3,4", "student.budget=0.5")),
    "figure2": (NETWORKS[:-1], ("student.layers=5", "student.budget=30", "method=backprop,kd")),
    "table5": (NETWORKS[:-1], ("student=thin,fitnet_digits",)),
    "hint_depth": ((*NETWORKS[:3], "hint_layer.teacher=group1_block1"), ("hint_layer.student=conv1,conv2",)),
    "controls": (NETWORKS, ("student.depth=3", "student.width=4", "method=backprop,kd", "seed=0", "teacher.seed=0")),
    "methods": (NETWORKS, ("student.depth=3", "student.width=4", "method=kd,dist", "seed=0", "teacher.seed=0")),
    "initial_weights": (
        NETWORKS,
        (
            "student.depth=3",
            "student.width=4",
            "schedule/student_init=lsuv,uniform",
            "method=backprop",
            "seed=0",
            "teacher.seed=0",
        ),
    ),
    "term_weights": (
        (*NETWORKS, "student.depth=3", "student.width=4", "sweep.seeds=1"),
        ("method=kd,attention", "method.teaching_weight=1,2"),
    ),
}
TRAINED = {  # questions that are trained by kind of data set; on digits all are
    "parquet": ("depth_width", "budget_30m", "hint_depth", "controls"),
    "folder": ("latency", "figure2", "budget_107m", "controls"),
}
GRIDS = ("controls", "methods", "initial_weights")
STUDIES = [name for name in QUESTIONS if name not in GRIDS]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return small_data.make(tmp_path_factory.mktemp("data"))


def test_every_question_is_listed():
    assert set(QUESTIONS) == {path.stem for path in (ROOT / "sweeps").glob("*.yaml")}


def composed(*words: str) -> DictConfig:
    with initialize_config_dir(str(loading.CONF)):
        return hydra_compose("config", list(words), return_hydra_config=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STUDIES)
def test_study_composes_and_a_restarted_worker_may_join(name, kind, datasets):
    study = optuna.create_study()
    for path in ("as it was", "elsewhere"):
        moved = () if kind == "digits" or path == "as it was" else ("dataset.path=/elsewhere",)
        config = composed(f"+sweeps={name}", *datasets[kind], *QUESTIONS[name][0], *BASE, *moved)
        space, _ = study_settings.parsed(config.hydra.sweeper.params, [])
        objectives = study_settings.objectives(config.hydra.sweeper)
        study_settings.check_same_study(study, study_settings.shared_settings(config, space, objectives))
    other = composed(f"+sweeps={name}", *datasets[kind], *QUESTIONS[name][0], *BASE, "schedule.student.epochs=2")
    with pytest.raises(ConfigError, match=r"was started with schedule\.student\.epochs=1, not 2"):
        study_settings.check_same_study(study, study_settings.shared_settings(other, space, objectives))


def cells():
    for name in QUESTIONS:
        for kind in KINDS:
            if kind == "digits" or name in TRAINED[kind]:
                yield pytest.param(name, kind, id=f"{name}-{kind}")


@pytest.mark.parametrize(("name", "kind"), list(cells()))
def test_question_trains_two_trials(name, kind, datasets, command, tmp_path):
    always, space = QUESTIONS[name]
    number = () if name in GRIDS else ("hydra.sweeper.n_trials=2",)
    words = ("-m", f"+sweeps={name}", *BASE, *datasets[kind], *always, *space, *number)
    finished = command(*words)
    assert finished.code == 0, finished.err
    runs = list((tmp_path / "store" / "run").glob("[!.]*"))
    assert len(runs) == 2
    assert len(list((tmp_path / "store" / "teacher").glob("[!.]*"))) == 1
    if name in GRIDS:
        assert "2 jobs" in finished.out
        return
    (log,) = (tmp_path / "store" / "sweeps").glob("*/study.log")
    counted = trials.counted(opened(log, log.parent.name).trials)
    assert [trial.state.name for trial in counted] == ["COMPLETE"] * 2
