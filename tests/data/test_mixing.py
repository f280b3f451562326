"""Mixed images: partners, shares and boxes are functions of seed, view and row, and labels follow the pixels."""

import pytest
import torch

from fitnets.config import Augmentation
from fitnets.data import mixing
from fitnets.data.mixing import Mixture
from fitnets.terms.losses.label import batch_label_loss

ROWS = torch.arange(100, 300)


@pytest.mark.parametrize(
    ("shape", "centre", "share", "box", "exact"),
    [
        ((224, 224), (112, 112), 0.75, (56, 56, 168, 168), 0.75),
        ((224, 224), (0, 0), 0.75, (0, 0, 56, 56), 0.9375),
        ((8, 16), (4, 8), 0.75, (2, 4, 6, 12), 0.75),
        ((8, 16), (4, 8), 1.0, (4, 8, 4, 8), 1.0),
        ((8, 16), (4, 8), 0.0, (0, 0, 8, 16), 0.0),
    ],
)
def test_the_share_is_that_of_the_box_after_it_was_cut_off(shape, centre, share, box, exact):
    boxes = mixing.cut_boxes(torch.tensor([share]).double(), torch.tensor([centre]), shape)
    assert boxes[0].tolist() == list(box)
    assert mixing._share_beside(boxes, shape).tolist() == [exact]


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_pixels_and_shares_agree(mixup, cutmix):
    own, other = torch.full((200, 1, 9, 7), 240, dtype=torch.uint8), torch.zeros(200, 1, 9, 7, dtype=torch.uint8)
    how = mixing.recipe(ROWS, 3, Augmentation(mixup=mixup, cutmix=cutmix), (9, 7), 5)
    mean = mixing.mixed(own, other, how).double().mean((1, 2, 3)) / 240
    torch.testing.assert_close(mean, how.share, atol=0.5 / 240, rtol=0)
    assert bool(how.is_cut.any()) == (cutmix > 0)
    assert bool((~how.is_cut).any()) == (mixup > 0)
    assert 0.3 < how.share.mean() < 0.8  # boxes lose what lies beyond the edge


def test_blending_rounds_in_a_wide_type():
    half = mixing.Recipe(torch.tensor([0.5]).double(), torch.zeros(1, 4), torch.tensor([False]))
    one, other = (torch.full((1, 1, 1, 1), value, dtype=torch.uint8) for value in (200, 100))
    assert mixing.mixed(one, other, half).item() == 150


def test_an_image_mixed_with_itself_is_itself():
    images = torch.randint(256, (200, 3, 6, 6), dtype=torch.uint8)
    how = mixing.recipe(ROWS, 0, Augmentation(mixup=1.0, cutmix=1.0), (6, 6), 0)
    assert torch.equal(mixing.mixed(images, images, how), images)


def test_partners_come_from_the_pool_and_do_not_depend_on_the_batch():
    pool = torch.arange(1000, 1040)
    partners = mixing.partners(ROWS, 2, pool, 9)
    assert set(partners.tolist()) <= set(pool.tolist())
    assert len(partners.unique()) > 30
    order = torch.randperm(200)
    assert torch.equal(mixing.partners(ROWS[order], 2, pool, 9), partners[order])
    assert not torch.equal(mixing.partners(ROWS, 3, pool, 9), partners)


class TestTheLossOfMixedImages:
    class Outputs:
        labels = torch.tensor([0])
        mixture = Mixture(torch.tensor([1]), torch.tensor([0.7]))

    def test_the_target_has_both_classes_and_smoothing(self):
        """Four classes, smoothing 0.1, share 0.7: the targets are 0.655, 0.295, 0.025 and 0.025."""
        logits = torch.randn(1, 4)
        loss = batch_label_loss(logits, self.Outputs(), smoothing=0.1)
        expected = -(torch.tensor([[0.655, 0.295, 0.025, 0.025]]) * logits.log_softmax(1)).sum()
        torch.testing.assert_close(loss, expected)

    def test_without_mixing_it_is_the_plain_cross_entropy(self):
        class Plain(self.Outputs):
            mixture = None

        logits = torch.randn(1, 4)
        assert torch.equal(batch_label_loss(logits, Plain()), torch.nn.functional.cross_entropy(logits, Plain.labels))
