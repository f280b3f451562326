"""Weights & Biases as a mirror of the run directory. This is the only module that imports wandb.

Errors of W&B end no run. They delay a process by less than half a minute in total: after the first failure, every
later run of the process is offline.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, TypeGuard
from uuid import uuid4

from fitnets.config import Config, Wandb
from fitnets.config import Tracker as TrackerSettings
from fitnets.config.options import plain
from fitnets.errors import ConfigError, DamagedError, PrunedError, StageStoppedError
from fitnets.store import files, layout, ownership
from fitnets.system import process
from fitnets.tracking import wandb_environment, wandb_server
from fitnets.tracking.tracker import Say, Tracker

INIT_S = 10.0
"""seconds within which W&B has to accept a run"""
FINISH_S = 10.0
"""seconds within which W&B has to receive the rest of a run at its end"""
_FLUSH_S = 1.0
"""W&B's flush interval in seconds: a killed job loses at most this many seconds of metrics"""
_ENDED = ("finished", "diverged", "pruned")
"""Runs with such a status are never resumed: the same command loads them or trains them again."""
_DIGITS = 8
"""length of the random parts of an id"""
_STUDENT_FILES = (layout.STUDENT_WEIGHTS, layout.CONFIG, layout.RESULT)

Table = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""(column names, rows)"""
Mode = Literal["online", "offline", "disabled"]
Policy = Literal["mutable", "immutable"]


@contextmanager
def opened(config: Config, directory: Path, run_name: str, say: Say, continued: str | None = None) -> Iterator[Tracker]:
    """Open a W&B run for the block. If the block raises, the W&B run ends as failed, unless the training
    was pruned or stopped early.

    directory: the run directory
    run_name: name of the W&B run
    continued: id of the W&B run to resume; None for a new one

    Raises ConfigError if W&B has no key or refuses it."""
    assert isinstance(config.tracker, Wandb)
    tracker = _WandbTracker(
        wandb_environment.fill_in(config.tracker),
        directory,
        say,
        id=_run_id(config.root, directory, continued),
        name=run_name,
        job_type=config.method.name,
        config=plain(config),
    )
    tracker.summarise_results_only()
    try:
        yield tracker
    except BaseException as error:
        tracker.finish(exit_code=0 if isinstance(error, PrunedError | StageStoppedError) else 1)
        raise
    tracker.finish(exit_code=0)


# --- ids ---


def id_to_resume(directory: Path) -> str | None:
    """The id of the W&B run in a run directory if its training can be resumed; None otherwise."""
    try:
        status = files.read_json(directory / layout.RESULT)["status"]
        identity = files.read_json(directory / layout.WANDB_ID)["id"]
    except (OSError, DamagedError, KeyError):
        return None
    return None if status in _ENDED else str(identity)


def _run_id(root: Path, directory: Path, continued: str | None) -> str:
    """The id of the W&B run: the continued one, or a new one of the run's hash, its store and a random part for the
    attempt. It is written into the run directory."""
    store = (ownership.marker(root) or "")[:_DIGITS]
    identity = continued or "_".join(filter(None, (directory.name, store, uuid4().hex[:_DIGITS])))
    _write_id(directory, identity)
    return identity


def _write_id(directory: Path, identity: str) -> None:
    content = {"id": identity, "about": "the W&B run that is continued when this run goes on"}
    files.write(directory / layout.WANDB_ID, (json.dumps(content) + "\n").encode())


def _with_new_id(directory: Path, labels: dict[str, Any]) -> dict[str, Any]:
    """Replace the run's id: W&B's service in this process still waits for the server under the first id."""
    identity = f"{labels['id']}_{uuid4().hex[:_DIGITS]}"
    if (directory / layout.WANDB_ID).exists():
        _write_id(directory, identity)
    return labels | {"id": identity}


# --- W&B runs ---


def log_front(settings: Wandb, directory: Path, study: str, *, table: Table, axes: tuple[str, str], say: Say) -> None:
    """Log a study's front in a W&B run of its own: as a table and as a scatter plot.

    directory: folder of the study
    axes: the columns along x and y

    Raises ConfigError if W&B has no key or refuses it."""
    settings = wandb_environment.fill_in(replace(settings, group=settings.group or study))
    labels = {"id": uuid4().hex, "name": study, "job_type": "study", "config": {"study": study}}
    tracker = _WandbTracker(settings, directory, say, **labels)
    tracker.log_table("front", table, axes)
    tracker.finish(exit_code=0)


def is_on(settings: TrackerSettings) -> TypeGuard[Wandb]:
    """Return whether runs are logged to W&B. Raises ConfigError for an unknown WANDB_MODE."""
    return isinstance(settings, Wandb) and wandb_environment.fill_in(settings).mode != "disabled"


class _WandbTracker:
    """Logs to a W&B run. Once that run has started, errors of W&B are reported to the user and not raised.

    directory: folder whose `wandb` folder gets W&B's files
    labels: further arguments of `wandb.init`
    """

    def __init__(self, settings: Wandb, directory: Path, say: Say, **labels: Any):
        self.settings, self.directory, self.say = settings, directory, say
        self.name = labels["name"]
        self.run = _start(settings, directory, say, **labels)
        self.folder = Path(self.run.dir).parent

    def summarise_results_only(self) -> None:
        """Keep the last epoch's metrics out of the run's summary, which W&B adds by default."""
        with self._errors_reported():
            self.run.define_metric("*", summary="none")

    def log(self, step: int, row: dict[str, Any]) -> None:
        stage = row["stage"]
        named = {f"{stage}/{name}": value for name, value in row.items() if isinstance(value, int | float)}
        with self._errors_reported():
            self.run.log(named, step=step, commit=True)

    def summarise(self, result: dict[str, Any]) -> None:
        with self._errors_reported():
            self.run.summary.update(result)

    def keep_student(self) -> None:
        if not self.settings.artifact:
            return
        import wandb

        with self._errors_reported():
            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", self.name), type="model")
            for name in _STUDENT_FILES:  # result.json is copied, because test figures may be added to it later
                policy: Policy = "mutable" if name == layout.RESULT else "immutable"
                artifact.add_file(str(self.directory / name), policy=policy)
            wandb_server.within(wandb_server.ANSWER_S, lambda: self.run.log_artifact(artifact))

    def log_table(self, name: str, table: Table, axes: tuple[str, str]) -> None:
        import wandb

        columns, rows = table
        with self._errors_reported():
            logged = wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
            plot = wandb.plot.scatter(logged, *axes, title=f"{self.name}: {name}")
            wandb_server.within(wandb_server.ANSWER_S, lambda: self.run.log({name: logged, f"{name}_plot": plot}))

    def finish(self, exit_code: int) -> None:
        import wandb

        with self._errors_reported():
            try:
                self.run.finish(exit_code=exit_code)
            except TimeoutError:
                raise
            except Exception:  # W&B's service died: the next run has to start a new one
                with suppress(Exception, SystemExit):
                    wandb.teardown()
                raise

    @contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            _connection.lose(
                f"W&B failed ({_one_line(error).rstrip('.')}): later `wandb sync --include-online {self.folder}`; "
                f"the next runs are offline: `wandb sync {_offline_runs(self.directory)}`",
                self.say,
            )


class _Connection:
    """Remembers that this process has lost its connection to W&B. A lost connection is not tried again."""

    def __init__(self) -> None:
        self.is_lost = False

    def lose(self, message: str, say: Say) -> None:
        """Mark the connection as lost. The message is shown only the first time."""
        if not self.is_lost:
            say(message)
        self.is_lost = True


_connection = _Connection()


class _Unused:
    """The ignored environment variables that this process has reported."""

    def __init__(self) -> None:
        self.reported: set[str] = set()

    def say_once(self, settings: Wandb, say: Say) -> None:
        ignored = wandb_environment.unused_variables(settings)
        new = {name: reason for name, reason in ignored.items() if name not in self.reported}
        if new:
            say(f"ignored environment variables: {', '.join(f'{name} ({reason})' for name, reason in new.items())}")
            self.reported.update(new)


_unused = _Unused()


def _start(settings: Wandb, directory: Path, say: Say, **labels: Any) -> Any:
    """Start a W&B run whose files lie in `directory/wandb`. It is offline if W&B's server does not respond."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else W&B looks up telemetry hosts, even offline
    os.environ.setdefault("WANDB_SILENT", "true")
    _unused.say_once(settings, say)
    with wandb_environment.without_unused():
        return _start_in_clean_environment(settings, directory, say, **labels)


def _start_in_clean_environment(settings: Wandb, directory: Path, say: Say, **labels: Any) -> Any:
    _give_home(directory / layout.WANDB)
    import wandb

    server = wandb.setup().settings
    mode: Mode = "offline" if _connection.is_lost or settings.mode is None else settings.mode
    try:
        if mode != "online" or not wandb.login(prompt=False, verify=False) or wandb_server.responds(server):
            return _init(settings, directory, mode, labels)
    except (wandb.errors.Error, ValueError) as error:
        if not str(error).startswith("Timed out"):
            way_out = ": run `wandb login`, or give tracker.mode=offline" if mode == "online" else ""
            raise ConfigError(f"tracker.mode={mode}: W&B cannot start ({_one_line(error)}){way_out}") from error
        shutil.rmtree(directory / layout.WANDB, ignore_errors=True)
        labels = _with_new_id(directory, labels)
    later = f"later `wandb sync {_offline_runs(directory)}`"
    _connection.lose(f"W&B does not respond at {server.base_url}: this process continues offline; {later}", say)
    return _init(settings, directory, "offline", labels)


_redirected: set[str] = set()
"""environment variables that `_give_home` has set for a run"""


def _give_home(folder: Path) -> None:
    """Let W&B keep its cache, data and settings in the run's folder if this user's home folder cannot be used."""
    homes = {"WANDB_CACHE_DIR": (process.cache_home(), "cache"), "WANDB_DATA_DIR": (process.data_home(), "data")}
    for variable, (home, name) in homes.items():
        if variable not in os.environ and not process.keeps_files(os.path.join(home, "wandb")):
            _redirected.add(variable)
        if variable in _redirected:
            os.environ[variable] = str((folder / name).resolve())
    try:
        os.stat(os.path.join(os.path.expanduser("~"), ".config", "wandb", "settings"))
    except (PermissionError, NotADirectoryError):
        os.environ.setdefault("WANDB_CONFIG_DIR", str((folder / "config").resolve()))
    except OSError:  # there are no settings
        pass


def _init(settings: Wandb, directory: Path, mode: Mode, labels: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(
        project=settings.project,
        entity=settings.entity,
        group=settings.group,
        tags=settings.tags,
        mode=mode,
        dir=directory,
        settings=wandb.Settings(
            silent=True,
            console="off",
            init_timeout=INIT_S,
            finish_timeout=FINISH_S,
            finish_timeout_raises=True,
            x_transaction_log_flush_interval=_FLUSH_S,
        ),
        reinit="create_new",  # an open run of the caller stays open and current
        resume="allow",
        **labels,
    )


def _one_line(error: Exception) -> str:
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__


def _offline_runs(directory: Path) -> Path:
    """A shell pattern for all offline W&B runs of the store."""
    return directory.parent.parent / "*" / "*" / layout.WANDB / "offline-run-*"
