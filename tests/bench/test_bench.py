"""The benchmark times all contestants in turns and computes their ratios."""

import json
import sys
from contextlib import contextmanager

import pytest
import torch

from fitnets import cli
from fitnets.bench import peers, runs, steps
from fitnets.composition import loading
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.models import costs
from fitnets.models.network import freeze
from fitnets.planning.plan import new_student, new_teacher
from support.runs import TINY

NETS = [word for word in TINY if word.startswith(("student.", "teacher."))]
CPU = torch.device("cpu")
QUIET = Terminal(quiet=True)


@pytest.fixture
def config():
    return loading.load(["student=thin", *NETS])


def contestant(who, step, precision, answers=None):
    return steps.Contestant(who=who, step=step, precision=precision, answers=answers, computes="")


def test_all_take_turns_and_the_first_round_is_not_counted(config, monkeypatch):
    plain, ours = contestant(steps.PLAIN, "backprop", "fp32"), contestant("fitnets", "KD", "fp32", "cached")
    hint, peer = contestant("fitnets", "hint", "fp32", "cached"), contestant("rival", "KD", "fp32", "live")
    clock, order = {plain: 1.0, ours: 2.0, hint: 3.0, peer: 8.0}, []

    def timed(one):
        def step():
            order.append(one)
            return clock[one] * (100 if len(order) <= 4 else 1)

        return step

    @contextmanager
    def contestants(*_):
        yield {one: timed(one) for one in clock}

    monkeypatch.setattr(steps, "_contestants", contestants)
    monkeypatch.setattr(steps, "_timed", lambda *_: lambda: 0.5)  # the matrix product
    monkeypatch.setattr(steps.devices, "precision", lambda *_: "fp32")
    measured = {one.contestant: one for one in steps.measure(config, batch=8, rounds=3, peers=[], progress=QUIET)}
    assert order == list(clock) * 4
    assert {one.step: measured[one].against_plain for one in (plain, ours, hint)} == {"backprop": 1, "KD": 2, "hint": 3}
    assert measured[ours].against_peers == {"rival": 4.0}
    assert measured[hint].against_peers == measured[peer].against_peers == {}
    assert measured[ours].images_per_s == 4
    multiplications = costs.costs_by_network(config)["student"]["multiplications"]
    assert measured[plain].peak_share == pytest.approx(3 * 8 * multiplications / 1.0 / (2048**3 / 0.5))
    assert measured[hint].peak_share is None


def test_contestants_are_plain_pytorch_and_live_and_cached_steps_in_each_precision(config):
    data = steps._random_images(config.dataset, 16, CPU)
    with steps._contestants(config, data, 8, ("fp32", "bf16"), []) as contestants:
        kinds = [(one.who, one.step, one.precision, one.answers) for one in contestants]
        for step in contestants.values():
            assert step() > 0
    per_precision = [(steps.PLAIN, "backprop", None), ("fitnets", "backprop", None)]
    per_precision += [("fitnets", step, answers) for answers in ("live", "cached") for step in ("KD", "hint")]
    per_precision += [("fitnets", "attention", answers) for answers in ("cached", "given")]
    assert kinds == [
        (who, step, precision, answers) for precision in ("fp32", "bf16") for who, step, answers in per_precision
    ]


def test_a_step_trains(config):
    data = steps._random_images(config.dataset, 16, CPU)
    batch = data.train.batch(data.train.rows[:8])
    student, (stage, *_) = new_student(config, freeze(new_teacher(config)))
    for step in (steps.plain_step(student, [batch]), steps.update_step(stage, [batch])):
        before = {name: value.clone() for name, value in student.state_dict().items()}
        step()
        assert any(not torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_peer_runs_in_a_process_of_its_own(config, repdistiller, capfd):
    data = steps._random_images(config.dataset, 8, CPU)
    peer = peers.find(f"repdistiller={repdistiller}")
    with peers.start_peer(peer, config, data.train.batch(data.train.rows)) as peer_steps:
        assert set(peer_steps) == {"KD", "hint"}
        assert all(step() > 0 for step in peer_steps.values() for _ in range(2))
    assert "not to be seen" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("repdistillr=/tmp", "did you mean repdistiller"),
        ("repdistiller", "give repdistiller=DIR"),
        ("repdistiller=/nowhere", "give repdistiller=DIR"),
    ],
)
def test_unknown_peers_and_missing_folders_are_errors(argument, message):
    with pytest.raises(ConfigError, match=message):
        peers.find(argument)


def test_a_folder_that_is_no_checkout_is_an_error(config, tmp_path):
    data = steps._random_images(config.dataset, 8, CPU)
    peer = peers.Peer("torchdistill", tmp_path)
    with (
        pytest.raises(ConfigError, match="no checkout of torchdistill that can be used"),
        peers.start_peer(peer, config, data.train.batch(data.train.rows)),
    ):
        pass


def test_epochs_are_timed_beside_their_steps(tiny):
    epochs = runs.epochs(tiny("schedule.hint.epochs=2", "schedule.student.epochs=3"))
    assert [(one.stage, one.epochs) for one in epochs] == [("hint", 2), ("student", 3)]
    for one in epochs:
        assert one.epoch_s > 0
        assert one.steps_s > 0
        assert one.ratio > 0


def test_stages_that_do_not_cache_teacher_outputs_are_refused(tiny):
    with pytest.raises(ConfigError, match=r"--epochs: the student stage computes the teacher's outputs at every step"):
        runs.epochs(tiny("schedule.student.max_steps=1"))


def test_the_command_writes_tables_and_json(monkeypatch, capsys, tmp_path, repdistiller):
    words = ["bench", "dataset=digits", "--students", "thin", "--batch", "8", "--rounds", "2", *NETS]
    words += ["--peer", f"repdistiller={repdistiller}", "--json", str(tmp_path / "b.json")]
    monkeypatch.setattr(sys, "argv", ["fitnets", *words, "--markdown", str(tmp_path / "b.md")])
    assert cli.main() == 0
    shown = capsys.readouterr().out
    assert "KD" in shown
    results = json.loads((tmp_path / "b.json").read_text())
    assert (results["batch"], results["rounds"], len(results["steps"])) == (8, 2, 10)
    assert all(0 < one["low"] <= one["images_per_s"] <= one["high"] for one in results["steps"])
    with_peers = [one for one in results["steps"] if one["contestant"]["step"] in ("KD", "hint")]
    assert all(one["against_peers"] for one in with_peers if one["contestant"]["answers"] == "cached")
    lines = (tmp_path / "b.md").read_text().splitlines()
    assert sum(line.startswith("| thin | ") for line in lines) == 10


def test_markdown_has_a_line_for_each_row():
    table = Table("title", ["a", "b"], [["1", "2"]])
    assert table.markdown() == "title\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_one_round_is_too_few(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fitnets", "bench", "--rounds", "1"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "need at least 2" in capsys.readouterr().err
