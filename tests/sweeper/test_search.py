"""The quality and speed of a study's search, without training, and the student that a budget allows."""

import shutil
import time
from dataclasses import replace

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from optuna.trial import TrialState

from fitnets.composition import loading, mistakes
from fitnets.composition.composer import Composer
from fitnets.models import costs
from fitnets.store.files import read_json
from support import studies

# --- the student that a budget allows ---


@pytest.mark.parametrize(("depth", "budget"), [(5, 30), (17, 30), (11, 107), (3, 1)])
def test_width_that_follows_from_a_budget_is_the_largest_within_it(depth, budget):
    words = ["dataset=cifar10", "student=thin", f"student.depth={depth}"]
    config = loading.load([*words, "student.width=null", f"student.budget={budget}"])
    width = config.student.width
    assert config == loading.load([*words, f"student.width={width}"])
    cost, next_cost = (
        costs.costs_by_network(loading.load([*words, f"student.width={candidate}"]))["student"]["paper_multiplications"]
        for candidate in (width, width + 1)
    )
    assert cost <= budget * 1e6 < next_cost


# --- how well and how fast a study searches, without training ---


@pytest.fixture
def stubbed(monkeypatch):
    """Replaces runs by stubs in which deeper and wider students are a little better. Call it to set their seconds."""
    seconds = 0.0

    def run(config, **_named):
        time.sleep(seconds)
        return studies.without_training(config)

    def set_seconds(value: float) -> None:
        nonlocal seconds
        seconds = value

    monkeypatch.setattr("fitnets.experiment.pipeline.run", run)
    return set_seconds


@pytest.mark.parametrize(
    "words",
    [
        ["student.depth=7", "student.width=12", "schedule.student.optimizer.lr=0.003"],
        ["dataset=cifar10", "engine.views=fresh", "student.width=9", "schedule=modern", "store=elsewhere"],
        ["++sweep.budgets.multiplications=9", "dataset/preprocessing=standardize", "seed=2", "tracker=none"],
        ["student.depth=9", "student={depth: 5}", "student.depth=11", "student={width: 8}"],
        ["seed=2", "++sweep.budgets.parameters=5", "~sweep.budgets.parameters", "seed=3", "method=kd", "seed=4"],
        ["schedule.student.augmentation={flip: true, pad: 1}", "schedule.student.dropout={hidden: 0.2}"],
        ["sweep.seeds=2", "schedule.retrain_student=True", "schedule.student.max_steps=null", "store='a=b, c'"],
    ],
)  # fmt: skip
def test_composer_composes_what_hydra_does(words):
    words = ["student=thin", *words]
    with initialize_config_dir(str(loading.CONF)):
        composer = Composer(lambda overrides: hydra_compose("config", overrides))
        composer([*words, "student.depth=17", "seed=8", "dataset.seed=3"])  # must not affect the next call
        assert composer(words) == hydra_compose("config", words)
        assert loading.to_config(composer(words)) == loading.to_config(hydra_compose("config", words))


def test_composer_raises_the_same_error_as_hydra():
    with initialize_config_dir(str(loading.CONF)):
        composer = Composer(lambda overrides: hydra_compose("config", overrides))
        for word in ("student.dpth=3", "seed=one", "student=thinn", "+seed=3", "student.depth=[1"):
            composer(["student=thin"])
            with pytest.raises(mistakes.MISTAKES) as expected:
                hydra_compose("config", ["student=thin", word])
            with pytest.raises(type(expected.value)) as error:
                composer(["student=thin", word])
            assert str(error.value) == str(expected.value)


def test_most_proposals_keep_a_budget_that_most_of_the_space_violates(study, stubbed):
    space = ["student.depth=range(3,18)", "student.width=int(interval(4,64))"]
    config = loading.load(["student=thin"])
    points = [
        costs.costs_by_network(replace(config, student=replace(config.student, depth=depth, width=width)))["student"]
        for depth in range(3, 18, 2)
        for width in range(4, 65, 6)
    ]
    budget = sorted(point["multiplications"] for point in points)[int(0.4 * len(points))]
    finished, opened_study = study(
        *space, "~sweep.budgets.relative_multiplications", f"+sweep.budgets.multiplications={budget}",
        "hydra.sweeper.n_trials=20",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    are_feasible = [trial.constraints["multiplications"] <= 0 for trial in opened_study.trials if trial.constraints]
    assert sum(are_feasible[:10]) < 10  # the first ten proposals are random
    later = are_feasible[10:]
    print(f"{sum(later)} of {len(later)} proposals after the first 10 were feasible")
    assert sum(later) / len(later) >= 0.85


def test_a_trial_is_composed_once(study, stubbed, monkeypatch, tmp_path):
    """Hydra composes for 0.2 s, most of what a trial costs beside its training. The front is launched again for its
    test accuracies."""
    composed = []
    for name in ("load_configuration", "load_sweep_config"):
        real = getattr(ConfigLoaderImpl, name)

        def counted(*positional, _real=real, **named):
            composed.append(_real.__name__)
            return _real(*positional, **named)

        monkeypatch.setattr(ConfigLoaderImpl, name, counted)
    finished, _ = study("hydra.sweeper.n_trials=5", "~sweep.budgets.relative_multiplications")
    assert finished.code == 0, finished.err
    front = read_json(tmp_path / "store" / "sweeps" / "depth_width-digits" / "front.json")["front"]
    assert len(composed) == 1 + 5 + len(front), composed


@pytest.mark.timed
def test_a_trial_costs_little_more_than_its_training(study, stubbed, tmp_path):
    """The overhead of one of three studies is small enough; other processes only ever add to it.

    Most of it is Hydra, which composes once a trial. On a slow machine its time sets the bound.
    """
    stubbed(0.5)
    overheads, bound = [], 0.5
    while len(overheads) < 3 and min(overheads, default=bound) >= bound:
        started = time.monotonic()
        with initialize_config_dir(str(loading.CONF)):
            hydra_compose("config")
        bound = max(bound, 3 * (time.monotonic() - started))
        finished, opened_study = study(
            "hydra.sweeper.n_trials=8", "hydra.sweeper.objectives=[accuracy]", "student.width=range(4,9)"
        )
        assert finished.code == 0, finished.err
        took = (opened_study.trials[-1].datetime_complete - opened_study.trials[0].datetime_start).total_seconds()
        trained = sum(
            trial.state == TrialState.COMPLETE and "closed" not in trial.user_attrs for trial in opened_study.trials
        )
        overheads.append((took - 0.5 * trained) / trained)
        shutil.rmtree(tmp_path / "store" / "sweeps")
    print(f"{overheads} s of overhead a trial, of at most {bound} s")
    assert min(overheads) < bound
