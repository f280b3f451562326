"""The contrastive loss: its bank, its negatives and its constants, and what a checkpoint keeps of them."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fitnets.errors import ConfigError
from fitnets.experiment import pipeline
from fitnets.terms.losses.contrastive import ContrastiveTerm, _similarities
from support.runs import TINY
from support.stages import prepared, train

WORDS = ("method=contrastive", "method.stages.student.terms.contrastive.dimensions=16")


def term_of(plan) -> ContrastiveTerm:
    return next(term for term in plan.stages[-1].terms if isinstance(term, ContrastiveTerm))


@pytest.fixture
def plan(tiny, tmp_path):
    return prepared(tiny, tmp_path, *(word for word in WORDS if "dimensions" not in word), "+" + WORDS[1])


def test_the_bank_has_a_row_for_every_training_image(plan):
    term = term_of(plan)
    assert term.bank.student.shape == term.bank.teacher.shape == (len(plan.data.train), 16)
    assert term.negatives == len(plan.data.train) - 1
    assert (term.bank.student.norm(dim=1) - 1).abs().max() < 1e-5
    assert not torch.equal(term.bank.student, term.bank.teacher)


def test_exactly_the_rows_that_were_seen_move(plan):
    term, stage = term_of(plan), plan.stages[-1]
    rows = plan.data.train.rows[[3, 5, 8]]
    before = copy.deepcopy(term.bank)
    stage.step(plan.data.train.batch(rows), 0)
    for side in ("student", "teacher"):
        old, new = getattr(before, side), getattr(term.bank, side)
        moved = (old != new).any(dim=1).nonzero().flatten()
        assert moved.tolist() == [3, 5, 8]
        assert (new.norm(dim=1) - 1).abs().max() < 1e-5


def test_of_a_row_that_is_twice_in_a_batch_the_last_embedding_counts(plan):
    term = term_of(plan)
    kept, embeddings = term.bank.student[4].clone(), torch.nn.functional.normalize(torch.randn(3, 16))
    term._move(torch.tensor([4, 2, 4]), embeddings, embeddings)
    expected = torch.nn.functional.normalize(0.5 * kept + 0.5 * embeddings[2], dim=0)
    assert torch.allclose(term.bank.student[4], expected, atol=1e-6)


def test_an_image_is_never_its_own_negative(plan, monkeypatch):
    term, compared = term_of(plan), []
    monkeypatch.setattr(
        term,
        "_scores",
        lambda _number, _embedding, _memory, columns: compared.append(columns) or torch.ones(columns.shape),
    )
    stage = plan.stages[-1]
    stage.step(plan.data.train.batch(plan.data.train.rows[:200]), 0)
    own, others = compared[0][:, :1], compared[0][:, 1:]
    assert own.flatten().tolist() == list(range(200))
    assert not (own == others).any()
    assert set(others.flatten().tolist()) == set(range(len(plan.data.train)))  # every other image may be one


def test_both_ways_to_compare_agree():
    embeddings, memory, compared = torch.randn(4, 8), torch.randn(50, 8), torch.randint(50, (4, 20))
    whole = _similarities(embeddings, memory, compared)
    rows = torch.stack(
        [torch.stack([memory[row] @ one for row in rows]) for one, rows in zip(embeddings, compared, strict=True)]
    )
    assert torch.allclose(whole, rows, atol=1e-5)
    assert torch.allclose(_similarities(embeddings, memory, compared[:, :2]), rows[:, :2], atol=1e-5)


def test_the_first_batch_sets_the_constants(plan):
    term, stage = term_of(plan), plan.stages[-1]
    assert term.bank.partition.tolist() == [0, 0]
    stage.step(plan.data.train.batch(plan.data.train.rows[:20]), 0)
    first = term.bank.partition.clone()
    assert (first > 0).all()
    stage.step(plan.data.train.batch(plan.data.train.rows[20:40]), 0)
    assert torch.equal(term.bank.partition, first)


@pytest.mark.parametrize(("negatives", "message"), [(437, "negatives=437 is more than the 436 other training images")])
def test_more_negatives_than_other_images_are_refused(tiny, tmp_path, negatives, message):
    key = "+method.stages.student.terms.contrastive.negatives"
    with pytest.raises(ConfigError, match=message):
        prepared(tiny, tmp_path, WORDS[0], f"{key}={negatives}")
    assert term_of(prepared(tiny, tmp_path, WORDS[0], f"{key}={negatives - 1}")).negatives == 436


def test_the_estimate_of_the_time_leaves_the_bank_as_it_is(plan):
    from fitnets.planning import estimates

    before = copy.deepcopy(term_of(plan).bank.state_dict())
    plan.teacher.requires_grad_(True)  # it is not trained yet
    estimates.stage_times(plan, estimates.QUICK_S)
    after = term_of(plan).bank.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_run_keeps_the_student_alone(tiny, tmp_path):
    result = pipeline.run(tiny(*WORDS[:1], f"store={tmp_path}"))
    stored = load_file(tmp_path / "run" / result["hashes"]["run"] / "student.safetensors")
    assert {key.split(".")[0] for key in stored} == {"layers"}


def test_a_second_training_starts_with_a_new_bank(plan):
    stage = plan.stages[-1]
    train(plan, stage)
    moved = term_of(plan).bank.student.clone()
    stage.begin(plan.data.with_validation().train)
    assert len(term_of(plan).bank.student) == len(plan.data.train) + len(plan.data.valid)
    stage.begin(replace(plan.data.train))
    assert not torch.equal(term_of(plan).bank.student, moved)


def test_the_plan_says_how_large_the_bank_is(command):
    finished = command(*TINY, WORDS[0])
    assert "bank of 437 images" in finished.out, finished.err
