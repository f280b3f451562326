"""What the processes of a group do in tests: each function gets the group first, and runs in forked processes."""

import signal
from dataclasses import replace
from typing import Any

import torch

from fitnets.composition import loading
from fitnets.models.network import freeze
from fitnets.planning import plan as planning
from fitnets.training import loop, metrics, shared_state
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.loop import fit
from fitnets.training.stages import Stage
from fitnets.training.state import TrainingState
from support.datasets import SILENCE
from support.runs import TINY
from support.stages import Observer


def prepared(folder, *words: str):
    plan = planning.prepare(loading.load([*TINY, f"store={folder}", "engine.threads=1", *words]), SILENCE)
    if plan.teacher is not None:
        freeze(plan.teacher)
    return plan


def weights(plan) -> dict[str, torch.Tensor]:
    heads = {name: head for stage in plan.stages for name, head in stage.heads.items()}
    modules = {"student": plan.student, **heads}
    return {
        f"{name}/{key}": value.clone() for name, module in modules.items() for key, value in module.state_dict().items()
    }


def train(group, folder, words, *, double: bool = False, saves: bool = False, stage: int = 0) -> dict[str, Any]:
    """Train a stage. Returns weights, records of the epochs, and the outcome."""
    plan = prepared(folder, *words)
    chosen = plan.stages[stage]
    data = plan.data
    if double:
        for module in (plan.teacher, plan.student, *chosen.heads.values()):
            module.double() if module is not None else None
        images = data.train.images
        everything = images[torch.arange(len(images.pixels), device=data.train.rows.device)].double()
        data = replace(data, train=replace(data.train, images=everything), valid=replace(data.valid, images=everything))
    observer = Observer()
    checkpoints = None
    if saves:
        folder_of = folder / "checkpoints" / str(group.rank)
        checkpoints = Checkpoints(folder_of, 0.0, print, lambda: None) if group.leads else _Never()
    outcome = fit(
        chosen, data, seed=1, eval_batch_size=300, observer=observer, views=plan.views(chosen), group=group,
        checkpoints=checkpoints,
    )  # fmt: skip
    logits, labels = metrics.predict(plan.student, data.valid, 300)
    return {
        "weights": weights(plan),
        "valid": [epoch.valid for epoch in observer.epochs],
        "train": [epoch.train for epoch in observer.epochs],
        "error": metrics.error(logits, labels),
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        "memory": [module.state_dict() for module in chosen.memory.values()],
    }


class _Never:
    def is_due(self, *, epoch_end):
        return False


def one_update(group, folder, words) -> dict[str, torch.Tensor]:
    """Do one update from 130 rows. Returns the weights and the logged values."""
    plan = prepared(folder, *words)
    stage = plan.stages[0]
    stage.settings.batch_size = 130
    stage.begin(plan.data.train)
    optimizer = loop.LayerOptimizer(stage.layers, stage.settings, steps_per_epoch=3)
    state = TrainingState(stage, optimizer, None, {}, group)
    loop.train_mode(stage)
    start, stop = group.part(130)
    loop._step(state, plan.data.train.augmented(plan.data.train.rows[start:stop], 0, plan.views(stage)))
    return weights(plan) | {f"sum of {name}": torch.as_tensor(value) for name, value in state.sums.items()}


def one_update_each(group, folder, methods: dict[str, list[str]]) -> dict[str, dict[str, torch.Tensor]]:
    return {name: one_update(group, folder, [f"method={name}", *words]) for name, words in methods.items()}


def predicted(group, folder, images: int, batch_size: int) -> tuple[torch.Tensor, float]:
    plan = prepared(folder)
    valid = replace(plan.data.valid, rows=plan.data.valid.rows[:images])
    logits, labels = metrics.predict(plan.student, valid, batch_size, group)
    plan.stages[0].validate(valid, batch_size, group)
    return logits, metrics.cross_entropy(logits, labels)


def rows_and_draws(group, folder) -> tuple[list, list]:
    """The rows and views of each batch of an epoch, and a random number of each step."""
    plan = prepared(folder, "schedule.hint.augmentation={flip: true, pad: 1}")
    stage = plan.stages[0]
    optimizer = loop.LayerOptimizer(stage.layers, stage.settings, steps_per_epoch=3)
    state = TrainingState(stage, optimizer, None, {}, group)
    batches = list(loop._batches(state, plan.data, plan.views(stage), seed=3))
    return [(batch.rows, batch.images) for batch in batches], torch.rand(5).tolist()


def other_decision(group, folder, which: str) -> dict[str, Any]:
    """Train with a decision that comes out otherwise in process 1."""
    if group.rank == 1:
        if which == "patience":
            loop._why_ended = lambda *_: "patience"
        elif which == "validation":
            real = Stage.validate
            Stage.validate = lambda *words: dict.fromkeys(real(*words), float("nan"))
        elif which == "signal":
            real_step = loop._step

            def step(state, batch):
                real_step(state, batch)
                if state.epoch == 1:
                    signal.raise_signal(signal.SIGTERM)
                    signal.raise_signal(signal.SIGTERM)  # Slurm and torchrun both send it

            loop._step = step
        elif which == "finite":
            loop.math = _Doubt()
        elif which == "due":
            _Never.is_due = lambda *_, **__: True
    return train(group, folder, ["schedule.hint.epochs=4", "method=hints"], saves=True)


class _Doubt:
    inf = float("inf")

    @staticmethod
    def isfinite(_):
        return False


def perturbed(group, folder) -> None:
    """Train, with a change of one weight in process 1 alone."""
    real = shared_state.check_equal

    def check(state):
        if group.rank == 1:
            name, layer = next(iter(state.stage.layers.items()))
            with torch.no_grad():
                next(layer.parameters()).view(-1)[0] += 1
            print(name)
        real(state)

    shared_state.check_equal = check
    train(group, folder, ["method=hints"])
