"""What a table came to, in a folder of its own: `table.json` (cells, commands, hashes, choices), the runs' results
below `run/`, and the table as `analysis.reproduced` writes it. The folder needs no store."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import reproduced
from fitnets import store
from fitnets.config import Config
from fitnets.reproduction.recipes import Row
from fitnets.reproduction.work import Candidate, Cell, Order, distinct


def folder(order: Order, config: Config) -> Path:
    """Where an order is kept if nobody says: by table and scale."""
    scale, own = order.scale, [] if order.only is None else [re.sub(r"\W+", "_", order.only.lower())]
    parts = [f"{name}{getattr(scale, name):g}" for name in ("epochs", "images") if getattr(scale, name) < 1]
    return config.root / "reproduced" / "-".join([order.recipe.name, config.dataset.name, *own, *parts])


def keep(order: Order, cells: Sequence[Cell], place: Path) -> Path:
    """Write all that is there by now; gives the Markdown file."""
    place.mkdir(parents=True, exist_ok=True)
    for run in distinct(cells):
        result = run.config.root / "run" / run.hash / "result.json"
        if result.exists():
            (place / "run" / run.hash).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(result, place / "run" / run.hash / "result.json")
    store.write_json(place / "table.json", _told(order, cells))
    return reproduced.write(place)


def _told(order: Order, cells: Sequence[Cell]) -> dict[str, Any]:
    recipe = order.recipe
    by_row = {row.label: [cell for cell in cells if cell.row is row] for row in order.rows}
    return {
        "name": recipe.name,
        "title": recipe.title,
        "dataset": cells[0].candidates[0].runs[0].config.dataset.name,
        "measure": recipe.measure,
        "split": recipe.split,
        "figure": recipe.figure,
        "schedules": list(order.schedules),
        "scale": None if order.scale.is_full else str(order.scale),
        "epochs": {cell.schedule: cell.epochs for cell in cells},
        "changes": [
            word for word in order.changes if not word.startswith(("store=", "tracker", "engine.", "dataset.path="))
        ],
        "choices": list(recipe.choices),
        "rows": [_row(row, by_row[row.label]) for row in order.rows],
    }


def _row(row: Row, cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "label": row.label,
        "paper": row.paper,
        "parameters": row.parameters,
        "side": row.side,
        "cells": {cell.schedule: [_candidate(one) for one in cell.candidates] for cell in cells},
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "method": candidate.method,
        "command": candidate.command(),
        "runs": {str(run.seed): run.hash for run in candidate.runs},
    }
