"""Processes wait for late ones, end with lost ones and refuse different ones."""

import os
import time
from datetime import timedelta

import pytest
import torch

from fitnets.composition import loading
from fitnets.errors import ConfigError
from fitnets.experiment import following
from fitnets.machine import devices
from fitnets.parallel.group import Group, enter
from support.groups import together
from support.runs import TINY


def wait_for_an_order(group) -> float:
    """Wait longer than the group's timeout, and return the CPU seconds that this takes."""
    if group.leads:
        time.sleep(1.5)
        group.order("go on")
        return 0.0
    started = time.process_time()
    assert group.next_order() == ("go on", None)
    return time.process_time() - started


def test_long_work_of_process_0_costs_the_others_no_time_and_exceeds_no_timeout(tmp_path):
    _, seconds = together(2, tmp_path, with_timeout, 1.0)
    assert seconds < 0.2


def with_timeout(group, timeout_s: float) -> float:
    torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=timeout_s), None)
    return wait_for_an_order(group)


def orphaned(group) -> None:
    if not group.leads:
        group.parent = -1
        group.next_order()


def test_a_process_whose_parent_is_gone_leaves(tmp_path):
    _, result = together(2, tmp_path, orphaned)
    assert result.startswith("ConnectionLost: the process that started this one is gone")


class Two(Group):
    size = local_size = 2


def test_threads_are_a_share_of_the_cores_whatever_torchrun_sets(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    try:
        with enter(Two()):
            devices.set_up_device(loading.load([*TINY]).engine)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("visible", "expected"), [(1, 0), (2, 1), (8, 1)])
def test_one_visible_gpu_is_that_of_every_process(monkeypatch, visible, expected):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    group = Two()
    group.local_rank = 1
    assert devices._gpu(group) == chosen[0] == torch.device("cuda", expected)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    group = Two()
    group.local_size = 3
    with pytest.raises(ConfigError, match="3 processes on this host and 2 GPUs: give torchrun --nproc-per-node=2"):
        devices._gpu(group)


def different(group) -> str | None:
    facts = {"engine.precision": "bf16" if group.rank else "fp32", "torch": "2.13"}
    return following._difference(group.gathered(facts), group)


def test_what_differs_between_processes_is_named(tmp_path):
    host = os.uname().nodename
    assert together(2, tmp_path, different)[0] == (
        f"rank 1 of 2 on {host} has engine.precision=bf16, and rank 0 has fp32: all processes of a run need the same"
    )
