"""Runs the words after `python` of a command line, in a process that was forked from a warm interpreter.

The module imports the standard library alone, because every forked process imports it.
"""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

PRELOADED = (
    *("torch", "optuna", "pandas", "yaml", "scipy.stats", "sklearn.datasets", "torch.fx.experimental.symbolic_shapes"),
    *("fitnets.sweeper.job", "fitnets.sweeper.registration", "support.warmed_up"),
)
"""Modules that the interpreter has imported before it forks, without `fitnets.cli`, which `-m` would import twice."""


def run(words: list[str], *, folder: Path, environment: dict[str, str], out: Path, err: Path, project: Path) -> None:
    """Do what `python WORDS` does in a folder. The output is appended to the files `out` and `err`.

    project: the folder from which `fitnets` was installed
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _print_into(out, err)
    installed = [path for path in sys.path if path.startswith((sys.base_prefix, sys.prefix))]
    given = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    kind, *rest = words
    first = str(Path(kind).resolve().parent) if kind.endswith(".py") else str(folder)
    sys.path[:] = [first, *given, *installed, str(project)]
    match kind:
        case "-m":
            name, *arguments = rest
            sys.argv = [name, *arguments]
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        case "-c":
            code, *arguments = rest
            sys.argv = ["-c", *arguments]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case script:
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")


def call(work: Callable[..., None], *arguments: object, log: Path) -> None:
    """Call a function, with the process's output in a file."""
    _print_into(log, log)
    work(*arguments)


def _print_into(out: Path, err: Path) -> None:
    for number, path in ((1, out), (2, err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)
