"""Contrastive representation distillation (Tian et al., 2020)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fitnets.config import Config
from fitnets.config.options import AT_LEAST_1, POSITIVE, Bounds, bounded
from fitnets.config.seeds import seed_of
from fitnets.data.splits import Split
from fitnets.errors import ConfigError
from fitnets.terms.geometry import pooled, unit
from fitnets.terms.loss import BatchOutputs, Loss, Site, Term, Weight, loss

_MOST_NEGATIVES = 16_384
_SMALL_BANK = 16
"""largest number of rows of a bank, relative to those compared, for which a product with all rows is faster"""
_EPSILON = 1e-7
"""what the authors' code adds to the denominators"""


class Embedding(nn.Module):
    """A linear map of pooled features to unit vectors, (N, ...) -> (N, dimensions)."""

    kind: ClassVar[str] = "head"

    def __init__(self, channels: int, dimensions: int):
        super().__init__()
        self.linear = nn.Linear(channels, dimensions)

    def forward(self, features: Tensor) -> Tensor:
        return unit(self.linear(pooled(features)).float())


class MemoryBank(nn.Module):
    """One embedding of each network for every training image, of the last time that it was seen.

    student, teacher: (images, dimensions), rows of norm 1.
    partition: the constants Z of both networks by which scores are divided, (2,) in float64; 0 until the first batch
        has set them."""

    student: Tensor
    teacher: Tensor
    partition: Tensor

    def __init__(self, images: int, dimensions: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name in ("student", "teacher"):
            self.register_buffer(name, unit(torch.randn(images, dimensions, generator=generator)))
        self.register_buffer("partition", torch.zeros(2, dtype=torch.float64))


def _similarities(embeddings: Tensor, memory: Tensor, compared: Tensor) -> Tensor:
    """Inner products of each image's embedding with some rows of a bank, (N, compared).

    A product with the whole bank is faster than copying the rows, unless the bank is much larger than what is compared.

    embeddings: (N, dimensions).
    memory: (images, dimensions).
    compared: numbers of rows, (N, compared)."""
    if len(memory) <= _SMALL_BANK * compared.shape[1]:
        return (embeddings @ memory.T.clone()).gather(1, compared)  # the bank moves before the backward pass
    return torch.bmm(memory[compared], embeddings.unsqueeze(2)).squeeze(2)


def contrast(scores: Tensor, images: int) -> Tensor:
    """Return the loss of noise-contrastive estimation, the mean over a batch.

    scores: exp(similarity / temperature) / Z, (N, 1 + negatives); the first column is that of the image itself.
    images: number of training images; negatives are drawn from them evenly."""
    noise = (scores.shape[1] - 1) / images
    positive, negatives = scores[:, 0], scores[:, 1:]
    log_positive = (positive / (positive + noise + _EPSILON)).log()
    log_negative = (noise / (negatives + noise + _EPSILON)).log().sum(dim=1)
    return -(log_positive + log_negative).mean()


@loss
class Contrastive(Loss):
    """An image's embeddings by student and teacher are to be closer to each other than to those of other images, which
    a memory bank of the whole training set keeps. Both embeddings are learnt, on pooled features of the last hidden
    layers. The usual weight is 0.8.

    The bank, its constants and the negatives that are drawn are part of every checkpoint."""

    needs_one_class: ClassVar[bool] = True
    compares_images: ClassVar[bool] = True

    weight: Weight = bounded(Bounds(0), default=0.8)
    dimensions: int = bounded(AT_LEAST_1, default=128)
    """length of an embedding"""
    negatives: int | None = bounded(AT_LEAST_1, default=None)
    """number of other images that each image is compared with, drawn with replacement; None: 16384, or all other
    training images if they are fewer"""
    temperature: float = bounded(POSITIVE, default=0.07)
    momentum: float = bounded(Bounds(0, 1), default=0.5)
    """share of an embedding in the bank that stays when its image is seen again"""

    def build(self, site: Site) -> Term:
        return ContrastiveTerm(self, site)

    def determined_by(self, config: Config) -> list[Any]:
        return [config.schedule.regressor_init]


class ContrastiveTerm(Term):
    """The term of `Contrastive`."""

    def __init__(self, option: Contrastive, site: Site):
        super().__init__(site.name, site.settings.epochs, option.weight)
        assert site.teacher is not None
        self.option, self.key = option, site.key
        self.compares_images = option.compares_images
        self.link = site.last_link()
        self.links = [self.link]
        self.student_layers, self.teacher_layers = (self.link.guided,), (self.link.hint,)
        self.seed = seed_of("memory bank", site.name, site.config.seed)
        self.embeddings: dict[str, Embedding] = {}
        for side, network, layer in (
            ("student", site.student, self.link.guided),
            ("teacher", site.teacher, self.link.hint),
        ):
            channels = pooled(torch.zeros(1, *network.layer_output(layer).out_shape)).shape[1]
            embedding = site.placed(Embedding(channels, option.dimensions), "embedding", side, site.name)
            self.embeddings[side] = self.heads[self.head_name(f"embedding_{side}")] = embedding
        self.positions = torch.empty(0, dtype=torch.long)
        self.device = next(site.student.parameters()).device

    def begin(self, split: Split) -> None:
        """Make a new bank for the images of the split. Raises ConfigError for more negatives than other images."""
        images, wanted = len(split), self.option.negatives
        if wanted is not None and wanted > images - 1:
            raise ConfigError(
                f"{self.key}.negatives={wanted} is more than the {images - 1} other training images: give at most "
                f"{images - 1}, or null"
            )
        self.negatives = min(wanted or _MOST_NEGATIVES, images - 1)
        bank = MemoryBank(images, self.option.dimensions, self.seed).to(self.device)
        self.memory = {f"bank_{self.name}": bank}
        self.bank = bank
        self.positions = torch.full((len(split.labels),), -1, device=self.device)
        self.positions[split.rows] = torch.arange(images, device=self.device)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        """Return the loss. In training it also moves the batch's rows of the bank."""
        with outputs.arithmetic():
            student = self.embeddings["student"](outputs.features[self.link.guided])
            teacher = self.embeddings["teacher"](outputs.teacher[self.link.hint])
        rows, bank = self.positions[outputs.rows], self.bank
        images = len(bank.student)
        others = torch.randint(images - 1, (len(rows), self.negatives), device=rows.device)
        others += others >= rows.unsqueeze(1)  # never the image itself
        compared = torch.cat([rows.unsqueeze(1), others], dim=1)
        losses = [
            contrast(self._scores(number, embedding, memory, compared), images)
            for number, (embedding, memory) in enumerate(((student, bank.teacher), (teacher, bank.student)))
        ]
        self._move(rows, student.detach(), teacher.detach())
        return losses[0] + losses[1]

    def _scores(self, number: int, embeddings: Tensor, memory: Tensor, compared: Tensor) -> Tensor:
        """Scores of a batch. The first batch sets the constant Z with this number."""
        similarities = _similarities(embeddings, memory, compared)
        scores = (similarities / self.option.temperature).exp()
        partition = self.bank.partition[number]
        first = scores.detach().double().mean() * len(memory)
        self.bank.partition[number] = torch.where(partition > 0, partition, first)
        return scores / self.bank.partition[number].to(scores.dtype)

    @torch.no_grad()
    def _move(self, rows: Tensor, student: Tensor, teacher: Tensor) -> None:
        """Move the batch's rows of the bank towards their new embeddings. Of equal rows the last one counts."""
        is_equal = rows.unsqueeze(0) == rows.unsqueeze(1)
        last = (is_equal * torch.arange(len(rows), device=rows.device)).amax(dim=1)  # for each row the last equal one
        for memory, embeddings in ((self.bank.student, student), (self.bank.teacher, teacher)):
            kept = self.option.momentum
            memory[rows] = unit(kept * memory[rows] + (1 - kept) * embeddings[last])

    def describe(self) -> str:
        images = f", bank of {len(self.bank.student)} images" if self.memory else ""
        return f"contrast of images ({self.link.guided} with {self.link.hint}{images})"
