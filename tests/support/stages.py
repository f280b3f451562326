"""Stages of training that tests run alone."""

import copy
from dataclasses import replace

import torch

from fitnets.models.network import freeze
from fitnets.planning import plan as planning
from fitnets.training.loop import fit
from support.datasets import SILENCE


class Observer:
    """A `StageObserver` that keeps the records of the epochs and counts steps."""

    def __init__(self):
        self.epochs, self.steps = [], 0

    def on_resume(self, state):
        self.epochs = list(state.epochs)

    def on_step(self):
        self.steps += 1

    def on_epoch(self, epoch):
        self.epochs.append(epoch)


def prepared(tiny, tmp_path, *overrides):
    plan = planning.prepare(tiny(f"store={tmp_path}", *overrides), SILENCE)
    freeze(plan.teacher)
    return plan


def state(module):
    return copy.deepcopy(module.state_dict())


def changed(before, after) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def train(plan, stage, seed=0):
    observer = Observer()
    outcome = fit(stage, plan.data, seed=seed, eval_batch_size=500, observer=observer)
    return outcome, observer


def in_float64(tiny, tmp_path, *overrides):
    """Return a prepared plan in double precision, and one batch."""
    plan = prepared(tiny, tmp_path, *overrides)
    heads = [head for stage in plan.stages for head in stage.heads.values()]
    for module in (plan.teacher, plan.student, *heads):
        module.double()
    batch = plan.data.train.batch(plan.data.train.rows[:50])
    return plan, replace(batch, images=batch.images.double())
