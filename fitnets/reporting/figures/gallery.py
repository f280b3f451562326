"""Every figure that a store has the runs for."""

import re
from collections.abc import Iterable

import pandas as pd
from matplotlib.figure import Figure

from fitnets.errors import NotEnoughError
from fitnets.reporting import paper, tradeoff
from fitnets.reporting.figures.depth import depth, hint_layers
from fitnets.reporting.figures.studies import importance, study_progress
from fitnets.reporting.figures.trade_off import trade_off
from fitnets.reporting.figures.training import similarity
from fitnets.reporting.studies import Study
from fitnets.reporting.tradeoff import COSTS


def draw_all(frame: pd.DataFrame, studies: Iterable[Study]) -> dict[str, Figure]:
    """Draw every figure that the runs and studies allow, by file name without its ending.

    frame: rows of `runs.load`
    """
    done = tradeoff.finished(frame).assign(task=tradeoff.task_names)
    figures: dict[str, Figure] = {}
    for task, runs_of_task in done.groupby("task"):
        figures |= _figures_of_task(_file_name(str(task)), runs_of_task)
    for study in studies:
        if len(study.objectives) in (1, 2) and len(study.finished()) > 1:
            figures[f"progress-{_file_name(study.name)}"] = study_progress(study)
        if any(len(shares) > 1 for shares in study.importances.values()):
            figures[f"importance-{_file_name(study.name)}"] = importance(study)
    return figures


def _figures_of_task(task: str, frame: pd.DataFrame) -> dict[str, Figure]:
    costs = ["multiplications", "parameters", "latency_ms"]
    costs += [cost for cost in COSTS if len(paper.points(frame["dataset"].iloc[0], cost))]
    figures = {f"trade_off-{task}-{cost}": trade_off(frame, cost) for cost in costs}
    for name, draw in (("depth", depth), ("hint_layers", hint_layers)):
        try:
            figures[f"{name}-{task}"] = draw(frame)
        except NotEnoughError:
            continue
    has_several_methods = frame.groupby("setting_hash")["method"].transform("nunique") > 1
    comparable = frame[has_several_methods].dropna(subset=["similarity_after_student"])
    if len(comparable):
        largest_setting = comparable["setting_hash"].value_counts().index[0]
        figures[f"similarity-{task}"] = similarity(comparable[comparable["setting_hash"] == largest_setting])
    return figures


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
