"""Logits for many classes: their sizes, and what is lost of them."""

import pytest
import torch

from fitnets.composition import loading
from fitnets.models.layers import LOGITS
from fitnets.planning import identity
from fitnets.store.files import read_metrics
from fitnets.training.logit_codes import LogitCode
from fitnets.training.teacher_outputs import LiveTeacher
from support.datasets import SILENCE
from support.runs import TINY
from support.stages import prepared

LOGITS_OF_MANY = 3 * torch.randn(50, 1000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kept", "gigabytes"), [("exact", 4.0), ("half", 2.0), (20, 0.082), (100, 0.402), (5000, 3.998)]
)
def test_sizes_of_a_million_images_with_a_thousand_classes(kept, gigabytes):
    assert LogitCode(kept).bytes_per_image(1000) * 1e6 / 1e9 == pytest.approx(gigabytes)
    stored = LogitCode(kept).encode(LOGITS_OF_MANY)
    assert stored[0].numel() * stored.element_size() == LogitCode(kept).bytes_per_image(1000)


def test_exact_logits_are_the_same_bits():
    code = LogitCode()
    assert torch.equal(code.decode(code.encode(LOGITS_OF_MANY), 1000), LOGITS_OF_MANY)


def test_half_precision_rounds():
    code = LogitCode("half")
    decoded = code.decode(code.encode(LOGITS_OF_MANY), 1000)
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, LOGITS_OF_MANY, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 5, 100, 999, 2000])
def test_the_largest_are_kept_and_the_rest_has_the_right_sum(count):
    code = LogitCode(count)
    decoded = code.decode(code.encode(LOGITS_OF_MANY), 1000)
    kept = min(count, 999)
    values, classes = LOGITS_OF_MANY.topk(kept, dim=1)
    torch.testing.assert_close(decoded.gather(1, classes), values, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(decoded.logsumexp(1), LOGITS_OF_MANY.logsumexp(1), rtol=1e-3, atol=2e-3)
    others = decoded.scatter(1, classes, torch.nan)
    for row in others:
        assert len(row[~row.isnan()].unique()) == 1


def test_classes_beyond_16_bits_with_a_sign_keep_their_numbers():
    logits = torch.zeros(1, 60_000)
    logits[0, [5, 40_000, 59_999]] = torch.tensor([9.0, 8.0, 7.0])
    decoded = LogitCode(3).decode(LogitCode(3).encode(logits), 60_000)
    assert decoded[0, [5, 40_000, 59_999]].tolist() == [9, 8, 7]


class TestRuns:
    def test_tables_hold_coded_logits_of_training_images_alone(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, "engine.cached_logits=3", "schedule.student.augmentation.flip=true")
        stage = plan.stages[-1]
        cache_plan = plan.cache_plan(stage, plan.data)
        outputs = plan.teacher_cache(SILENCE).outputs(cache_plan, plan.data)
        batch = plan.data.train.augmented(plan.data.train.rows[:20], 1, plan.views(stage))
        live = LiveTeacher(plan.teacher)
        expected, code = live(batch, [LOGITS])[LOGITS], LogitCode(3)
        torch.testing.assert_close(
            outputs(batch, [LOGITS])[LOGITS], code.decode(code.encode(expected), 10), atol=1e-2, rtol=0
        )
        valid = plan.data.valid.batch(plan.data.valid.rows[:20])
        torch.testing.assert_close(outputs(valid, [LOGITS])[LOGITS], live(valid, [LOGITS])[LOGITS])

    def test_other_than_exact_logits_have_a_hash_of_their_own(self):
        hashes = {
            kept: identity.hashes(loading.load([f"engine.cached_logits={kept}"]), "data", "fp32")
            for kept in ("exact", "half", "3")
        }
        assert len({one.run for one in hashes.values()}) == 3
        assert len({one.hint for one in hashes.values()}) == 1

    def test_a_run_learns_from_the_largest_logits(self, command, tmp_path):
        losses = {}
        for kept in ("exact", 9, 2):
            assert command(*TINY, "method=kd", f"engine.cached_logits={kept}", store=tmp_path / str(kept)).code == 0
            losses[kept] = read_metrics(next((tmp_path / str(kept)).glob("run/*/metrics.jsonl")))[-1]["train_loss"]
        assert losses[9] == pytest.approx(losses["exact"], rel=1e-2)
        assert losses[2] == pytest.approx(losses["exact"], rel=0.2)
        assert losses[2] != losses[9]
