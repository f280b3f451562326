"""`run.py` in one process of several, with something that happens in one of them. Started by `support.groups`.

The variable HOOK says what: it is read before the processes know each other.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

from support.places import ROOT

RANK, HOOK = os.environ.get("RANK"), os.environ.get("HOOK", "")


def audited(event: str, arguments: tuple) -> None:
    """End the process if it opens a file of the store to write it."""
    if event == "open" and isinstance(arguments[0], str | Path) and ".rank" not in str(arguments[0]):
        store, (path, mode, _) = next(word for word in sys.argv if word.startswith("store="))[6:], arguments
        if str(path).startswith(store) and mode and set(mode) & set("wax+"):
            os.write(2, f"rank 1 writes {path}\n".encode())
            os._exit(9)


def in_step(number: int, work) -> None:
    """Do something in the update with this number, of all stages together."""
    from fitnets.training import loop

    real, steps = loop._step, []

    def step(state, batch):
        steps.append(True)
        if len(steps) == number:
            work()
        real(state, batch)

    loop._step = step


def fail() -> None:
    raise ValueError("made up")


if HOOK == "audit" and RANK == "1":
    sys.addaudithook(audited)
if HOOK == "fail" and RANK == "1":
    in_step(20, fail)
if HOOK == "die" and RANK == "1":
    in_step(20, lambda: os.kill(os.getpid(), signal.SIGKILL))
if HOOK == "die first" and RANK == "0":
    in_step(20, lambda: os.kill(os.getpid(), signal.SIGKILL))
if HOOK == "stop":
    in_step(20, lambda: os.kill(os.getpid(), signal.SIGTERM))
if __name__ == "__main__":
    sys.argv[0] = str(ROOT / "run.py")
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        if HOOK == "audit" and RANK == "1":
            print("imported:", *({"wandb"} & set(sys.modules)))
