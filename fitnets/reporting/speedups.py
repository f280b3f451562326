"""Costs and speed-ups of exported students beside those of the paper's Table 5."""

from pathlib import Path
from typing import Any

from fitnets.console import markdown
from fitnets.console.quantities import number
from fitnets.reporting.paper import TABLE_5
from fitnets.store import files

_SETTINGS = ((1, 1), (128, 1), (128, 2))
"""Batch size and number of threads of each measured speed-up."""
_HEADER = [
    "student", "layers", "parameters, paper", "counted", "compression, paper", "counted",
    "multiplications, paper", "counted", "speed-up, paper",
    *(f"{batch} image{'s' * (batch > 1)}, {threads} thread{'s' * (threads > 1)}" for batch, threads in _SETTINGS),
    "8 bits, 128 images, 1 thread",
]  # fmt: skip


def table(folder: Path) -> str:
    """Write a Markdown table with one row for each `NAME/export.json` of the folder.

    Parameters and multiplications are counted as in the paper. A speed-up is the exported teacher's median latency
    divided by the exported student's.

    folder: holds, for each student, the `export.json` of `fitnets export` and the run's `result.json`
    """
    return markdown.table(_HEADER, (_row(path.parent) for path in sorted(folder.glob("*/export.json"))))


def _row(folder: Path) -> list[str]:
    export, result = (files.read_json(folder / f"{name}.json") for name in ("export", "result"))
    teacher: dict[str, Any] = result["teacher"]
    student: dict[str, Any] = result["student"]
    p50_ms = {
        (latency["file"], latency["batch"], latency["threads"]): latency["p50_ms"] for latency in export["latency"]
    }
    parameters, multiplications, speedup, compression = TABLE_5.get(student["name"], ("", "", "", ""))
    return [
        f"`{student['name']}`",
        str(student["layers"]),
        parameters,
        number(student["paper_parameters"]),
        compression,
        f"{teacher['paper_parameters'] / student['paper_parameters']:.2f}",
        multiplications,
        number(student["paper_multiplications"]),
        speedup,
        *(
            f"{p50_ms['teacher, network only', *setting] / p50_ms['student, network only', *setting]:.1f}"
            for setting in _SETTINGS
        ),
        f"{p50_ms['teacher', 128, 1] / p50_ms['student, int8', 128, 1]:.1f}",
    ]
