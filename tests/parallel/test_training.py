"""Stages that several processes train together, with Gloo on the CPU."""

import pytest
import torch

from support import group_work
from support.groups import together

PLAIN = ("method=hints", "schedule.hint.epochs=9", "schedule.hint.max_steps=50", "schedule.hint.batch_size=60")


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def largest_difference(first: dict, second: dict) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def test_50_updates_in_float64_give_the_weights_of_one_process(tmp_path):
    alone, two = (
        together(size, tmp_path / str(size), _train_double, tmp_path / "store", list(PLAIN)) for size in (1, 2)
    )
    assert largest_difference(alone[0]["weights"], two[0]["weights"]) < 1e-9
    assert equal(two[0]["weights"], two[1]["weights"])
    for one, other in zip(alone[0]["valid"], two[0]["valid"], strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def _train_double(group, folder, words):
    return group_work.train(group, folder, words, double=True)


METHODS = {  # means over the images, with clipping and max-norm; losses that compare images; several heads
    "hints": ["schedule.hint.max_grad_norm=0.01", "+schedule.hint.max_norm.conv1=0.3"],
    "kd": ["schedule.student.label_smoothing=0.1"],
    **{name: [] for name in ("similarity", "dist", "relational", "probabilistic", "attention", "variational", "dsn")},
}


def test_an_update_does_not_depend_on_the_number_of_processes(tmp_path):
    results = [
        together(size, tmp_path / str(size), group_work.one_update_each, tmp_path / "store", METHODS)
        for size in (1, 2, 3)
    ]
    ((alone,), *others) = results
    for of_ranks in others:
        for method, expected in alone.items():
            assert all(equal(of_ranks[0][method], of_rank[method]) for of_rank in of_ranks), method
            assert largest_difference(expected, of_ranks[0][method]) < 2e-5, method


def test_a_memory_bank_is_the_same_in_all_processes(tmp_path):
    words = ["method=contrastive", "schedule.student.epochs=2"]
    first, second = together(2, tmp_path / "2", group_work.train, tmp_path / "store", words)
    assert equal(first["memory"][0], second["memory"][0])
    assert equal(first["weights"], second["weights"])


@pytest.mark.parametrize(("images", "batch_size"), [(301, 7), (2, 1)])
def test_validation_counts_every_image_once_to_the_bit(tmp_path, images, batch_size):
    results = [
        together(size, tmp_path / str(size), group_work.predicted, tmp_path / "store", images, batch_size)
        for size in (1, 2, 3)
    ]
    ((logits, loss),) = results[0]
    assert len(logits) == images
    for theirs, their_loss in (result for of_ranks in results[1:] for result in of_ranks):
        assert torch.equal(theirs, logits)
        assert their_loss == loss


def test_rows_and_views_are_those_of_one_process_and_dropout_differs(tmp_path):
    (alone,), two = (
        together(size, tmp_path / str(size), group_work.rows_and_draws, tmp_path / "store") for size in (1, 2)
    )
    for (rows, images), first, second in zip(alone[0], two[0][0], two[1][0], strict=True):
        assert torch.equal(rows, torch.cat([first[0], second[0]]))
        assert torch.equal(images, torch.cat([first[1], second[1]]))
    assert two[0][1] == alone[1] != two[1][1]


@pytest.mark.parametrize("which", ["patience", "validation", "due"])
def test_a_decision_of_another_process_alone_changes_nothing(tmp_path, which):
    undisturbed = together(2, tmp_path / "plain", group_work.other_decision, tmp_path / "store0", "none")
    disturbed = together(2, tmp_path / which, group_work.other_decision, tmp_path / "store1", which)
    assert disturbed[0]["epochs"] == disturbed[1]["epochs"] == 4
    assert equal(undisturbed[0]["weights"], disturbed[0]["weights"])


def test_a_loss_that_is_not_finite_in_one_process_ends_both(tmp_path):
    for result in together(2, tmp_path / "2", group_work.other_decision, tmp_path / "store", "finite"):
        assert result.startswith("DivergedError: the hint stage diverged in epoch 0")


def test_a_signal_to_one_process_stops_both_after_the_same_update(tmp_path):
    for result in together(2, tmp_path / "2", group_work.other_decision, tmp_path / "store", "signal"):
        assert result.startswith("Stopped: stopped by SIGTERM")
    resumed = together(2, tmp_path / "again", group_work.other_decision, tmp_path / "store", "none")
    whole = together(2, tmp_path / "whole", group_work.other_decision, tmp_path / "other", "none")
    assert equal(resumed[0]["weights"], whole[0]["weights"])


def test_batch_normalisation_is_that_of_the_reported_validation(tmp_path):
    words = ["method=backprop", "student.normalization=batch", "schedule.student.epochs=2"]
    first, second = together(2, tmp_path / "2", group_work.train, tmp_path / "store", words)
    assert first["error"] == second["error"] == first["valid"][first["best_epoch"]]["valid_error"]


def test_different_weights_are_found_and_named(tmp_path):
    for result in together(2, tmp_path / "2", group_work.perturbed, tmp_path / "store"):
        assert "have different values in weights/conv1/conv.weight and " in result
