"""A contact sheet: what the networks will see of a few training images, without augmentation and in several views."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fitnets.config import Scale, Standardize
from fitnets.planning.plan import Plan

_IMAGES, _VIEWS = 8, 6


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """Images in rows and columns.

    images: for each row, (columns, C, H, W) uint8
    rows, columns: their names"""

    images: list[Tensor]
    rows: list[str]
    columns: list[str]


def contact_sheet(plan: Plan) -> ContactSheet:
    """Show what the student's last stage sees of some images that lie evenly in the training split: each image as it is
    for validation, then in the first views."""
    train, views = plan.data.train, plan.views(plan.stages[-1])
    places = torch.linspace(0, len(train) - 1, min(_IMAGES, len(train))).long().to(train.rows.device)
    rows = train.rows[places]
    columns = [train.batch(rows).images, *(train.augmented(rows, view, views).images for view in range(_VIEWS))]
    images = _restored(plan, torch.stack(columns, dim=1).cpu())
    names = plan.class_names.names
    labels = [int(label) for label in train.labels[rows]]
    return ContactSheet(
        images=list(images),
        rows=[names[label] if names is not None and label < len(names) else str(label) for label in labels],
        columns=["validation", *(f"view {view}" for view in range(_VIEWS))],
    )


def _restored(plan: Plan, images: Tensor) -> Tensor:
    """Preprocessed images (rows, columns, C, H, W) as pixels from 0 to 255. If the preprocessing is not elementwise,
    each image is stretched to this range."""
    match plan.config.dataset.preprocessing:
        case Scale():
            pixels = images
        case Standardize():
            mean, deviation = (plan.data.fitted[name].cpu().view(-1, 1, 1) for name in ("mean", "deviation"))
            pixels = images * deviation + mean
        case _:
            low, high = (extreme(images, dim=(2, 3, 4), keepdim=True) for extreme in (torch.amin, torch.amax))
            pixels = (images - low) / (high - low).clamp(min=1e-6)
    return (255 * pixels).round().clamp(0, 255).to(torch.uint8)
