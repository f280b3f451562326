"""Weights averaged over the last epochs: what is averaged, validated, kept and resumed."""

import copy

import pytest
import torch

from fitnets.config.seeds import seed_of
from fitnets.signals import Stopped
from fitnets.training import loop
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.loop import fit
from fitnets.training.stages import Stage
from support.stages import Observer, prepared, state

WORDS = ("schedule.student.epochs=5", "schedule.student.averaged_epochs=3", "schedule.equal_epochs=false")
RESNET = ("student=resnet", "student.depth=8", "hint_layer=none")  # with the buffers of batch normalisation


class Recorder(Observer):
    """Keeps the network's weights after every epoch."""

    def __init__(self, plan):
        super().__init__()
        self.plan, self.weights = plan, []

    def on_epoch(self, epoch):
        super().on_epoch(epoch)
        self.weights.append(state(self.plan.student))


def trained(plan, **options):
    recorder = Recorder(plan)
    fit(plan.stages[-1], plan.data, seed=0, eval_batch_size=500, observer=recorder, **options)
    return recorder


def mean(states):
    return {
        key: torch.stack([one[key] for one in states]).mean(0)
        if states[0][key].is_floating_point()
        else states[-1][key]
        for key in states[0]
    }


@pytest.mark.parametrize("network", [(), RESNET], ids=["maxout", "resnet"])
def test_the_mean_of_the_last_epochs_is_kept(tiny, tmp_path, network):
    plan = prepared(tiny, tmp_path, "method=backprop", *WORDS, *network)
    recorder = trained(plan, fixed_epochs=5)
    expected = mean(recorder.weights[2:])
    for key, value in plan.student.state_dict().items():
        if not _is_statistic(key):
            torch.testing.assert_close(value, expected[key], msg=key)


def _is_statistic(key):
    return key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def test_the_mean_has_statistics_of_its_own(tiny, tmp_path):
    """They are the mean over batches that the averaged weights themselves see, not the mean of former statistics."""
    plan = prepared(tiny, tmp_path, "method=backprop", *WORDS, *RESNET)
    recorder = trained(plan, fixed_epochs=5)
    stem = plan.student.layer_output("conv1")
    statistics = {key: value.clone() for key, value in stem.norm.state_dict().items()}
    settings, train = plan.stages[-1].settings, plan.data.train
    assert int(statistics["num_batches_tracked"]) == len(train) // settings.batch_size
    with torch.no_grad():
        batches = [
            stem.conv(train.augmented(rows, 4, plan.views(plan.stages[-1])).images)
            for rows in train.shuffled(settings.batch_size, seed_of("statistics", 0, 4))
        ]
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    torch.testing.assert_close(statistics["running_mean"], means.mean(0), rtol=1e-4, atol=1e-5)
    former = mean(recorder.weights[2:])
    key = "layers.group3_block1.norm2.running_mean"
    assert not torch.allclose(plan.student.state_dict()[key], former[key], rtol=1e-2)


def test_training_goes_on_from_the_weights_and_not_from_their_mean(tiny, tmp_path):
    averaged, plain = (prepared(tiny, tmp_path, "method=backprop", *words) for words in (WORDS, (WORDS[0], WORDS[2])))
    for first, second in zip(trained(averaged).weights, trained(plain).weights, strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_mean_is_what_is_validated_and_selected(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "method=backprop", *WORDS)
    seen = []

    class Seeing(Stage):
        def validate(self, valid, batch_size, _group):
            seen.append(state(self.network))
            return {"valid_error": 1 - len(seen) / 10, "valid_loss": 1.0}  # each epoch is the best so far

    stage = plan.stages[0]
    plan.stages[0] = Seeing(name="student", network=stage.network, settings=stage.settings, terms=stage.terms)
    recorder = trained(plan)
    for number, validated in enumerate(seen):
        expected = mean(recorder.weights[2 : number + 1]) if number > 1 else recorder.weights[number]
        for key in validated:
            torch.testing.assert_close(validated[key], expected[key])
    assert all(torch.equal(value, seen[-1][key]) for key, value in plan.student.state_dict().items())


def test_heads_and_teacher_are_not_averaged(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "method=joint", *WORDS)
    head = plan.stages[0].heads["regressor"]
    teacher, last = state(plan.teacher), {}
    recorder = Recorder(plan)
    recorder.on_epoch = lambda _: last.update(copy.deepcopy(head.state_dict()))
    fit(plan.stages[0], plan.data, seed=0, eval_batch_size=500, observer=recorder, fixed_epochs=5)
    assert all(torch.equal(last[key], value) for key, value in head.state_dict().items())
    assert all(torch.equal(teacher[key], value) for key, value in plan.teacher.state_dict().items())


@pytest.mark.parametrize("moment", ["validation", "an update", "the end of an epoch"])
def test_a_stopped_stage_ends_with_the_same_bits(tiny, tmp_path, monkeypatch, moment):
    whole = prepared(tiny, tmp_path, "method=backprop", *WORDS)
    trained(whole)

    def checkpoints() -> Checkpoints:
        return Checkpoints(tmp_path / "checkpoints", 0.0, print, lambda: None)

    plan = prepared(tiny, tmp_path, "method=backprop", *WORDS)
    owner, name, real = {
        "validation": (Stage, "validate", Stage.validate),
        "an update": (loop, "_step", loop._step),
        "the end of an epoch": (loop, "_finish_epoch", loop._finish_epoch),
    }[moment]
    calls = []

    def stopped(*positional):
        calls.append(1)
        if len(calls) == (40 if moment == "an update" else 4):
            raise Stopped(15, is_torn=moment != "validation")
        return real(*positional)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopped)
        with pytest.raises(Stopped):
            trained(plan, checkpoints=checkpoints())
    resumed = prepared(tiny, tmp_path, "method=backprop", *WORDS)
    trained(resumed, checkpoints=checkpoints())
    expected = whole.student.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.student.state_dict().items())


def test_a_shorter_retraining_averages_the_same_epochs(tiny, tmp_path):
    """If the best epoch came before the averaged ones, nothing is averaged."""
    plan = prepared(tiny, tmp_path, "method=backprop", *WORDS)
    recorder = trained(plan, fixed_epochs=2)
    assert all(torch.equal(value, recorder.weights[-1][key]) for key, value in plan.student.state_dict().items())
