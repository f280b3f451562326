"""A group of several processes, over torch.distributed: NCCL for tensors on GPUs, Gloo for everything else."""

import json
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore

from fitnets import signals
from fitnets.errors import LostProcessError, UserError
from fitnets.parallel.group import Group, LeaderFailed
from fitnets.parallel.launch import Launch
from fitnets.signals import Stopped, delay_signals

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)

TIMEOUT_S = 300.0
"""seconds after which a process that sends nothing counts as lost. They wait for each other this long inside collective
work alone: for an order of process 0 they wait without limit"""
_FIRST_LOOK_S, _LAST_LOOK_S = 0.001, 0.25
"""seconds between two looks of a waiting process for its next order: at first, and after a while"""
_MEET_S = 0.02
"""seconds between two looks for the others, before they are connected"""
_CAUSE_S = 5.0
"""seconds to wait for the cause, after another process has closed its connection"""
RESUMES = "the same command resumes from the last checkpoint"


class ConnectionLost(RuntimeError):
    """Another process has closed its connection, or sent nothing for too long."""


class Processes(Group):
    """Several processes. Every method but `order` and `led`'s work is called by all of them, in the same order.

    parent: process that started this one; if it is gone, this process ends
    handlers: in the other processes than 0, what to do at each kind of order that may come during another one"""

    def __init__(self, launch: Launch):
        self.rank, self.size = launch.rank, launch.size
        self.local_rank, self.local_size = launch.local_rank, launch.local_size
        self.parent = os.getppid()
        is_master = self.rank == 0 and not launch.has_agent
        tcp = TCPStore(launch.address, launch.port, None, is_master, timedelta(seconds=TIMEOUT_S))
        self.store = PrefixStore(f"fitnets/{launch.attempt}", tcp)
        self.handlers: dict[str, Callable[[Any], None]] = {}
        self.orders = 0
        self.stopped_by = 0
        self.broken = False
        self.agreed: BaseException | None = None
        self.store.set(f"process/{self.rank}", json.dumps([socket.gethostname(), os.getpid()]))

    def open(self, device: torch.device) -> None:
        """Connect the processes. Further calls change nothing."""
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            store = PrefixStore("group", self.store)
            self._meet()
            with self._connected():
                dist.init_process_group(
                    backend, store=store, rank=self.rank, world_size=self.size, timeout=timedelta(seconds=TIMEOUT_S)
                )

    def _meet(self) -> None:
        """Wait until all processes have come here, or one has failed before."""
        self.store.set(f"here/{self.rank}", "")
        while not self.store.check([f"here/{rank}" for rank in range(self.size)]):
            if self._cause(0) is not None:
                raise ConnectionLost("it failed before it was connected")
            time.sleep(_MEET_S)

    def end(self, is_done: bool) -> None:
        """End the work of all processes. Called by process 0. is_done: whether it was done without an error"""
        self._send("end", is_done)
        self.close()

    def close(self) -> None:
        """Disconnect this process."""
        if not self.broken and dist.is_initialized():
            dist.destroy_process_group()

    def part(self, count: int) -> tuple[int, int]:
        share, more = divmod(count, self.size)
        start = self.rank * share + min(self.rank, more)
        return start, start + share + (self.rank < more)

    # --- tensors ---

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            self._sum(flat)
            for tensor, total in zip(alike, torch.split(flat, [tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(total.view(tensor.shape))

    def joined(self, part: Tensor, count: int) -> Tensor:
        start, stop = self.part(count)
        sent_as = torch.float32 if part.dtype in (torch.bfloat16, torch.float16) else part.dtype
        whole = torch.zeros((count, *part.shape[1:]), dtype=sent_as, device=part.device)
        whole[start:stop] = part.detach()
        self._sum(whole)
        whole = whole.to(part.dtype)
        if not part.requires_grad:
            return whole
        own = part.view_as(part)
        own.register_hook(lambda gradient: gradient * (count / (stop - start)))  # type: ignore[no-untyped-call]
        return torch.cat([whole[:start], own, whole[stop:]])

    def _sum(self, tensor: Tensor) -> None:
        with self._connected():
            dist.all_reduce(tensor)

    # --- objects ---

    def dealt(self, items: Sequence[T], work: Callable[[T], R]) -> list[R]:
        mine: list[Any] = []
        for start in range(0, len(items), self.size):
            if start + self.rank < len(items):
                value = work(items[start + self.rank])
                mine.append(value.cpu() if isinstance(value, Tensor) else value)
            self.agree()
            self.raise_stopped()
        by_rank = self.gathered(mine)
        return [by_rank[index % self.size][index // self.size] for index in range(len(items))]

    def gathered(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        with self._connected():
            dist.all_gather_object(values, value)
        return values

    def collected(self, tensor: Tensor) -> list[Tensor]:
        shapes = self.gathered(tensor.shape)
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)  # Gloo does not take every type
        most = max(shape.numel() for shape in shapes) * tensor.element_size()
        padded = torch.zeros(most, dtype=torch.uint8)
        padded[: len(flat)] = flat
        received = [torch.empty_like(padded) for _ in shapes] if self.leads else None
        with self._connected():
            dist.gather(padded, received, dst=0)
        size = tensor.element_size()
        return [
            values[: shape.numel() * size].view(tensor.dtype).view(shape)
            for values, shape in zip(received or [], shapes, strict=False)
        ]

    def from_leader(self, value: T) -> T:
        values = [value]
        with self._connected():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def led(self, work: Callable[[], T]) -> T | None:
        if not self.leads:
            if not self.from_leader(True):
                raise self.agreed_error(LeaderFailed())
            return None
        try:
            result = work()
        except BaseException as error:
            self.from_leader(False)
            raise self.agreed_error(error) from None
        self.from_leader(True)
        return result

    # --- decisions ---

    def agree(self, *words: bool) -> tuple[bool, ...]:
        said = torch.tensor([signals.pending(), *map(int, words)])
        with self._connected():
            dist.all_reduce(said, dist.ReduceOp.MAX)
        self.stopped_by, *agreed = said.tolist()
        return tuple(map(bool, agreed))

    def raise_stopped(self) -> None:
        number, self.stopped_by = self.stopped_by, 0
        if number:
            raise self.agreed_error(signals.take(number))

    def agreed_error(self, error: E) -> E:
        self.agreed = error
        return error

    @contextmanager
    def together(self) -> Iterator[None]:
        with delay_signals():
            try:
                yield
            except BaseException as error:
                self.broken = self.broken or error is not self.agreed
                raise

    # --- orders ---

    def order(self, kind: str, content: Any = None) -> None:
        if self.broken:
            raise LostProcessError(f"the {self.size} processes of this run no longer work together: {RESUMES}")
        self._send(kind, content)

    def _send(self, kind: str, content: Any) -> None:
        self.store.set(f"order/{self.orders}", pickle.dumps((kind, content)))  # type: ignore[arg-type]
        self.orders += 1

    def has_agreed_on(self, error: BaseException) -> bool:
        return error is self.agreed

    def obey(self, until: str) -> None:
        while True:
            with signals.admit_signals():
                kind, content = self.next_order()
            if kind == until:
                return
            if kind not in self.handlers:  # process 0 has given up what it had begun
                self.orders -= 1
                raise self.agreed_error(LeaderFailed())
            self.handlers[kind](content)

    def next_order(self) -> tuple[str, Any]:
        """Wait for the next order of process 0, without limit, and return its kind and content. Raises ConnectionLost
        if the process that started this one is gone."""
        key, look_s = f"order/{self.orders}", _FIRST_LOOK_S
        with self._connected():
            while not self.store.check([key]):  # the store's own wait keeps signals waiting, and prints in the end
                if os.getppid() != self.parent:
                    raise ConnectionLost("the process that started this one is gone")
                time.sleep(look_s)
                look_s = min(2 * look_s, _LAST_LOOK_S)
            order: tuple[str, Any] = pickle.loads(self.store.get(key))
        self.orders += 1
        return order

    # --- lost processes ---

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.broken = True
            raise ConnectionLost(str(error)) from error

    def leave(self, error: BaseException) -> None:
        """Leave the cause for process 0, before this process ends. The first cause of all processes is kept."""
        kind = "stopped" if isinstance(error, Stopped) else "failed"
        reason = (str(error).strip().splitlines() or [""])[0]
        if not isinstance(error, UserError):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {reason} ({os.path.basename(frame.filename)}, line {frame.lineno})"
        text = f"{self.name(self.rank)}: {reason}"
        with suppress(RuntimeError):
            self.store.compare_set("cause", "", json.dumps([kind, text]))

    def name(self, rank: int) -> str:
        """The process in words, such as 'rank 1 of 2 on HOST'."""
        host, _ = json.loads(self.store.get(f"process/{rank}"))
        return f"rank {rank} of {self.size} on {host}"

    @contextmanager
    def causes_told(self) -> Iterator[None]:
        """In process 0, raise LostProcessError in place of what the loss of another process leads to here: a closed
        connection, or the SIGTERM by which torchrun ends the others."""
        try:
            yield
        except ConnectionLost as error:
            cause = self._cause(_CAUSE_S)
            if cause is None and signals.pending():  # all are stopped, and another one has left first
                raise signals.take(signals.pending()) from None
            cause = cause or f"one of the {self.size} processes is lost ({error})"
            raise LostProcessError(f"{cause}: {RESUMES}") from None
        except Stopped:
            stopped_by = self._cause(0)
            if stopped_by is not None:
                raise LostProcessError(f"{stopped_by}: {RESUMES}") from None
            raise

    def _cause(self, wait_s: float) -> str | None:
        """Which process failed and why, waiting for that so many seconds; None if none did."""
        deadline = time.monotonic() + wait_s
        while True:
            if self.store.check(["cause"]):
                kind, text = json.loads(self.store.get("cause"))
                return str(text) if kind == "failed" else None
            dead = [rank for rank in range(self.size) if self._is_dead(rank)]
            if dead:
                return f"{self.name(dead[0])} has died without a message"
            if time.monotonic() >= deadline:
                return None
            time.sleep(_MEET_S)

    def _is_dead(self, rank: int) -> bool:
        """Return whether a process of this host certainly no longer runs."""
        if not self.store.check([f"process/{rank}"]):
            return False
        host, number = json.loads(self.store.get(f"process/{rank}"))
        if host != socket.gethostname():
            return False
        try:
            with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
                return file.read().rpartition(")")[2].split()[0] in ("Z", "X")
        except OSError:
            return os.path.isdir("/proc/self")
