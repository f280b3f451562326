"""Epochs to an accuracy: trains a student with RepDistiller's own loop, beside runs of this project.

`python -m fitnets.bench.race CHECKOUT OUT METHOD RATE [overrides]` trains METHOD (kd or hint) at that rate, on
the data, the trained teacher, the student, the batches and the augmentation of the overrides, for as many epochs as the
student's stage has, or with `--until SHARE` until it is as accurate as that on validation. It resumes after a stop, and
appends the accuracy on validation after each epoch to OUT.

Only epochs are counted here, not seconds, so the loop gets what makes it quick: bf16 arithmetic where the overrides
choose it, and for kd the teacher's logits from this project's cache. How long an epoch takes is measured by
`fitnets bench --peer`, as RepDistiller's users run it.
"""

import argparse
import contextlib
import importlib
import io
import json
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fitnets.bench.peers import WithFeatures, importable, repdistiller_weights
from fitnets.composition import loading
from fitnets.config.seeds import seed_of
from fitnets.console.terminal import Terminal
from fitnets.data.splits import Batch
from fitnets.models.network import Network
from fitnets.planning.plan import Plan, prepare
from fitnets.store import files
from fitnets.training import metrics
from fitnets.training.stages import Stage

_DECAYS = (150 / 240, 180 / 240, 210 / 240)
"""places at which RepDistiller divides the rate by 10, as shares of its 240 epochs"""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m fitnets.bench.race", description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("method", choices=["kd", "hint"])
    parser.add_argument("rate", type=float)
    parser.add_argument(
        "--until", type=float, default=1.0, metavar="SHARE", help="accuracy on validation that is enough"
    )
    parser.add_argument("overrides", nargs="*", help="as for fitnets run; the teacher must be trained")
    arguments = parser.parse_intermixed_args(words)
    kind = {"kd": "method=kd", "hint": "method=hints"}[arguments.method]
    plan = prepare(loading.load([*arguments.overrides, kind]), Terminal(quiet=True))
    plan.load_teacher()
    race = _Race(plan, arguments.checkout, arguments.method, arguments.rate, arguments.until)
    race.run(arguments.out, Path(f"{arguments.out}.{arguments.method}-{arguments.rate:g}-{plan.config.seed}.pt"))


class _Given(nn.Module):
    """A teacher whose outputs for the next batch are given beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: tuple[list[Tensor], Tensor] = ([], torch.empty(0))

    def forward(self, *_images: Tensor, is_feat: bool, preact: bool) -> tuple[list[Tensor], Tensor]:
        return self.outputs


@dataclass(slots=True)
class _Race:
    """A training by RepDistiller's loop. until: accuracy on validation, a fraction, at which it ends early."""

    plan: Plan
    checkout: Path
    method: str
    rate: float
    until: float

    def run(self, out: Path, checkpoint: Path) -> None:
        """Train to the end. A line of `out` is one epoch, with its accuracy on validation, a fraction."""
        plan, stage = self.plan, self.plan.stages[-1]
        with importable(self.checkout):
            loops, util = importlib.import_module("helper.loops"), importlib.import_module("helper.util")
            losses, models = importlib.import_module("distiller_zoo"), importlib.import_module("models.util")
        options = self._options(plan.student, stage)
        given, student = _Given(), WithFeatures(plan.student)
        torch.manual_seed(seed_of("race", plan.config.seed))
        modules = nn.ModuleList([student, *self._mapping(models), given])
        trained = [parameter for module in modules for parameter in module.parameters()]
        optimizer = torch.optim.SGD(trained, lr=self.rate, momentum=0.9, weight_decay=5e-4)
        criteria = nn.ModuleList([nn.CrossEntropyLoss(), losses.DistillKL(4.0), losses.HintLoss()])
        epoch, accuracy = self._resumed(checkpoint, modules, optimizer)
        while epoch < stage.settings.epochs and accuracy < self.until:
            util.adjust_learning_rate(epoch + 1, options, optimizer)
            with contextlib.redirect_stdout(io.StringIO()), plan.student.arithmetic():
                loader = self._batches(stage, epoch, given, options.hint_layer)
                loops.train_distill(epoch + 1, loader, modules, criteria, optimizer, options)
            logits, labels = metrics.predict(plan.student, plan.data.valid, plan.config.engine.eval_batch_size)
            accuracy = 1 - metrics.error(logits, labels)
            row = {"method": self.method, "rate": self.rate, "seed": plan.config.seed, "epoch": epoch}
            with out.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row | {"valid_accuracy": accuracy}) + "\n")
            epoch += 1
            weights = {"modules": modules.state_dict(), "optimizer": optimizer.state_dict()}
            buffer = io.BytesIO()
            torch.save({"epoch": epoch, "valid_accuracy": accuracy, **weights}, buffer)
            files.write(checkpoint, buffer.getvalue())

    def _options(self, student: Network, stage: Stage) -> types.SimpleNamespace:
        epochs, layer = stage.settings.epochs, 0
        if self.method == "hint":
            (link,) = self.plan.stages[0].terms[0].links
            layer = student.hint_layer_names.index(link.guided)
        facts: dict[str, Any] = {"lr_decay_epochs": [round(share * epochs) for share in _DECAYS], "lr_decay_rate": 0.1}
        facts |= {"learning_rate": self.rate, "distill": self.method, "hint_layer": layer, "print_freq": 10**9}
        return types.SimpleNamespace(**facts, **repdistiller_weights(self.method))

    def _mapping(self, models: types.ModuleType) -> list[nn.Module]:
        """RepDistiller's regressor between the two layers; nothing for kd."""
        if self.method == "kd":
            return []
        (link,) = self.plan.stages[0].terms[0].links
        teacher, student = self.plan.teacher, self.plan.student
        assert teacher is not None
        shapes = [
            (1, *network.layer_output(name).out_shape)
            for network, name in ((student, link.guided), (teacher, link.hint))
        ]
        return [models.ConvReg(*shapes)]

    def _batches(
        self, stage: Stage, epoch: int, given: _Given, hint_index: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batches of an epoch, in this project's order and augmentation."""
        plan, train = self.plan, self.plan.data.train
        views, seed = plan.views(stage), plan.config.seed
        torch.manual_seed(seed_of("race", seed, epoch))
        if self.method == "kd":
            cache_plan = plan.cache_plan(stage, plan.data)
            assert cache_plan is not None
            stage.teacher_outputs = plan.teacher_cache(Terminal(quiet=True)).outputs(cache_plan, plan.data)
        for rows in train.shuffled(stage.settings.batch_size, seed_of("race", seed, epoch)):
            batch = train.augmented(rows, views.view_of_epoch(epoch), views)
            given.outputs = self._teacher(stage, batch, hint_index)
            yield batch.images, batch.labels, batch.rows

    def _teacher(self, stage: Stage, batch: Batch, hint_index: int) -> tuple[list[Tensor], Tensor]:
        if self.method == "kd":
            assert stage.teacher_outputs is not None
            (logits,) = stage.teacher_outputs(batch, stage.teacher_layers).values()
            return [], logits
        (link,) = self.plan.stages[0].terms[0].links
        assert self.plan.teacher is not None
        with torch.no_grad():
            logits, features = self.plan.teacher(batch.images, [link.hint])
        return [features[link.hint]] * (hint_index + 1), logits

    @staticmethod
    def _resumed(checkpoint: Path, modules: nn.ModuleList, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        """Load the checkpoint, if there is one. Returns the number of epochs that are done, and the last accuracy."""
        if not checkpoint.exists():
            return 0, 0.0
        state = torch.load(checkpoint, weights_only=True)
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["epoch"]), float(state["valid_accuracy"])


if __name__ == "__main__":
    main()
