"""Writes a reproduced table into a folder of its own.

The folder has `table.json` (cells, commands, hashes, notes), the runs' results and epochs below `run/`, and the table
as `fitnets.reporting.reproduced` writes it. It can be read without the store.
"""

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


def default_folder(request: ReproductionRequest, config: Config) -> Path:
    """The default folder of a table. Its name has every setting that makes it a different table, except the number of
    seeds: more seeds extend the same table.

    config: configuration of any of the table's runs"""
    parts = [request.recipe.name, config.dataset.name]
    if request.only is not None:
        parts.append(re.sub(r"\W+", "_", request.only.lower()))
    if list(request.schedules) != list(request.recipe.schedules):
        parts += request.schedules
    if not request.scale.is_full:
        parts.append(request.scale.label)
    further_changes = sorted(change for change in request.result_changes if table_cells.key(change) != "dataset")
    if request.config_dir is not None:
        further_changes.append(str(Path(request.config_dir).resolve()))
    if further_changes:
        parts.append(content_hash(further_changes)[:6])
    return config.root / "reproduced" / "-".join(parts)


def write_table(request: ReproductionRequest, cells: Sequence[TableCell], place: Path) -> Path:
    """Write the table with the results that exist by now. Returns the path of the Markdown file.

    place: the table's folder"""
    for run in table_cells.distinct(cells):
        if (run.directory / layout.RESULT).exists():
            for name in (layout.RESULT, layout.METRICS):
                files.write(place / "run" / run.hash / name, (run.directory / name).read_bytes())
    files.write_json(place / "table.json", _table_json(request, cells))
    return reproduced.write(place)


def _table_json(request: ReproductionRequest, cells: Sequence[TableCell]) -> dict[str, Any]:
    recipe, configs = request.recipe, [run.config for run in table_cells.distinct(cells)]
    dataset = configs[0].dataset.name
    equal_epochs = all(config.schedule.equal_epochs for config in configs)
    by_row = {row.label: [cell for cell in cells if cell.row is row] for row in request.rows}
    return {
        "name": recipe.name,
        "title": recipe.title,
        "dataset": dataset,
        "paper_dataset": recipe.dataset,
        "measure": recipe.measure,
        "split": recipe.split,
        "figure": recipe.figure,
        "schedules": list(request.schedules),
        "scale": None if request.scale.is_full else str(request.scale),
        "epochs": {cell.schedule: cell.epochs for cell in cells},
        "changes": request.result_changes,
        "notes": recipes.notes(recipe, dataset, request.schedules, equal_epochs=equal_epochs),
        "rows": [_row(row, by_row[row.label]) for row in request.rows],
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
