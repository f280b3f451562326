"""The README's tables and figures, made from what is kept in `analysis/results`: `python tests/readme_tables.py` writes
them anew.

Each stands in the README between `<!-- table: NAME -->` and `<!-- end -->`."""

# ruff: noqa: E402

import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fitnets.bench import tables
from fitnets.bench.steps import (
    Contestant,
    Measured,
)
from fitnets.composition import loading
from fitnets.config import image_shape
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal
from fitnets.experiment import result_table
from fitnets.models import build, costs
from fitnets.reporting import (
    controls,
    figures,
    reproduced,
    runs,
    speedups,
)
from fitnets.reproduction import (
    choices,
    recipes,
)
from fitnets.store import files

KEPT = ROOT / "analysis" / "results"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", flags=re.S)
_OF_THE_PAPER = ("paper", "parameters", "multiplications")
_NETWORKS = [  # data set, option of the teacher or student, what is to be said of it
    ("cifar10", "teacher", "maxout_cifar10", ""),
    ("cifar10", "student", "fitnet1", ""),
    ("cifar10", "student", "fitnet2", ""),
    ("cifar10", "student", "fitnet3", " (as printed)"),
    ("cifar10", "student", "fitnet3_table5", ""),
    ("cifar10", "student", "fitnet4", ""),
    ("cifar100", "teacher", "maxout_cifar100", ""),
    ("svhn", "teacher", "maxout_svhn", ""),
    ("mnist", "teacher", "maxout_mnist", ""),
    ("mnist", "student", "fitnet_mnist", ""),
    ("aflw", "teacher", "relu_aflw", ""),
    ("aflw", "student", "fitnet_aflw1", ""),
    ("aflw", "student", "fitnet_aflw2", ""),
]


def rewritten(text: str) -> str:
    """The README with every table as it is to be. KeyError for a table that nobody makes."""
    return _BLOCK.sub(lambda found: f"{found[1]}{_makers()[found[2]]()}\n{found[3]}", text)


def names(text: str) -> list[str]:
    return [found[2] for found in _BLOCK.finditer(text)]


def _makers() -> dict[str, Any]:
    tables_of_paper = {path.parent.name: path.parent for path in KEPT.glob("*/table.json")}
    return {
        "first_run": first_run,
        "first_run_mnist": first_run_mnist,
        "controls": lambda: controls.table(runs.load(KEPT / "controls")),
        "speedups": lambda: speedups.table(KEPT / "speedups"),
        "bench": bench,
        "bench_all": bench_all,
        "counts": counts,
        **{
            name: lambda folder=folder: reproduced.document(folder).rstrip() for name, folder in tables_of_paper.items()
        },
    }


def first_run() -> str:
    """What `make run` ends with."""
    (path,) = KEPT.glob("first_run/run/*/result.json")
    result = json.loads(path.read_text())
    shown = io.StringIO()
    result_table.show(result, Terminal(Console(file=shown, width=100, highlight=False, markup=False)))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    return "\n".join(["```", *lines, "```"])


def first_run_mnist() -> str:
    """What `python run.py dataset=mnist` comes to, in a sentence."""
    (path,) = KEPT.glob("first_run_mnist/run/*/result.json")
    result = json.loads(path.read_text())
    teacher, student = (f"{100 * result[side]['test_error']:.2f} %" for side in ("teacher", "student"))
    epochs = {name: stage["epochs"] for name, stage in result["stages"].items()}
    where = f"{result['timing']['device']}, {result['timing']['precision']}"
    return (
        f"On MNIST `python run.py dataset=mnist dataset.path=DIR` trains the paper's pair for {epochs['teacher']} "
        f"epochs (teacher), {epochs['hint']} (stage 1) and {epochs['student']} (stage 2), and misclassifies {teacher} "
        f"and {student} of the test images with teacher and student ({where}; n = 1, no interval)."
    )


def bench() -> str:
    """Images a second of FitNets 1 and 4."""
    by_place = {
        (one.student, one.contestant.who, one.contestant.answers, one.contestant.step, one.contestant.precision): one
        for one in _measured()
    }
    columns = {
        "plain backprop": ("plain PyTorch", None, "backprop"),
        "KD": ("fitnets", "cached", "KD"),
        "hint": ("fitnets", "cached", "hint"),
        "KD, RepDistiller": ("repdistiller", "live", "KD"),
        "hint, RepDistiller": ("repdistiller", "live", "hint"),
    }
    rows = []
    for precision, label in (("fp32", "fp32"), ("bf16", "bf16 (what `auto` takes there)")):
        cells = []
        for key in columns.values():
            pair = [by_place.get((student, *key, precision)) for student in ("fitnet1", "fitnet4")]
            cells.append(" / ".join("-" if one is None else f"{one.images_per_s:.0f}" for one in pair))
        rows.append([label, *("-" if cell == "- / -" else cell for cell in cells)])
    header = ["FitNet 1 / 4, images a second", *columns]
    return Table("", header, rows).markdown().strip()


def bench_all() -> str:
    told = json.loads((KEPT / "bench.json").read_text())
    device, found, threads = torch.device("cpu"), _measured(), torch.get_num_threads()
    torch.set_num_threads(told["environment"]["threads"])  # which the title tells
    shown = [
        tables.of_steps(found, batch=told["batch"], rounds=told["rounds"], device=device),
        tables.of_contents(found),
        tables.of_startup(told["startup_seconds"]),
    ]
    torch.set_num_threads(threads)
    return "\n".join(table.markdown() for table in shown).rstrip()


def _measured() -> list[Measured]:
    told = json.loads((KEPT / "bench.json").read_text())
    return [Measured(**one | {"contestant": Contestant(**one["contestant"])}) for one in told["steps"]]


def counts() -> str:
    """Of the paper's networks."""
    rows = []
    for dataset, side, name, note in _NETWORKS:
        config = loading.load([f"dataset={dataset}", f"{side}={name}"])
        option = getattr(config, side)
        with torch.device("meta"):
            network = build.network(option, config.dataset, side)
        shape = image_shape(config.dataset)
        cost = costs.cost(network, shape)
        layers = sum(isinstance(module, torch.nn.Conv2d | torch.nn.Linear) for module in network.modules())
        counted = [f"{cost.paper_parameters:,}", f"{cost.paper_multiplications / 1e6:.1f} M"]
        rows.append([f"`{dataset}`", f"`{name}`{note}", str(layers), *counted])
    return Table("", ["data set", "network", "layers", "parameters", "multiplications"], rows).markdown().strip()


def told_anew(told: dict[str, Any]) -> dict[str, Any]:
    """A kept table with what the recipes say today of the paper's figures and of the choices made."""
    recipe = recipes.RECIPES[told["name"]]
    equal_epochs = choices.EQUAL_EPOCHS in told["notes"]
    notes = recipes.notes(recipe, told["dataset"], told["schedules"], equal_epochs=equal_epochs)
    labels = {row["label"] for row in told["rows"]}
    todays = [row for row in recipe.rows if row.label in labels]
    rows = [
        kept | {key: getattr(today, key) for key in _OF_THE_PAPER}
        for kept, today in zip(told["rows"], todays, strict=True)
    ]
    return told | {"notes": notes, "rows": rows}


def draw(folder: Path) -> None:
    """The README's figures, below a folder laid out as `analysis`."""
    for path in KEPT.glob("*/table.json"):
        target = folder / "results" / path.parent.name
        if not target.exists():
            shutil.copytree(path.parent, target)
        reproduced.draw(target, "png")
    (folder / "screenshots").mkdir(exist_ok=True)
    figures.similarity(runs.load(KEPT / "controls")).savefig(folder / "screenshots" / "similarity.png")


if __name__ == "__main__":
    for path in KEPT.glob("*/table.json"):
        files.write_json(path, told_anew(files.read_json(path)))
    draw(ROOT / "analysis")
    readme = ROOT / "README.md"
    readme.write_text(rewritten(readme.read_text()))
