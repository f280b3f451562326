"""Exports students for callers in Python and for `fitnets export`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from fitnets.composition import loading as composition
from fitnets.config import Config
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.experiment import evaluation
from fitnets.exporting import student as exporting
from fitnets.library.host import untouched
from fitnets.library.loading import folder_of, stored_student
from fitnets.library.running import Result
from fitnets.library.student import Student
from fitnets.progress import Progress
from fitnets.store import layout
from fitnets.store.earlier_runs import StoredNetwork
from fitnets.system.resources import short_errors


def export(
    run: str | Path | Result | Student,
    *,
    out: str | Path | None = None,
    int8: bool = False,
    store: str | Path = "outputs",
) -> dict[str, Any]:
    """Write a finished student as ONNX and torch.export files, check and time them, and write a model card.

    run: the folder of a run, a hash in the store, a Result, or what `load` returned, which stays as it is
    out: folder for the files; None: RUN/export
    int8: also write a file that computes in 8 bits
    store: the folder in which a hash is looked up

    Returns the content of the folder's export.json.

    Raises ConfigError if there is no finished run, if the student's weights were changed after `load`, or if a file
    disagrees with PyTorch."""
    with untouched():
        folder = run.folder if isinstance(run, Student) else folder_of(run, store)
        network = stored_student(folder)
        if isinstance(run, Student):
            _check_unchanged(run)
        settings = composition.load([])
        target = folder.resolve() / layout.EXPORT if out is None else Path(out).resolve()
        return export_stored(network, settings, None, target, int8=int8, progress=Terminal())


def export_stored(
    network: StoredNetwork, settings: Config, store: str | None, out: Path, *, int8: bool, progress: Progress
) -> dict[str, Any]:
    """Export with these settings. Returns the content of export.json.

    store: folder for decoded images; None: the run's own"""
    with evaluation.working_store(network, store) as root, short_errors(root):
        return exporting.export_student(network, replace(settings, store=str(root)), out, int8=int8, progress=progress)


def _check_unchanged(student: Student) -> None:
    """Raise ConfigError if the module's weights are not those of its run, whose figures the card states."""
    stored = load_file(student.folder / layout.STUDENT_WEIGHTS)
    own = student.network.network.state_dict()
    for name, values in stored.items():
        if not torch.equal(own[name].detach().cpu(), values):
            raise ConfigError(
                f"the student's {name} is not that of {student.folder} any more: the card would state the figures of "
                "other weights. torch.onnx.export writes a module as it is"
            )
