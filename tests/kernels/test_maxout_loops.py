"""Compiled loops for maxout: the same values as PyTorch's operations, and PyTorch's operations where there are none."""

import copy
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fitnets.errors import ConfigError
from fitnets.experiment import pipeline
from fitnets.kernels import library
from fitnets.kernels import maxout as functions
from fitnets.models import layers
from fitnets.models.layers import Activation, Conv2d, maxout
from support.places import ROOT
from support.runs import interrupted, outcome

TYPES = [torch.float32, torch.bfloat16]
UNITS = [1, 5, 16, 24, 48, 128]  # with a constant in the source, and without

pytestmark = pytest.mark.skipif(library._compiler() is None, reason="needs a C compiler: cc, gcc or clang")


@pytest.fixture(autouse=True)
def forgotten():
    """Each test looks for the compiler anew, and leaves the loops switched on."""
    yield
    library._loaded.cache_clear()
    library._compiler.cache_clear()
    library.switch(on=True)


def linear(units: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    values = torch.randn(6, 2 * units, 7, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


def gradient_of(function, values: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values.grad = None
    output = function(values)
    output.backward(gradient)
    return output.detach(), values.grad


def test_this_machine_has_them():
    assert library.describe().startswith("compiled by ")
    assert all(functions._loops(torch.empty(0, dtype=dtype)) is not None for dtype in TYPES)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("units", UNITS)
class TestMaximum:
    def test_values_and_gradients_have_the_bits_of_pytorchs_operations(self, units, dtype):
        values = linear(units, dtype)
        gradient = torch.randn(6, units, 7, 5).to(dtype)
        assert functions.are_usable(values, 2)
        compiled = gradient_of(lambda z: maxout(z, 2), values, gradient)
        own = gradient_of(lambda z: layers._Maxout.apply(z, 2), values, gradient)
        for ours, theirs in zip(compiled, own, strict=True):
            assert torch.equal(ours, theirs)
            assert ours.is_contiguous(memory_format=torch.channels_last)

    def test_the_first_piece_wins_ties(self, units, dtype):
        values = torch.ones(2, 2 * units, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        _, gradient = gradient_of(functions.maximum, values.requires_grad_(), torch.ones(2, units, 3, 3, dtype=dtype))
        assert (gradient[:, :units] == 1).all()
        assert not gradient[:, units:].any()

    def test_a_gradient_in_another_layout_is_taken(self, units, dtype):
        values, gradient = linear(units, dtype), torch.randn(6, units, 7, 5).to(dtype)
        expected = gradient_of(functions.maximum, values, gradient.contiguous(memory_format=torch.channels_last))
        assert torch.equal(gradient_of(functions.maximum, values, gradient)[1], expected[1])


def normalised(values: torch.Tensor, norm: nn.BatchNorm2d, gradient: torch.Tensor, *, compiled: bool):
    """(output, gradients of the values, of the scale and of the shift), and the norm with its statistics."""
    norm = copy.deepcopy(norm)

    def function(z):
        return functions.normalised_maximum(z, norm) if compiled else maxout(norm(z), 2)

    output, of_values = gradient_of(function, values, gradient)
    return [output, of_values, norm.weight.grad, norm.bias.grad], norm


@pytest.mark.parametrize("units", UNITS)
class TestNormalisedMaximum:
    @pytest.fixture
    def norm(self, units):
        norm = nn.BatchNorm2d(2 * units)
        generator = torch.Generator().manual_seed(2)
        for values in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(values, generator=generator)
        return norm

    def test_fp32_agrees_with_pytorch(self, units, norm):
        values, gradient = linear(units, torch.float32), torch.randn(6, units, 7, 5)
        ours, our_norm = normalised(values, norm, gradient, compiled=True)
        library.switch(on=False)
        theirs, their_norm = normalised(values, norm, gradient, compiled=False)
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
        for key, value in their_norm.state_dict().items():
            torch.testing.assert_close(our_norm.state_dict()[key], value, rtol=1e-5, atol=1e-6)

    def test_bf16_is_rounded_once(self, units, norm):
        """Against the same in fp32, values differ by no more than the rounding of one bf16 number."""
        values, gradient = linear(units, torch.bfloat16), torch.randn(6, units, 7, 5).bfloat16()
        exact, _ = normalised(values.detach().float().requires_grad_(), norm, gradient.float(), compiled=True)
        ours, _ = normalised(values, norm, gradient, compiled=True)
        for own, other in zip(ours[:2], exact[:2], strict=True):
            torch.testing.assert_close(own.float(), other, rtol=2**-8, atol=1e-6)
        for own, other in zip(ours[2:], exact[2:], strict=True):
            torch.testing.assert_close(own, other)

    def test_a_large_mean_costs_no_precision_once_the_running_mean_is_near_it(self, units, norm):
        values = (linear(units, torch.float32).detach() + 1000).requires_grad_()
        norm.running_mean.fill_(999.0)
        (output, *_), own = normalised(values, norm, torch.ones(6, units, 7, 5), compiled=True)
        x = values.detach().double()
        expected = (x - x.mean((0, 2, 3), keepdim=True)) / x.var((0, 2, 3), unbiased=False, keepdim=True).sqrt()
        expected = expected * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        expected = torch.maximum(*expected.chunk(2, dim=1)).float()
        torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-3)
        assert int(own.num_batches_tracked) == 1

    def test_gradients_are_those_of_finite_differences(self, units, norm):
        values, gradient = linear(units, torch.float32, seed=3), torch.randn(6, units, 7, 5)
        (_, of_values, *_), _ = normalised(values, norm, gradient, compiled=True)
        direction, step = torch.randn(values.shape, generator=torch.Generator().manual_seed(4)), 1e-5

        def loss(z):
            x = (z - z.mean((0, 2, 3), keepdim=True)) / torch.sqrt(
                z.var((0, 2, 3), unbiased=False, keepdim=True) + norm.eps
            )
            x = x * norm.weight.double().view(1, -1, 1, 1) + norm.bias.double().view(1, -1, 1, 1)
            return float((torch.maximum(*x.chunk(2, dim=1)) * gradient).sum())

        with torch.no_grad():
            around = [loss(values.double() + sign * step * direction.double()) for sign in (1, -1)]
        assert float((of_values * direction).sum()) == pytest.approx(
            (around[0] - around[1]) / (2 * step), rel=1e-3, abs=0.01
        )

    @pytest.mark.parametrize("threads", [1, 2])
    def test_the_same_threads_give_the_same_bits(self, units, norm, threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            values, gradient = linear(units, torch.bfloat16), torch.randn(6, units, 7, 5).bfloat16()
            first, second = (normalised(values, norm, gradient, compiled=True)[0] for _ in range(2))
        finally:
            torch.set_num_threads(before)
        assert all(map(torch.equal, first, second))


class TestWhereTheyAreUsed:
    @pytest.fixture
    def layer(self) -> Conv2d:
        return Conv2d((3, 8, 8), 16, (3, 3), Activation("maxout", 2), pad=1, normalized=True)

    @pytest.fixture
    def calls(self, monkeypatch):
        names = []
        real = functions._call
        monkeypatch.setattr(functions, "_call", lambda name, *rest: names.append(name) or real(name, *rest))
        return names

    def images(self):
        return torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)

    def test_in_training(self, layer, calls):
        layer(self.images()).sum().backward()
        assert calls == ["moments", "normalised", "gradient_sums", "gradient"]

    def test_not_in_evaluation_where_running_statistics_normalise(self, layer, calls):
        layer.eval()
        output = layer(self.images())
        assert "moments" not in calls
        with torch.no_grad():
            torch.testing.assert_close(layer(self.images() * 0 + 1), layer(self.images() * 0 + 1))
            assert output.shape == (4, 16, 8, 8)

    def test_not_without_gradients(self, layer, calls):
        with torch.no_grad():
            layer(self.images())
        assert calls == []

    @pytest.mark.parametrize(
        ("pieces", "values"),
        [
            (3, torch.randn(2, 6, 4, 4).contiguous(memory_format=torch.channels_last)),
            (2, torch.randn(2, 6, 4, 4)),
            (2, torch.randn(2, 6, 4, 4).double().contiguous(memory_format=torch.channels_last)),
            (2, torch.randn(2, 6)),
            (2, torch.randn(0, 6, 4, 4).contiguous(memory_format=torch.channels_last)),
        ],
        ids=["three pieces", "channels first", "fp64", "dense", "no images"],
    )
    def test_not_for_other_maps(self, pieces, values, calls):
        maxout(values.requires_grad_(), pieces).sum().backward()
        assert calls == []

    def test_not_when_they_are_off(self, layer, calls):
        library.switch(on=False)
        layer(self.images()).sum().backward()
        assert calls == []
        assert library.describe() == "PyTorch's own (engine.kernels=off)"


class TestCompiler:
    @pytest.fixture(autouse=True)
    def nothing_cached(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        library._loaded.cache_clear()
        library._compiler.cache_clear()

    def fake_compiler(self, folder: Path, script: str) -> str:
        path = folder / "cc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def kept(self, tmp_path) -> list[Path]:
        return sorted((tmp_path / "cache" / "fitnets").glob("maxout-*.so"))

    def test_without_one_pytorch_trains(self, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda _: None)
        assert library.describe() == "PyTorch's own (no C compiler: cc, gcc or clang)"
        assert library.load("maxout") is None
        maxout(linear(4, torch.float32), 2).sum().backward()

    def test_one_that_fails_is_named(self, monkeypatch, tmp_path):
        compiler = self.fake_compiler(tmp_path, "exit 1")
        monkeypatch.setattr("shutil.which", lambda _: compiler)
        assert library.describe() == f"PyTorch's own ({compiler} cannot compile them)"
        maxout(linear(4, torch.float32), 2).sum().backward()
        assert self.kept(tmp_path) == []

    def test_one_that_does_not_know_a_flag_compiles_without_it(self, monkeypatch, tmp_path):
        script = f'for word; do [ "$word" = {library._WIDE} ] && exit 1; done; exec {library._compiler()} "$@"'
        compiler = self.fake_compiler(tmp_path, script)
        library._compiler.cache_clear()
        monkeypatch.setattr("shutil.which", lambda _: compiler)
        assert library.load("maxout") is not None

    def test_the_file_is_compiled_once(self, monkeypatch, tmp_path):
        assert library.load("maxout", "BF16") is not None
        assert len(self.kept(tmp_path)) == 1
        library._loaded.cache_clear()
        monkeypatch.setattr(library, "_compiled", lambda *_: pytest.fail("it was compiled again"))
        assert library.load("maxout", "BF16") is not None

    def test_another_processor_gets_another_file(self, monkeypatch, tmp_path):
        assert library.load("maxout") is not None
        library._loaded.cache_clear()
        monkeypatch.setattr(library, "_processor", lambda: "another")
        assert library.load("maxout") is not None
        assert len(self.kept(tmp_path)) == 2

    def test_a_cache_that_cannot_be_written_keeps_nothing(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert library.load("maxout") is not None

    def test_a_damaged_file_is_made_again(self, tmp_path):
        assert library.load("maxout") is not None
        (path,) = self.kept(tmp_path)
        path.unlink()  # this process still has it open
        path.write_bytes(b"no library")
        library._loaded.cache_clear()
        assert library.load("maxout") is not None
        assert path.stat().st_size > 1000


def test_a_process_has_one_team_of_threads():
    """A second OpenMP library would bring threads of its own, which wait for work on the same cores."""
    script = (
        "from fitnets.kernels import library; assert library.load('maxout') is not None\n"
        "found = {line.split()[-1] for line in open('/proc/self/maps') if 'omp' in line.rpartition('/')[2]}\n"
        "print(len(found))"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert finished.stdout.strip() == "1"


class TestRuns:
    def test_without_normalisation_a_run_has_the_same_bits(self, tiny, tmp_path):
        outcomes = []
        for setting in ("auto", "off"):
            store = tmp_path / setting
            pipeline.run(tiny(f"store={store}", f"engine.kernels={setting}", "schedule=modern"))
            outcomes.append(outcome(store))
        assert outcomes[0] == outcomes[1]

    def test_a_normalised_stage_is_not_resumed_with_other_loops(self, tmp_path, monkeypatch):
        from fitnets.composition import loading

        command = interrupted(tmp_path, monkeypatch, "student.normalization=batch")
        with pytest.raises(ConfigError, match=r"was started with .*engine\.kernels=auto.*resuming it with .*=off"):
            pipeline.run(loading.load([*command, "engine.kernels=off"]))
