"""Runs an entry point: Hydra gets the overrides as typed, and a mistake of the user ends in a short message."""

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
from fitnets.system import permissions


class _Mistake(BaseException):
    """Carries the mistake of a single run past Hydra, which would add lines of its own."""


@contextmanager
def job() -> Iterator[None]:
    """Around a Hydra job. Relative paths are taken from the folder where the command was started, even with
    hydra.job.chdir=true. In a sweep a failed job is told at once (Hydra shows the first alone, at the end); a study
    tells its own."""
    hydra = HydraConfig.get()
    started_in = Path(hydra.runtime.cwd)
    try:
        here = chdir(started_in) if started_in.is_dir() else nullcontext()  # on another machine there may be none
        with here, permissions.in_words():
            yield
    except UserError as error:
        if hydra.mode != RunMode.MULTIRUN:
            raise _Mistake from error
        if hydra.sweeper.get("_target_") not in sweeper_targets.STUDY:
            print(f"job {hydra.job.num} failed: {error}", file=sys.stderr)
        raise


def as_typed(main: Callable[[], Any]) -> Callable[[], Any]:
    """Around Hydra's entry point: the overrides of the command line as `overrides.as_typed` has them."""

    @wraps(main)
    def call() -> Any:
        sys.argv = [*sys.argv[:1], *typed.command_line(sys.argv[1:])]
        return main()

    return call


GOES_ON = "the same command goes on from the last checkpoint (with rerun=true it begins anew)"


def command_line(main: Callable[[], Any], stopped: str = GOES_ON) -> int:
    """Run an entry point and give its exit code: mistakes of the user are told in short, on standard error.

    stopped: what to add after SIGINT or SIGTERM.

    HYDRA_FULL_ERROR=1 in the environment brings the tracebacks back.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them at length
    try:
        main()
    except KeyboardInterrupt as error:
        print(": ".join(filter(None, (str(error) or "stopped", stopped))), file=sys.stderr)
        return error.exit_code if isinstance(error, Stopped) else 130
    except (UserError, *MISTAKES, OSError, ValueError) as error:
        told = _in_short(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        return 1
    except _Mistake as mistake:
        print(mistake.__cause__, file=sys.stderr)
        return 1
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _in_short(error: BaseException) -> str | None:
    """What the user has to change: a mistake, a missing permission, a full disk, a file that is in the way. None: it is
    a fault of the program."""
    if isinstance(error, UserError | HydraException | OmegaConfBaseException | YAMLError):
        return short_message(error)
    if isinstance(error, OSError):
        is_full = error.errno in permissions.FULL
        return permissions.full_disk(error, Path(".")) if is_full else permissions.explained(error)
    return short_message(error) if _raised_by_hydra(error) else None


def _raised_by_hydra(error: BaseException) -> bool:
    """Hydra refuses some command lines (`student=null`, `-m --cfg job`) with a bare ValueError."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return str(frames[-1]).startswith("hydra.")
