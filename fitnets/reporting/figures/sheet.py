"""Draws a contact sheet of images."""

from pathlib import Path

from matplotlib.figure import Figure

from fitnets.planning.sheet import ContactSheet
from fitnets.reporting.figures.style import default_style

_INCHES = 1.1
"""side of an image"""


def save(sheet: ContactSheet, path: Path) -> None:
    """Draw the images of a contact sheet in a grid, with the names of rows and columns, into an image file."""
    with default_style():
        figure = Figure(figsize=(_INCHES * (len(sheet.columns) + 1), _INCHES * (len(sheet.rows) + 0.3)))
        grid = figure.subplots(len(sheet.rows), len(sheet.columns), squeeze=False)
        for line, images, name in zip(grid, sheet.images, sheet.rows, strict=True):
            line[0].set_ylabel(name[:14], rotation=0, ha="right", va="center", fontsize=8)
            for axes, image in zip(line, images, strict=True):
                pixels = image.permute(1, 2, 0).numpy()
                axes.imshow(pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels, interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
        for axes, name in zip(grid[0], sheet.columns, strict=True):
            axes.set_title(name, fontsize=8)
        figure.tight_layout(pad=0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
