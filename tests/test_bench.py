"""The benchmark: who takes part, that they take turns, and what its ratios are."""

import json
import sys

import pytest
import torch
from conftest import TINY

from fitnets import bench, cli, compose, costs
from fitnets.terminal import Terminal

NETS = [word for word in TINY if word.startswith(("student.", "teacher."))]


@pytest.fixture
def config():
    return compose.load(["student=thin", *NETS])


def test_all_take_turns_and_the_first_round_is_not_counted(config, monkeypatch):
    order = []
    clock = {"plain": 1.0, "backprop": 2.0, "KD": 4.0, "hint": 3.0, "peak": 0.5}

    def timed(step, device, *, repeats, warm_up):
        step()
        name = next(iter(names)) if (names := [key for key, made in steps.items() if made is step]) else "peak"
        order.append(name)
        return [clock[name.split()[0]] * (100 if len(order) <= 5 else 1)]

    found_steps = bench._steps(config, 8, torch.device("cpu"))
    steps = dict(found_steps[0])
    monkeypatch.setattr(bench, "_steps", lambda *_: (dict(steps), found_steps[1]))
    monkeypatch.setattr(bench.engine, "timed", timed)
    found = {one.step: one for one in bench.measure(config, batch=8, rounds=3, watcher=Terminal(quiet=True))}
    plain = "plain PyTorch backprop"
    assert order == [plain, "backprop", "KD", "hint", "peak"] * 4
    assert {name: one.ratio for name, one in found.items()} == {plain: 1, "backprop": 2, "KD": 4, "hint": 3}
    assert found["KD"].images_per_s == 2
    multiplications = costs.sides(config)["student"]["multiplications"]
    assert found[plain].peak_share == pytest.approx(3 * 8 * multiplications / 1.0 / (2048**3 / 0.5))
    assert found["hint"].peak_share is None


def test_a_step_trains(config):
    steps, plain = bench._steps(config, 8, torch.device("cpu"))
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    steps["plain PyTorch backprop"]()
    assert any(not torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_command(monkeypatch, capsys, tmp_path):
    words = ["bench", "dataset=digits", "--students", "thin", "--batch", "8", "--rounds", "2", *NETS]
    monkeypatch.setattr(sys, "argv", ["fitnets", *words, "--json", str(tmp_path / "b.json")])
    assert cli.main() == 0
    shown = capsys.readouterr().out
    assert "KD" in shown
    told = json.loads((tmp_path / "b.json").read_text())
    assert (told["batch"], told["rounds"], len(told["measured"])) == (8, 2, 4)
    assert all(one["low"] <= one["images_per_s"] * 1.5 and one["images_per_s"] > 0 for one in told["measured"])


def test_one_round_is_too_few(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fitnets", "bench", "--rounds", "1"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "give at least 2" in capsys.readouterr().err
