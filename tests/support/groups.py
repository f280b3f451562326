"""Groups of several processes that work together, as torchrun starts them: whole commands, and functions of tests."""

import os
import pickle
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from support import processes
from support.places import ROOT


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """Return what torchrun sets for a process of one host."""
    return {
        "TORCHELASTIC_RUN_ID": "tests",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }


_agents: list[Any] = []
"""the stores of all groups: like torchrun's, they outlive the processes"""


def agent() -> int:
    """Hold the store of a group, as torchrun's agent does. Returns its port."""
    import torch.distributed as dist

    _agents.append(dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False))
    return int(_agents[-1].port)


def start(size: int, store: Path, *words: str, hook: str = "") -> list[processes.Started]:
    """Start `torchrun --nproc-per-node=SIZE run.py ...`, without torchrun itself. Returns the processes by rank.

    hook: what happens in one of them, see `rank_hooks`"""
    script = str(ROOT / ("tests/support/rank_hooks.py" if hook else "run.py"))
    environment = {"HOOK": hook, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    port, started = agent(), []
    for rank in range(size):
        log = store.with_suffix(f".rank{rank}.log")
        log.touch()
        command = [script, *words, f"store={store}", "engine.threads=1"]
        started.append(processes.Started(command, store.parent, log, **variables(rank, size, port), **environment))
    return started


def run(size: int, store: Path, *words: str, hook: str = "") -> list[str]:
    """Run a command to its end in several processes. Returns what each has printed."""
    started = start(size, store, *words, hook=hook)
    codes = [process.wait(120) for process in started]
    logs = [process.log.read_text() for process in started]
    assert codes == [0] * size, logs
    return logs


def together(size: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call work(group, *arguments) in several processes. Returns their results by rank; exceptions are results too."""
    folder.mkdir(parents=True, exist_ok=True)
    port, forks = agent(), []
    for rank in range(size):
        answer = folder / f"{rank}.pickle"
        member = partial(_member, variables(rank, size, port), answer, work, *arguments)
        fork = processes._forks().Process(target=member, daemon=True)
        fork.start()
        forks.append(fork)
    for fork in forks:
        fork.join(100)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(size)]


def _member(environment: dict[str, str], answer: Path, work: Callable[..., Any], *arguments: Any) -> None:
    import torch

    from fitnets import signals
    from fitnets.parallel import launch
    from fitnets.parallel.group import ALONE, enter
    from fitnets.parallel.processes import Processes

    torch.set_num_threads(1)
    launched = launch.take(environment)
    group = ALONE if launched is None else Processes(launched)
    try:
        with signals.raise_signals(), enter(group):
            if launched is not None:
                group.open(torch.device("cpu"))
            result = work(group, *arguments)
            group.gathered(None)  # nobody leaves while another still reads
    except BaseException as error:
        result = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    answer.write_bytes(pickle.dumps(result))
