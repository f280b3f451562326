"""A GPU trains as `make gpu` demands, and `make gpu` says so where there is none."""

import subprocess
import sys

import pytest
import torch

import gpu_checks
from support.places import ROOT
from support.runs import TINY, outcome

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_GPU = (*TINY, "engine.device=cuda")


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_equal_runs_have_the_same_bits(command, tmp_path, precision):
    for name in ("first", "second"):
        finished = command(*ON_GPU, f"engine.precision={precision}", store=tmp_path / name)
        assert finished.code == 0, finished.err
    assert outcome(tmp_path / "first") == outcome(tmp_path / "second")


@pytest.mark.gpu
@NEEDS_GPU
def test_cached_outputs_teach_as_the_teacher_itself(command, tmp_path):
    accuracies = []
    for name, size in (("cached", 4), ("live", 0)):
        finished = command(*ON_GPU, f"engine.hint_cache_gb={size}", store=tmp_path / name)
        assert finished.code == 0, finished.err
        accuracies.append(outcome(tmp_path / name)[1]["student"]["valid_loss"])
    assert accuracies[0] == pytest.approx(accuracies[1], rel=1e-3)


@pytest.mark.gpu
@NEEDS_GPU
def test_a_student_on_the_cpu_learns_from_a_teacher_of_the_gpu(command, tmp_path):
    assert command(*ON_GPU).code == 0
    finished = command(*TINY, "engine.device=cpu", "method=kd")
    assert finished.code == 0, finished.err
    assert "already trained" in finished.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a CUDA device")
def test_without_a_gpu_no_check_counts_as_passed():
    done = subprocess.run(
        [sys.executable, "tests/gpu_checks.py", "tests/machine"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == gpu_checks.NOT_RUN
    first, *listed = done.stdout.splitlines()
    assert first.startswith(f"0 of {len(listed)} checks ran: PyTorch {torch.__version__} finds no CUDA device")
    assert any("test_two_equal_runs_have_the_same_bits[bf16]" in line for line in listed)
    assert any("ten epochs of fitnet4" in line for line in listed)


def test_a_skip_is_no_pass(monkeypatch, tmp_path, capsys):
    outcomes = [gpu_checks.Outcome("one", "passed", 1.0), gpu_checks.Outcome("two", "skipped", 0.0, "needs two GPUs")]
    monkeypatch.setattr(gpu_checks, "missing", lambda: None)
    monkeypatch.setattr(gpu_checks, "COMMANDS", {})
    monkeypatch.setattr(gpu_checks, "tests", lambda _: ["one", "two"])
    monkeypatch.setattr(gpu_checks, "run_tests", lambda *_: outcomes)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert gpu_checks.main(["--out", str(tmp_path)]) == 1
    assert "1 of 2 checks ran on a card, 0 failed" in capsys.readouterr().out
    assert "| two | skipped | 0.0 |" in (tmp_path / "gpu.md").read_text()
