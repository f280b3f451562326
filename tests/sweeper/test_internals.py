"""Each private name of Optuna that `fitnets/sweeper/internals.py` uses exists and behaves as needed.

If a test fails after an update of Optuna, its message or docstring gives the purpose of the name.
"""

import importlib
import warnings

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from fitnets.sweeper import internals, storage

NAMES = [  # (module, attribute, why the sweeper needs it)
    ("hydra_plugins.hydra_optuna_sweeper._impl", "create_params_from_overrides", "search spaces are parsed by it"),
    ("optuna.storages.journal._file", "BaseJournalFileLock", "the journal's own class holds the lock"),
    ("optuna.distributions", "BaseDistribution._contains", "a sampler's grid must lie in the search space"),
    ("optuna.storages", "RDBStorage.record_heartbeat", "other workers must see that this one is alive"),
    (
        "optuna.storages",
        "BaseStorage.get_trial_id_from_study_id_trial_number",
        "trials are written to that another process asked for",
    ),
]


@pytest.mark.parametrize(("module", "attribute", "reason"), NAMES, ids=[name for _, name, _ in NAMES])
def test_private_name_exists(module, attribute, reason):
    item = importlib.import_module(module)
    for part in attribute.split("."):
        assert hasattr(item, part), f"{module}.{attribute} is gone. The sweeper needs it because {reason}."
        item = getattr(item, part)


def test_search_space_is_parsed_as_hydras_optuna_sweeper_does():
    words = ["a=1,2", "b=range(3,18)", "c=tag(log, int(interval(4,64)))", "d=interval(0,1)", "e=x", "~f"]
    space, fixed, deletions = internals.search_space(words)
    assert space == {
        "a": CategoricalDistribution([1, 2]),
        "b": IntDistribution(3, 17),
        "c": IntDistribution(4, 64, log=True),
        "d": FloatDistribution(0, 1),
    }
    assert (fixed, deletions) == ({"e": "x"}, ["~f"])


def test_journal_file_works_without_a_lock_of_its_own(tmp_path):
    """`Journal` holds the lock itself, around cutting and appending."""
    backend = JournalFileBackend(str(tmp_path / "study.log"), internals.no_journal_lock())
    backend.append_logs([{"op_code": 0}])
    assert list(backend.read_logs(0)) == [{"op_code": 0}]


@pytest.fixture(params=["memory", "journal", "sqlite"])
def shared_study(request, tmp_path):
    """(a study, the same study as another process would open it)"""
    if request.param == "memory":
        study = optuna.create_study()
        return study, study
    address = str(tmp_path / "study.log") if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"
    return tuple(storage.open_study(address, "one", {"loss": "minimize"}) for _ in range(2))


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_trial_handle_writes_to_the_trial_of_that_number(shared_study):
    """A job reports to the trial that its worker asked for, and a worker closes the trials of dead workers."""
    study, elsewhere = shared_study
    for _ in range(2):
        study.ask()
    handle = internals.trial_handle(elsewhere, 1)
    handle.set_user_attr("closed", "stillborn")
    handle.report(0.5, 0)
    assert [trial.user_attrs for trial in study.get_trials()] == [{}, {"closed": "stillborn"}]
    assert study.get_trials()[1].intermediate_values == {0: 0.5}


def test_queued_params_are_those_of_a_waiting_trial():
    """Workers compare a new trial with waiting trials, which have no `params` yet."""
    study = optuna.create_study()
    study.enqueue_trial({"width": 1})
    study.ask()
    study.enqueue_trial({"width": 2})
    waiting = study.get_trials()[1]
    assert (waiting.state, waiting.params) == (TrialState.WAITING, {})
    assert internals.queued_params(waiting) == {"width": 2}
    assert internals.queued_params(optuna.trial.create_trial(value=0.5)) == {}


def test_heartbeat_is_recorded_in_databases_alone(tmp_path):
    journal = storage.open_study(str(tmp_path / "study.log"), "one", {"loss": "minimize"})
    assert internals.heartbeat(journal, journal.ask()) is None
    url = f"sqlite:///{tmp_path}/study.db"
    engine = {"poolclass": NullPool}
    with warnings.catch_warnings(action="ignore"):
        database = optuna.create_study(storage=optuna.storages.RDBStorage(url, engine, heartbeat_interval=60))
        trial = database.ask()
    beat = internals.heartbeat(database, trial)
    assert beat is not None
    beat()
    optuna.storages.fail_stale_trials(database)
    assert database.get_trials()[0].state == TrialState.RUNNING


def test_ask_warns_of_heartbeats_with_the_text_that_is_ignored(tmp_path):
    """`Worker` ignores this warning by its beginning."""
    study = storage.open_study(f"sqlite:///{tmp_path}/study.db", "one", {"loss": "minimize"})
    with pytest.warns(UserWarning, match="^Heartbeat of storage"):
        study.ask()


def test_ask_calls_before_trial_once_the_trial_has_a_number():
    """`Worker` notes the number in `before_trial`, to close the trial if the sampler fails."""
    study = optuna.create_study()
    numbers = []
    study.sampler.before_trial = lambda _, trial: numbers.append(trial.number)
    study.ask({"width": IntDistribution(1, 9)})
    assert numbers == [0]


class TestTell:
    def test_a_trial_that_another_worker_finished_raises(self):
        study = optuna.create_study()
        trial = study.ask()
        internals.tell(study, trial, [0.5], TrialState.COMPLETE)
        with pytest.raises(UpdateFinishedTrialError):
            internals.tell(study, trial, None, TrialState.FAIL)

    def test_other_mistakes_are_raised_as_they_are(self):
        study = optuna.create_study()
        with pytest.raises(ValueError, match="values"):
            internals.tell(study, study.ask(), [0.5, 0.5], TrialState.COMPLETE)

    @pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
    def test_the_last_point_of_a_grid_is_finished_without_an_error(self):
        """BruteForceSampler calls `Study.stop` there, which fails outside of `Study.optimize`."""
        study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(0))
        space = {"width": IntDistribution(1, 2)}
        for value in (0.5, 0.25):
            internals.tell(study, study.ask(space), [value], TrialState.COMPLETE)
        assert [trial.value for trial in study.get_trials()] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("distribution", "inside", "outside"),
    [
        (IntDistribution(3, 17), 3, 18),
        (FloatDistribution(0, 1), 0.5, 1.5),
        (FloatDistribution(0, 1), 1, "x"),
        (CategoricalDistribution(["kd", "hints"]), "kd", "hint"),
    ],
)
def test_contains(distribution, inside, outside):
    assert internals.contains(distribution, inside)
    assert not internals.contains(distribution, outside)
