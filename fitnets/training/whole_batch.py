"""Losses that compare the images of a batch, where several processes have a part of the batch each."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from fitnets.data.mixing import Mixture
from fitnets.parallel.group import Group
from fitnets.terms.loss import BatchOutputs, Term


def loss(term: Term, outputs: BatchOutputs, batch_size: int, group: Group) -> Tensor:
    """The loss of a term on this process's part of a batch: a mean over these images, or, if the term compares the
    images of a batch, the loss of the whole batch.

    batch_size: number of images of the whole batch."""
    if group.size == 1 or not term.compares_images:
        return term.loss(outputs)
    whole = _joined(term, outputs, batch_size, group)
    if not term.memory:
        return term.loss(whole)
    with _same_draws(group, outputs.rows.device):
        return term.loss(whole)


def _joined(term: Term, outputs: BatchOutputs, batch_size: int, group: Group) -> BatchOutputs:
    """The outputs for the whole batch, of what the term reads."""

    def join(values: Tensor) -> Tensor:
        return group.joined(values, batch_size)

    mixture = outputs.mixture
    return replace(
        outputs,
        labels=join(outputs.labels),
        rows=join(outputs.rows),
        mixture=None if mixture is None else Mixture(join(mixture.labels), join(mixture.share)),
        logits=None if outputs.logits is None else join(outputs.logits),
        features={name: join(outputs.features[name]) for name in term.student_layers},
        teacher={name: join(outputs.teacher[name]) for name in term.teacher_layers},
    )


@contextmanager
def _same_draws(group: Group, device: torch.device) -> Iterator[None]:
    """Draw the same random numbers in all processes, because what a term remembers must not differ between them."""
    seed = group.from_leader(int(torch.randint(2**62, ())))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
