"""A user's own loss: a function, a class or a module in a file of the user's, without a change of this package."""

import json
from pathlib import Path

import pytest
import torch

from fitnets.composition import loading
from fitnets.planning.identity import hashes
from fitnets.reporting import runs, verdicts
from fitnets.training.state import weights_of
from support.runs import TINY
from support.stages import in_float64, prepared, state, train

LOSSES = """
import torch
import torch.nn.functional as F
from torch import nn

def cosine(student, teacher, margin=0.0):
    return (1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1)) - margin).clamp_min(0).mean()

def relations(student, teacher):
    first, second = (F.normalize(one.flatten(1)) for one in (student, teacher))
    return (first @ first.T - second @ second.T).square().mean()

class Cosine:
    def __init__(self, scale=1.0):
        self.scale = scale
    def __call__(self, student, teacher):
        return self.scale * cosine(student, teacher)

class Mapped(nn.Module):
    def __init__(self, student_shape, teacher_shape):
        super().__init__()
        self.linear = nn.Linear(student_shape[0], teacher_shape[0])
    def forward(self, student, teacher):
        return F.mse_loss(self.linear(student.flatten(2).mean(2)), teacher.flatten(2).mean(2))

class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(1))
    def forward(self, student, teacher):
        self.centre.mul_(0.9).add_(0.1 * teacher.detach().mean())
        return (student - teacher - self.centre).square().mean()

class Hidden:
    def __init__(self):
        self.factor = nn.Parameter(torch.ones(1))
    def __call__(self, student, teacher):
        return (self.factor * (student - teacher)).square().mean()

def by_image(student, teacher):
    return (student - teacher).square().mean(1)

def one_number_in_a_list(student, teacher):
    return (student - teacher).square().mean().view(1)

def a_float(student, teacher):
    return float((student - teacher).square().mean())

def detached(student, teacher):
    return (student - teacher).square().mean().detach()

def in_place(student, teacher):
    return student.sub_(teacher).square().mean()

def infinite(student, teacher):
    return (student - teacher).sum() / 0

def fails(student, teacher):
    raise ValueError("no such thing")

def three(student, teacher, labels):
    return (student - teacher).square().mean()
"""


@pytest.fixture(autouse=True)
def losses(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(LOSSES)
    (tmp_path / "broken_losses.py").write_text("import a_package_that_is_missing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_losses", "broken_losses"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    from fitnets.system import imports

    imports.source_digest.cache_clear()


def mine(target: str, **options: object) -> str:
    table = ", ".join(f"{name}: {value}" for name, value in {"target": f"my_losses.{target}", **options}.items())
    return f"+method.stages.student.terms.mine={{{table}}}"


def term(plan):
    return next(term for term in plan.stages[-1].terms if term.name == "mine")


@pytest.mark.parametrize(
    "word",
    [
        mine("cosine"),
        mine("cosine", args="{margin: 0.1}", weight=3),
        mine("Cosine", args="{scale: 2.0}"),
        mine("Mapped", compares="features"),
        mine("relations", compares="features", weight="{start: 0, end: 1, end_epoch: 2}"),
    ],
)
def test_a_users_loss_is_trained_stored_found_and_reported(command, fitnets, tmp_path, word):
    pair = ["hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=conv1"]
    words = [*TINY, "method=backprop", *pair, word]
    finished = command(*words)
    assert finished.code == 0, finished.err
    assert "my_losses." in finished.out
    assert "found, nothing was trained" in command(*words).out
    (listed,) = json.loads(fitnets("runs", tmp_path / "store", "--json").out)
    assert listed["status"] == "finished"
    row = (Path(listed["directory"]) / "metrics.jsonl").read_text().splitlines()[-1]
    assert "train_mine_loss" in json.loads(row)


def test_the_value_is_the_users_and_the_weight_multiplies_it(tiny, tmp_path):
    values = {}
    for weight in (1, 2):
        plan, batch = in_float64(tiny, tmp_path, "method=backprop", mine("cosine", weight=weight))
        loss, terms = plan.stages[0].step(batch, 0)
        assert loss.item() == pytest.approx((terms["train_label_loss"] + weight * terms["train_mine_loss"]).item())
        values[weight] = terms["train_mine_loss"].item()
    assert values[1] == values[2]


def test_a_module_is_trained_beside_the_student_and_dropped(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "method=backprop", mine("Mapped", compares="features"))
    stage = plan.stages[-1]
    (head,) = stage.heads.values()
    before = state(head)
    train(plan, stage)
    after = head.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before)
    assert not set(plan.student.state_dict()) & set(after)


def test_the_buffers_of_a_module_start_as_they_were_made_and_are_part_of_a_checkpoint(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "method=backprop", mine("Centred"))
    stage = plan.stages[-1]
    (head,) = stage.heads.values()
    assert head.module.centre.item() == 0
    train(plan, stage)
    assert head.module.centre.item() != 0
    assert any("centre" in key for key in weights_of(stage)[next(iter(stage.heads))])


def test_the_seed_draws_the_weights_of_a_module(tiny, tmp_path):
    def weights(seed: int) -> torch.Tensor:
        plan = prepared(tiny, tmp_path, "method=backprop", mine("Mapped", compares="features"), f"seed={seed}")
        return next(iter(plan.stages[-1].heads.values())).module.linear.weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_another_source_is_another_run(tiny, tmp_path, monkeypatch):
    from fitnets.system import imports

    config = tiny("method=backprop", mine("cosine"))
    before = hashes(config, "digest", "fp32")
    assert hashes(tiny("method=backprop", mine("Cosine")), "digest", "fp32").run != before.run
    (tmp_path / "my_losses.py").write_text(LOSSES + "# changed\n")
    imports.source_digest.cache_clear()
    after = hashes(config, "digest", "fp32")
    assert (after.teacher, after.run != before.run) == (before.teacher, True)


def test_a_weight_of_0_is_the_run_without_the_loss(tiny, tmp_path):
    without, zero = (
        prepared(tiny, tmp_path, "method=backprop", *words) for words in ((), (mine("infinite", weight=0),))
    )
    assert [one.name for one in zero.stages[0].terms] == ["label"]
    assert zero.stages[0].teacher is None
    for plan in (without, zero):
        train(plan, plan.stages[0])
    first, second = without.student.state_dict(), zero.student.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    config = tiny("method=backprop", mine("cosine", weight=0))
    assert hashes(config, "digest", "fp32").run != hashes(tiny("method=backprop", mine("cosine")), "digest", "fp32").run


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (mine("cosin"), "no cosin in my_losses; did you mean cosine"),
        (mine("cosine").replace("my_losses", "your_losses"), "no module your_losses in the current folder"),
        (
            mine("x").replace("my_losses.x", "broken_losses.loss"),
            "imports a_package_that_is_missing, which is not installed",
        ),
        (mine("cosine", args="{slack: 1}"), "failed (TypeError: cosine() got an unexpected keyword argument 'slack')"),
        (mine("Cosine", args="{slack: 1}"), "(it takes (scale=1.0))"),
        (mine("three"), "it is called with (student output, teacher output) (it takes (student, teacher, labels))"),
        (mine("by_image"), "returns a tensor of shape (4,): return one number, such as loss.mean()"),
        (mine("one_number_in_a_list"), "returns a tensor of shape (1,): return one number"),
        (mine("a_float"), "returns a float: return a tensor"),
        (mine("detached"), "its result does not depend on the student's output"),
        (mine("in_place"), "it changes its inputs in place"),
        (mine("infinite"), "it must be finite"),
        (mine("fails"), "it failed (ValueError: no such thing)"),
        (mine("Hidden"), "its factor has weights and would not be trained: make the class a torch.nn.Module"),
        (mine("cosine", weight=-1), "terms.mine.weight=-1.0 is out of range: at least 0"),
        (mine("cosine", weight="nan"), "out of range"),
        (mine("cosine", weihgt=1), "terms.mine.weihgt: no such key; did you mean weight"),
        (mine("cosine", weight="much"), "a weight is a number, or {start: 0"),
        (mine("cosine", compares="feature"), "compares"),
        ("+method.stages.student.terms.attenton={}", "no loss attenton; did you mean attention"),
        ("+method.stages.student.terms.kd={loss: attention}", "it has the name of the loss kd and is of another kind"),
        ("+method.stages.student.terms.mine={weight: 1}", "no loss mine"),
        ("+method.stages.warm.terms.label={}", "method.stages.warm: no such stage"),
        ("+method.stages.hint.terms.kd={}", "the loss kd reads layers above it"),
        ("+method.stages.student.terms.mine=3", "a term is a table of its options"),
        ("method.stages.student.terms.label.weight=0", "method.stages.student.terms"),
    ],
)
def test_a_mistake_is_reported_in_one_line_before_training(command, tmp_path, word, message):
    finished = command(*TINY, "method=backprop", word)
    assert finished.code == 1
    assert message in finished.err
    assert len(finished.err.splitlines()) == 1, finished.err
    assert not list((tmp_path / "store").glob("run/*/result.json"))


def test_a_stored_run_with_a_users_loss_is_compared_like_any_other(command, fitnets, tmp_path):
    for words in (["method=kd"], ["method=backprop", mine("cosine"), "method.name=mine"]):
        finished = command("-m", *TINY, *words, "seed=0,1")
        assert finished.code == 0, finished.err
    frame = runs.load(tmp_path / "store")
    assert set(frame["method"]) == {"kd", "mine"}
    assert verdicts.comparisons(frame) is not None
    written = fitnets("report", tmp_path / "store")
    assert written.code == 0, written.err


def test_a_users_yaml_file_may_hold_the_method(command, tmp_path):
    folder = tmp_path / "options" / "method"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "defaults: [kd, _self_]\nname: mine\nstages: {student: {terms: {cosine: {target: my_losses.cosine}}}}\n"
    )
    config = loading.load([*TINY, "method=mine"], str(tmp_path / "options"))
    assert set(config.method.stages["student"].terms) == {"label", "kd", "cosine"}
    finished = command("--config-dir", str(tmp_path / "options"), *TINY, "method=mine")
    assert finished.code == 0, finished.err
