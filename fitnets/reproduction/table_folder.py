"""What a table came to, in a folder of its own: `table.json` (cells, commands, hashes, choices), the runs' results
below `run/`, and the table as `fitnets.reporting.reproduced` writes it. The folder needs no store."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitnets.config import Config
from fitnets.config.options import content_hash
from fitnets.reporting import reproduced
from fitnets.reproduction import recipes, table_cells
from fitnets.reproduction.recipes import TableRow
from fitnets.reproduction.table_cells import MethodRuns, ReproductionRequest, TableCell
from fitnets.store import files, layout
from fitnets.store.layout import StoreLayout


def folder(order: ReproductionRequest, config: Config) -> Path:
    """Where an order is kept if nobody says: by all that makes it another table but the number of seeds."""
    parts = [order.recipe.name, config.dataset.name]
    if order.only is not None:
        parts.append(re.sub(r"\W+", "_", order.only.lower()))
    if list(order.schedules) != list(order.recipe.schedules):
        parts += order.schedules
    if not order.scale.is_full:
        parts.append(order.scale.label)
    unnamed = sorted(word for word in order.told_changes if table_cells.key(word) != "dataset")
    if order.config_dir is not None:
        unnamed.append(str(Path(order.config_dir).resolve()))
    if unnamed:
        parts.append(content_hash(unnamed)[:6])
    return config.root / "reproduced" / "-".join(parts)


def keep(order: ReproductionRequest, cells: Sequence[TableCell], place: Path) -> Path:
    """Write all that is there by now; gives the Markdown file."""
    for run in table_cells.distinct(cells):
        result = run.directory / layout.RESULT
        if result.exists():
            files.write(StoreLayout(place).run(run.hash) / layout.RESULT, result.read_bytes())
    files.write_json(place / "table.json", _told(order, cells))
    return reproduced.write(place)


def _told(order: ReproductionRequest, cells: Sequence[TableCell]) -> dict[str, Any]:
    recipe, configs = order.recipe, [run.config for run in table_cells.distinct(cells)]
    dataset = configs[0].dataset.name
    equal_epochs = all(config.schedule.equal_epochs for config in configs)
    by_row = {row.label: [cell for cell in cells if cell.row is row] for row in order.rows}
    return {
        "name": recipe.name,
        "title": recipe.title,
        "dataset": dataset,
        "paper_dataset": recipe.dataset,
        "measure": recipe.measure,
        "split": recipe.split,
        "figure": recipe.figure,
        "schedules": list(order.schedules),
        "scale": None if order.scale.is_full else str(order.scale),
        "epochs": {cell.schedule: cell.epochs for cell in cells},
        "changes": order.told_changes,
        "notes": recipes.notes(recipe, dataset, order.schedules, equal_epochs=equal_epochs),
        "rows": [_row(row, by_row[row.label]) for row in order.rows],
    }


def _row(row: TableRow, cells: Sequence[TableCell]) -> dict[str, Any]:
    return {
        "label": row.label,
        "paper": row.paper,
        "parameters": row.parameters,
        "multiplications": row.multiplications,
        "side": row.side,
        "cells": {cell.schedule: [_candidate(candidate) for candidate in cell.candidates] for cell in cells},
    }


def _candidate(candidate: MethodRuns) -> dict[str, Any]:
    return {
        "method": candidate.method,
        "command": candidate.command,
        "runs": {str(run.seed): run.hash for run in candidate.runs},
    }
