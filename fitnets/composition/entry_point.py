"""Runs an entry point: passes overrides to Hydra as typed, and turns a user's mistake into a short message."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fitnets.composition import overrides as typed
from fitnets.composition import sweeper_targets
from fitnets.composition.mistakes import MISTAKES, short_message
from fitnets.errors import UserError
from fitnets.signals import Stopped
from fitnets.system import memory, permissions


class _Mistake(BaseException):
    """Carries the mistake of a single run past Hydra, which would print further lines."""


@contextmanager
def job() -> Iterator[None]:
    """Surround a Hydra job. Relative paths are taken from the folder where the command was started, even with
    hydra.job.chdir=true. In a sweep the message of a failed job is printed at once, because Hydra shows only the first
    one, at the end. A study prints its own messages."""
    hydra = HydraConfig.get()
    started_in = Path(hydra.runtime.cwd)
    try:
        here = chdir(started_in) if started_in.is_dir() else nullcontext()  # may be missing on another machine
        with here, permissions.in_words():
            yield
    except UserError as error:
        if hydra.mode != RunMode.MULTIRUN:
            raise _Mistake from error
        if hydra.sweeper.get("_target_") not in sweeper_targets.STUDY:
            print(f"job {hydra.job.num} failed: {error}", file=sys.stderr)
        raise


def as_typed(main: Callable[[], Any]) -> Callable[[], Any]:
    """Decorate Hydra's entry point, so that it gets the command line as `overrides.command_line` returns it."""

    @wraps(main)
    def call() -> Any:
        sys.argv = [*sys.argv[:1], *typed.command_line(sys.argv[1:])]
        return main()

    return call


RESUMES = "the same command resumes from the last checkpoint (with rerun=true it restarts)"


def command_line(main: Callable[[], Any], stopped: str = RESUMES) -> int:
    """Run an entry point and return its exit code. Mistakes of the user become short messages on standard error.

    stopped: text to add after SIGINT or SIGTERM

    With HYDRA_FULL_ERROR=1 in the environment, errors keep their tracebacks.
    """
    memory.keep_freed()
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them at length
    try:
        main()
    except KeyboardInterrupt as error:
        print(": ".join(filter(None, (str(error) or "stopped", stopped))), file=sys.stderr)
        return error.exit_code if isinstance(error, Stopped) else 130
    except (UserError, *MISTAKES, OSError, ValueError) as error:
        message = _users_mistake(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        return 1
    except _Mistake as mistake:
        print(mistake.__cause__, file=sys.stderr)
        return 1
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _users_mistake(error: BaseException) -> str | None:
    """The message for an error that the user can remedy: a mistake, a missing permission, a full disk, a file in the
    way. None for a fault of the program."""
    if isinstance(error, UserError | HydraException | OmegaConfBaseException | YAMLError):
        return short_message(error)
    if isinstance(error, OSError):
        is_full = error.errno in permissions.FULL
        return permissions.full_disk(error, Path(".")) if is_full else permissions.explain(error)
    return short_message(error) if _raised_by_hydra(error) else None


def _raised_by_hydra(error: BaseException) -> bool:
    """Hydra refuses some command lines (`student=null`, `-m --cfg job`) with a bare ValueError."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return str(frames[-1]).startswith("hydra.")
