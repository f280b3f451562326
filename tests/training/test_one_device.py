"""Every part of an update stays on its device and waits for no value, so that a GPU is never left idle.

The tests run on PyTorch's `meta` device, and fail for planted faults of both kinds."""

import pytest
import torch

from fitnets import config
from fitnets.composition.loading import CONF
from fitnets.config import Augmentation
from fitnets.data.augmentation import Views
from fitnets.data.splits import Batch, Split
from fitnets.training.logit_codes import LogitCode
from fitnets.training.loop import LayerOptimizer, train_mode
from fitnets.training.state import TrainingState
from fitnets.training.teacher_cache import _LayerTables
from support.datasets import SILENCE
from support.one_device import META, OffDeviceError, OnMeta, planted, to_meta
from support.stages import prepared

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
OPTIMIZERS = [
    config.RmsProp(lr=0.01, decay=0.9, floor=1e-5),
    config.Sgd(lr=0.01, momentum=0.5, momentum_end=0.9, momentum_epochs=2, nesterov=True, weight_decay=1e-4),
    config.AdamW(lr=0.01, weight_decay=0.01),
]


def update(stage, batch) -> None:
    """Do one update, as the training loop does."""
    optimizer = LayerOptimizer(stage.layers, stage.settings, steps_per_epoch=3)
    state = TrainingState(stage, optimizer, None, {})
    train_mode(stage)
    with OnMeta():
        loss, terms = stage.step(batch, 0)
        optimizer.update(loss)
        state.finish_batch({"train_loss": loss, **terms})


def meta_batch(plan) -> Batch:
    rows = plan.data.train.rows[:20]
    images = plan.data.train.batch(rows).images
    return Batch(images.to(META), torch.zeros(20, dtype=torch.long, device=META), rows.to(META), view=0)


def synchronising(result):
    value = next(iter(result.values())) if isinstance(result, dict) else result
    return result if float(value.detach().sum()) else result


def on_the_cpu(result):
    torch.ones(3, device="cpu") + 1
    return result


@pytest.mark.parametrize("method", METHODS)
def test_the_update_of_every_method_stays_on_its_device(tiny, tmp_path, method):
    words = ("schedule.student.max_grad_norm=1", "schedule.hint.max_grad_norm=1")
    bounds = ("+schedule.student.max_norm.conv1=1", "+schedule.hint.max_norm.conv1=1")
    plan = prepared(tiny, tmp_path, f"method={method}", *words, *bounds)
    to_meta(plan)
    batch = meta_batch(plan)
    for stage in plan.stages:
        update(stage, batch)
        for term in stage.terms:
            for fault in (synchronising, on_the_cpu):
                with planted(term, "loss", fault), pytest.raises(OffDeviceError):
                    update(stage, batch)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda option: type(option).__name__)
def test_every_optimiser_stays_on_its_device(tiny, tmp_path, optimizer):
    plan = prepared(tiny, tmp_path, "method=backprop", "+schedule.student.max_norm.conv1=1")
    plan.stages[0].settings.optimizer = optimizer
    to_meta(plan)
    update(plan.stages[0], meta_batch(plan))


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(), Augmentation(flip=True), Augmentation(flip=True, alternate=True), Augmentation(flip=True, pad=2)],
)
def test_views_stay_on_their_device(augmentation):
    images, rows = torch.zeros(9, 3, 8, 8, device=META), torch.arange(4, device=META)
    with OnMeta():
        shown, _, _ = Views(augmentation, seed=1).shown(images, rows, 3, rows)
    assert shown.shape == (4, 3, 8, 8)


@pytest.mark.parametrize("kept", ["exact", "half", 3])
def test_looking_up_cached_outputs_stays_on_its_device(tiny, tmp_path, kept):
    plan = prepared(tiny, tmp_path, "method=kd")
    rows = torch.arange(9, device=META)
    split = Split(torch.zeros(9, 1, 8, 8, device=META), torch.zeros(9, dtype=torch.long, device=META), rows)
    code = LogitCode(kept)
    tables = _LayerTables(plan.teacher_cache(SILENCE), "logits", split, Views(Augmentation(flip=True), seed=0), code)
    tables.table, tables.open_view = code.encode(torch.zeros(18, 10)).to(META), 0
    with OnMeta():
        outputs = tables(Batch(split.images[:4], split.labels[:4], rows[:4], view=0))
    assert outputs.shape == (4, 10)
