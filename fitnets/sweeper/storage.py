"""Opens a study in its storage, a journal file or a database, and reports the storage's errors in one line."""

import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from fitnets.errors import ConfigError, without_passwords
from fitnets.paths import expanded
from fitnets.sweeper import internals, journal
from fitnets.sweeper.journal import Say

Direction = Literal["maximize", "minimize"]
HEARTBEAT_S, GRACE_S = 20, 60
"""seconds between a worker's heartbeats in a database, and seconds without one after which the worker counts as dead"""
_ATTEMPTS = 5
_CONNECT_S = 10


def open_study(
    storage: str,
    name: str,
    objectives: dict[str, Direction],
    pruner: optuna.pruners.BasePruner | None = None,
    say: Say = print,
) -> optuna.Study:
    """Open the study, or create it.

    Raises ConfigError if the storage cannot be used, or if the study has other objectives.

    storage: path of a journal file, or URL of a database
    objectives: direction of each measure
    pruner: judges the trials that this process reports to
    say: shows a line about a damaged journal to the user
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    opened = _open(storage, say)
    try:
        study = optuna.create_study(
            storage=opened,
            study_name=name,
            directions=list(objectives.values()),
            load_if_exists=True,
            pruner=pruner,
        )
    except Exception as error:
        raise ConfigError(_refusal(storage, error)) from error
    directions = [direction.name.lower() for direction in study.directions]
    names = study.metric_names
    if names is None and directions == list(objectives.values()):  # a new study
        study.set_metric_names(list(objectives))
        return study
    existing = list(zip(names or ["?"] * len(directions), directions, strict=True))
    if existing != list(objectives.items()):
        raise ConfigError(
            f"hydra.sweeper.study_name={name}: this study has the objectives {_in_words(existing)}, not "
            f"{_in_words(objectives.items())}: give another study_name"
        )
    return study


def look_up(storage: str, name: str) -> optuna.Study:
    """Load a study without changing anything. Raises ConfigError if it cannot be loaded."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = file_of(storage)
    if file is not None and not file.is_file():
        raise ConfigError(f"{file}: no such file")
    try:
        return optuna.load_study(study_name=name, storage=_open(storage))
    except KeyError as error:
        raise ConfigError(f"{without_passwords(storage)}: no study {name} in it") from error


def _in_words(objectives: Iterable[tuple[str, str]]) -> str:
    return " and ".join(f"{direction.removesuffix('imize')}. {name}" for name, direction in objectives)


def sqlite_url(storage: str) -> URL | None:
    """The parsed URL of an SQLite database; None for any other storage, valid or not."""
    try:
        url = make_url(storage)
    except (SQLAlchemyError, ValueError):
        return None
    return url if url.get_backend_name() == "sqlite" else None


def file_of(storage: str) -> Path | None:
    """The file of a journal or of an SQLite database; None for a server."""
    if "://" not in storage:
        return expanded(storage)
    url = sqlite_url(storage)
    return None if url is None else Path((url.database or "").removeprefix("file:"))


def _open(storage: str, say: Say | None = None) -> BaseStorage:
    for attempt in range(_ATTEMPTS):
        try:
            return _journal(storage, say) if "://" not in storage else _database(storage)
        except ConfigError:
            raise
        except Exception as error:
            if attempt == _ATTEMPTS - 1 or not _may_pass(error):
                raise ConfigError(_refusal(storage, error)) from error
            time.sleep(0.5 + attempt)
    raise AssertionError


def _journal(storage: str, say: Say | None) -> JournalStorage:
    path = expanded(storage).resolve()  # the lock is a link: a relative one would dangle and never expire
    backend = journal.Journal(path, say)
    try:
        return JournalStorage(backend)
    except (ValueError, TypeError, KeyError) as error:
        damaged = journal.damaged_line(path)
        if damaged is None:
            raise
        raise ConfigError(
            f"{path}, line {damaged}: this line is damaged, and the file cannot be read beyond it: restore the file, "
            "or give another hydra.sweeper.study_name (runs that the store holds are not trained again)"
        ) from error


def _database(storage: str) -> RDBStorage:
    # NullPool keeps no connection open while a student trains for hours.
    engine: dict[str, Any] = {"poolclass": NullPool}
    if storage.startswith("postgresql"):
        engine["connect_args"] = {"connect_timeout": _CONNECT_S}
    return RDBStorage(storage, engine, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)


def _may_pass(error: Exception) -> bool:
    """Return whether a second attempt may succeed: two workers that create the tables at the same time collide."""
    return "already exists" in str(error) or "duplicate key" in str(error) or "locked" in str(error)


def _refusal(storage: str, error: BaseException) -> str:
    """The innermost error and its remedy, in one line without passwords."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    way_out = "give another URL, or a file's path"
    if isinstance(error, ImportError):
        way_out = "install that driver (psycopg comes with pip install -e '.[cluster]')"
    return without_passwords(
        f"hydra.sweeper.storage={storage}: {lines[0] if lines else type(error).__name__}: {way_out}"
    )


@contextmanager
def short_errors(storage: str) -> Iterator[None]:
    """Turn the errors of a lost database inside the block into a ConfigError of one line."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise ConfigError(f"{_refusal(storage, error)}, or start the same command again when it is back") from error


@contextmanager
def sign_of_life(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """While the block runs, record in the database every HEARTBEAT_S seconds that the trial's worker is alive.

    A journal file keeps no heartbeats: there the worker's lock shows that it is alive.
    """
    beat = internals.heartbeat(study, trial)
    if beat is None:
        yield
        return
    ended = Event()

    def beat_until_ended() -> None:
        while True:
            with suppress(Exception):  # the database may be unreachable for a while; finishing a trial reports it
                beat()
            if ended.wait(HEARTBEAT_S):
                return

    thread = Thread(target=beat_until_ended, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def fail_silent_trials(study: optuna.Study) -> None:
    """Finish trials without a heartbeat for GRACE_S seconds as FAIL, without a reason. Journals have no heartbeats."""
    optuna.storages.fail_stale_trials(study)
