"""Weights & Biases, as a mirror of the run directory; the only module that imports wandb.

It ends no run, and holds a process up for less than half a minute in all: once W&B does not answer, every later run of
the process is offline.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from textwrap import shorten
from threading import Thread
from typing import Any, Literal, Protocol, TypeGuard
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from fitnets.config import Config, Wandb
from fitnets.config import Tracker as Settings
from fitnets.config.options import plain
from fitnets.errors import ConfigError, PrunedError
from fitnets.store import ownership
from fitnets.system import process
from fitnets.tracking import wandb_environment

ANSWER_S = 4.0
"""W&B has so many seconds to show that it is there, and again to take note of an artifact."""
INIT_S = 10.0
"""It has so many to accept a run."""
FINISH_S = 10.0
"""It has so many to take what is left at the end of a run."""
_FLUSH_S = 1.0
"""what was logged longer ago is in the file of a job that is killed"""
_ID_FILE = "wandb.json"
_ENDED = ("finished", "diverged", "pruned")
"""A run with such a status does not go on: the same command trains it anew, or finds it."""
_DIGITS = 8
"""of a random name in an id"""
_STUDENT_FILES = ("student.safetensors", "config.yaml", "result.json")

Say = Callable[[str], None]
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""(columns, rows)"""
Mode = Literal["online", "offline", "disabled"]
Policy = Literal["mutable", "immutable"]


class Tracker(Protocol):
    def log(self, step: int, row: dict[str, Any]) -> None:
        """An epoch's metrics, named `<stage>/<metric>`. step: epochs since the start of the run, over all stages."""

    def summarise(self, result: dict[str, Any]) -> None:
        """The final `result.json`, of a failed run too."""

    def keep_student(self) -> None:
        """The files of the finished student, where they are asked for."""


class Silent:
    """A tracker that keeps nothing."""

    def log(self, step: int, row: dict[str, Any]) -> None:
        pass

    def summarise(self, result: dict[str, Any]) -> None:
        pass

    def keep_student(self) -> None:
        pass


@contextmanager
def tracking(
    config: Config, directory: Path, run_name: str, say: Say, continued: str | None = None
) -> Iterator[Tracker]:
    """The configured tracker, closed as failed when the block raises (a pruned run did not fail).

    continued: the id of the W&B run that goes on; None for a new one

    Raises ConfigError where W&B has no key or refuses it."""
    if not is_on(config.tracker):
        yield Silent()
        return
    tracker = _WandbTracker(
        wandb_environment.settled(config.tracker),
        directory,
        say,
        id=_kept_id(config, directory, continued),
        name=run_name,
        job_type=config.method.name,
        config=plain(config),
    )
    tracker.summarise_nothing_else()
    try:
        yield tracker
    except BaseException as error:
        tracker.finish(exit_code=0 if isinstance(error, PrunedError) else 1)
        raise
    tracker.finish(exit_code=0)


# --- ids ---


def unfinished_id(directory: Path) -> str | None:
    """The id of the W&B run of a run directory whose training goes on; None if another attempt begins."""
    try:
        status = json.loads((directory / "result.json").read_text(encoding="utf-8"))["status"]
        identity = json.loads((directory / _ID_FILE).read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if status in _ENDED else str(identity)


def _kept_id(config: Config, directory: Path, continued: str | None) -> str:
    """An id of the run's hash, its store and the attempt, which stays in the run's directory."""
    stores = (ownership.marker(config.root) or "")[:_DIGITS]
    identity = continued or "_".join(filter(None, (directory.name, stores, uuid4().hex[:_DIGITS])))
    _keep(directory, identity)
    return identity


def _keep(directory: Path, identity: str) -> None:
    content = {"id": identity, "about": "the W&B run that is continued when this run goes on"}
    (directory / _ID_FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _renewed(directory: Path, labels: dict[str, Any]) -> dict[str, Any]:
    """With another id: W&B's service in this process still holds the first one, whose server does not answer."""
    identity = f"{labels['id']}_{uuid4().hex[:_DIGITS]}"
    if (directory / _ID_FILE).exists():
        _keep(directory, identity)
    return labels | {"id": identity}


def log_front(settings: Wandb, directory: Path, study: str, *, table: Table, axes: tuple[str, str], say: Say) -> None:
    """A run of the study's own: its front as a table, and in a plot of two of the columns, along x and y.

    Raises ConfigError where W&B has no key or refuses it."""
    settings = wandb_environment.settled(replace(settings, group=settings.group or study))
    labels = {"id": uuid4().hex, "name": study, "job_type": "study", "config": {"study": study}}
    tracker = _WandbTracker(settings, directory, say, **labels)
    tracker.log_table("front", table, axes)
    tracker.finish(exit_code=0)


def is_on(settings: Settings) -> TypeGuard[Wandb]:
    """Whether W&B is to be told. Raises ConfigError for a WANDB_MODE that there is not."""
    return isinstance(settings, Wandb) and wandb_environment.settled(settings).mode != "disabled"


class _WandbTracker:
    """Whatever W&B raises once it has begun, the run goes on. labels: further arguments of `wandb.init`."""

    def __init__(self, settings: Wandb, directory: Path, say: Say, **labels: Any):
        self.settings, self.directory, self.say = settings, directory, say
        self.name = labels["name"]
        self.run = _begun(settings, directory, say, **labels)
        self.place = Path(self.run.dir).parent

    def summarise_nothing_else(self) -> None:
        """The summary is what `summarise` is given: no values of the last epoch."""
        with self._unharmed():
            self.run.define_metric("*", summary="none")

    def log(self, step: int, row: dict[str, Any]) -> None:
        stage = row["stage"]
        named = {f"{stage}/{name}": value for name, value in row.items() if isinstance(value, int | float)}
        with self._unharmed():
            self.run.log(named, step=step, commit=True)

    def summarise(self, result: dict[str, Any]) -> None:
        with self._unharmed():
            self.run.summary.update(result)

    def keep_student(self) -> None:
        if not self.settings.artifact:
            return
        import wandb

        with self._unharmed():
            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", self.name), type="model")
            for name in _STUDENT_FILES:  # result.json may get figures on test later; the others need no copy
                policy: Policy = "mutable" if name == "result.json" else "immutable"
                artifact.add_file(str(self.directory / name), policy=policy)
            _within(ANSWER_S, lambda: self.run.log_artifact(artifact))

    def log_table(self, name: str, table: Table, axes: tuple[str, str]) -> None:
        import wandb

        columns, rows = table
        with self._unharmed():
            logged = wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
            plot = wandb.plot.scatter(logged, *axes, title=f"{self.name}: {name}")
            _within(ANSWER_S, lambda: self.run.log({name: logged, f"{name}_plot": plot}))

    def finish(self, exit_code: int) -> None:
        import wandb

        with self._unharmed():
            try:
                self.run.finish(exit_code=exit_code)
            except TimeoutError:
                raise
            except Exception:  # its service died: the next run is to start another
                with suppress(Exception, SystemExit):
                    wandb.teardown()
                raise

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            _link.lose(
                f"W&B fails ({_reason(error).rstrip('.')}): later `wandb sync --include-online {self.place}`; "
                f"the next runs are offline: `wandb sync {_offline_runs(self.directory)}`",
                self.say,
            )


class _Link:
    """Between this process and W&B."""

    def __init__(self) -> None:
        self.is_lost = False

    def lose(self, told: str, say: Say) -> None:
        """For good; it is told once."""
        if not self.is_lost:
            say(told)
        self.is_lost = True


_link = _Link()


class _Unused:
    """What this process has said about variables of the environment."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def say_once(self, settings: Wandb, say: Say) -> None:
        new = {name: why for name, why in wandb_environment.unused(settings).items() if name not in self.told}
        if new:
            say(f"not used of W&B's environment: {', '.join(f'{name} ({why})' for name, why in new.items())}")
            self.told.update(new)


_unused = _Unused()


def _begun(settings: Wandb, directory: Path, say: Say, **labels: Any) -> Any:
    """A W&B run below `directory/wandb`: offline where W&B does not answer."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # telemetry looks up hosts offline too, and waits for them
    os.environ.setdefault("WANDB_SILENT", "true")
    _unused.say_once(settings, say)
    with wandb_environment.without_unused():
        return _begun_alone(settings, directory, say, **labels)


def _begun_alone(settings: Wandb, directory: Path, say: Say, **labels: Any) -> Any:
    """`_begun` in an environment without variables that do not count."""
    _give_home(directory / "wandb")
    import wandb

    server = wandb.setup().settings
    mode: Mode = "offline" if _link.is_lost or settings.mode is None else settings.mode
    try:
        if mode != "online" or not wandb.login(prompt=False, verify=False) or _answers(server):
            return _init(settings, directory, mode, labels)
    except (wandb.errors.Error, ValueError) as error:
        if not str(error).startswith("Timed out"):
            way_out = ": run `wandb login`, or give tracker.mode=offline" if mode == "online" else ""
            raise ConfigError(f"tracker.mode={mode}: W&B cannot start ({_reason(error)}){way_out}") from error
        shutil.rmtree(directory / "wandb", ignore_errors=True)
        labels = _renewed(directory, labels)
    later = f"later `wandb sync {_offline_runs(directory)}`"
    _link.lose(f"W&B does not answer at {server.base_url}: this process goes on offline; {later}", say)
    return _init(settings, directory, "offline", labels)


_redirected: set[str] = set()
"""variables that `_give_home` has set for a run"""


def _give_home(folder: Path) -> None:
    """Let W&B keep its files in the run's folder where this user's home cannot be written or read."""
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
    except OSError:  # none is there
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
        reinit="finish_previous",
        resume="allow",
        **labels,
    )


def _answers(server: Any) -> bool:
    """Whether W&B is there, key or not: a gateway that knows no such page is not. server: W&B's settings; a proxy in
    them is not asked."""
    if server.http_proxy or server.https_proxy:
        return True
    try:
        _within(ANSWER_S, lambda: _ask(f"{server.base_url}/graphql"))
    except (OSError, HTTPException):
        return False
    return True


def _ask(url: str) -> None:
    """Raises OSError or HTTPException where W&B's API is not, or not now. It has certificates of its own to trust."""
    question = Request(url, b'{"query": "{ __typename }"}', {"Content-Type": "application/json"})
    try:
        urlopen(question, timeout=ANSWER_S).close()
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.NOT_FOUND or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
    except URLError as error:
        if not isinstance(error.reason, SSLError):
            raise


def _within(limit_s: float, work: Callable[[], Any]) -> None:
    """Do the work. Raises TimeoutError when it takes longer: it is left alone, in a thread."""

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    errors: list[Exception] = []
    thread = Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {limit_s:g} s")
    if errors:
        raise errors[0]


def _reason(error: Exception) -> str:
    """One line."""
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__


def _offline_runs(directory: Path) -> Path:
    """Those of the store, as a shell's pattern."""
    return directory.parent.parent / "*" / "*" / "wandb" / "offline-run-*"
