"""Starts the processes of a run: process 0 runs the command, and the others follow it."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from fitnets import signals
from fitnets.errors import ConfigError
from fitnets.parallel import launch as launching

FOLLOWING = "fitnets.experiment.following"
"""the module that the other processes work with; it imports PyTorch"""


def in_process_0(main: Callable[[], Any]) -> Callable[[], Any]:
    """Decorate an entry point, so that of several processes process 0 alone calls it. The others do what it orders, and
    leave with an exit code of their own. They do not parse the command line."""

    @wraps(main)
    def call() -> Any:
        try:
            launch = launching.take()
        except ConfigError:
            if os.environ.get("RANK", "0") != "0":
                raise SystemExit(1) from None  # process 0 has the same error, and tells it
            raise
        if launch is None:
            return main()
        if launch.rank:
            raise SystemExit(_follow(launch))
        return _lead(main, launch)

    return call


def _lead(main: Callable[[], Any], launch: launching.Launch) -> Any:
    from fitnets.parallel.group import enter
    from fitnets.parallel.processes import Processes

    processes, is_done = Processes(launch), False
    try:
        with signals.raise_signals(), enter(processes), processes.causes_told():
            result = main()
        is_done = True
        return result
    except SystemExit as error:  # Hydra's, after --help
        is_done = not error.code
        raise
    finally:
        processes.end(is_done)


def _follow(launch: launching.Launch) -> int:
    """Follow process 0 and return the exit code. What goes wrong here is told by process 0."""
    from importlib import import_module

    from fitnets.parallel.group import enter
    from fitnets.parallel.processes import ConnectionLost, Processes

    processes = Processes(launch)
    try:
        with signals.raise_signals(), enter(processes):
            return 0 if import_module(FOLLOWING).follow(processes) else 1
    except ConnectionLost:  # another process is the cause
        return 1
    except signals.Stopped as stopped:
        processes.leave(stopped)
        return stopped.exit_code
    except Exception as error:
        processes.leave(error)
        return 1
    finally:
        processes.close()
