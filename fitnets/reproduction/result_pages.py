"""`fitnets results`: the pages and figures of `analysis/results`, and the README's tables, written from stored results.

A page is a whole file, `analysis/results/NAME.md`. In the README a table stands between `<!-- results: NAME -->` and
`<!-- end -->`. A test fails where either differs from the stored results.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fitnets import paths
from fitnets.bench import tables
from fitnets.bench.photo_input import InputTimes
from fitnets.bench.steps import Contestant, Measured
from fitnets.bench.streaming import Streaming
from fitnets.composition import loading
from fitnets.config import image_shape
from fitnets.console.tables import Table
from fitnets.console.terminal import printed
from fitnets.experiment import result_table
from fitnets.models import build, costs
from fitnets.reporting import against, controls, reproduced, runs, speedups, tried
from fitnets.reporting import tables as report_tables
from fitnets.reporting.figures.training import similarity
from fitnets.reproduction import choices, recipes
from fitnets.store import files

RESULTS = paths.ROOT / "analysis" / "results"
README = paths.ROOT / "README.md"
ANALYSIS_README = paths.ROOT / "analysis" / "README.md"
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", flags=re.S)
_OF_THE_PAPER = ("paper", "parameters", "multiplications")
_NETWORKS = [  # data set, side, option, remark
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
_BENCH_COLUMNS = {  # header: (who, teacher outputs, step)
    "plain backprop": ("plain PyTorch", None, "backprop"),
    "KD": ("fitnets", "cached", "KD"),
    "hint": ("fitnets", "cached", "hint"),
    "KD, RepDistiller": ("repdistiller", "live", "KD"),
    "hint, RepDistiller": ("repdistiller", "live", "hint"),
}


@dataclass(frozen=True)
class Page:
    """A page of `analysis/results`. about: text on what was run and how to read the figures."""

    title: str
    about: str
    body: Callable[[], str]

    def text(self) -> str:
        notice = "<!-- Written by `fitnets results` from the stored results: edits are lost. -->"
        return "\n\n".join([f"# {self.title}", notice, *filter(None, [self.about, self.body().rstrip()])]) + "\n"


def write() -> list[Path]:
    """Rewrite every page, every figure and the README's tables. Returns the files that changed."""
    for path in _paper_tables().values():
        files.write_json(path / "table.json", with_current_recipe(files.read_json(path / "table.json")))
    draw(RESULTS.parent)
    texts = {RESULTS / f"{name}.md": page.text() for name, page in pages().items()}
    texts |= {path: with_results(path.read_text(encoding="utf-8")) for path in (README, ANALYSIS_README)}
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        files.write(path, texts[path].encode())
    return changed


def pages() -> dict[str, Page]:
    """The pages by name."""
    return {
        "networks": Page("The paper's networks: layers, parameters, multiplications", _ABOUT_NETWORKS, network_counts),
        "controls": Page("Do hints help here? Controls on digits", _ABOUT_CONTROLS, _controls),
        "methods": Page(
            "Which method is best here? All methods on digits", _ABOUT_METHODS, partial(_methods, "methods")
        ),
        "methods_cifar10": Page(
            "All methods on a small part of CIFAR-10", _ABOUT_METHODS_CIFAR10, partial(_methods, "methods_cifar10")
        ),
        "fast": Page(
            "Short trainings: what was tried for schedule=fast", _ABOUT_FAST, partial(tried.table, RESULTS / "fast")
        ),
        "speedups": Page("Cost and speed of exported students", _ABOUT_SPEEDUPS, _speedups),
        "bench": Page("Speed of training", _ABOUT_BENCH, full_bench),
        "photos": Page("Speed of photos", _ABOUT_PHOTOS, _photos),
        **{name: _paper_page(name, path) for name, path in _paper_tables().items()},
    }


def _paper_page(name: str, folder: Path) -> Page:
    """The page of a reproduced table or figure. The table's heading has the differences from the paper's training."""
    drawing = f"![The figure]({name}/{name}.png)" if (folder / f"{name}.png").exists() else ""
    recipe = recipes.TABLES[files.read_json(folder / "table.json")["name"]]
    return Page(recipe.title, drawing, lambda: reproduced.document(folder))


def with_results(text: str) -> str:
    """The text of a README with its tables replaced. Raises KeyError for a table with an unknown name."""
    makers: dict[str, Callable[[], str]] = {
        "first_run": first_run,
        "first_run_mnist": first_run_mnist,
        "table5_fast": partial(reproduced.short, RESULTS / "table5_fast"),
        "speed": short_bench,
        "run_columns": report_tables.run_columns,
    }
    return _BLOCK.sub(lambda block: f"{block[1]}{makers[block[2]]()}\n{block[3]}", text)


def draw(folder: Path) -> None:
    """Draw the figures of the pages and of the README, below a folder laid out as `analysis`."""
    for name, path in _paper_tables().items():
        target = folder / "results" / name
        if not target.exists():
            shutil.copytree(path, target)
        reproduced.draw(target, "png")
    (folder / "screenshots").mkdir(exist_ok=True)
    similarity(runs.load(RESULTS / "controls")).savefig(folder / "screenshots" / "similarity.png")


def with_current_recipe(table: dict[str, Any]) -> dict[str, Any]:
    """A stored table with the paper's figures and the notes that its recipe has today."""
    recipe = recipes.TABLES[table["name"]]
    equal_epochs = choices.EQUAL_EPOCHS in table["notes"]
    notes = recipes.notes(recipe, table["dataset"], table["schedules"], equal_epochs=equal_epochs)
    labels = {row["label"] for row in table["rows"]}
    current = [row for row in recipe.rows if row.label in labels]
    rows = [
        stored | {key: getattr(row, key) for key in _OF_THE_PAPER}
        for stored, row in zip(table["rows"], current, strict=True)
    ]
    return table | {"notes": notes, "rows": rows}


def _paper_tables() -> dict[str, Path]:
    """Folders of stored tables of the paper, by name."""
    return {path.parent.name: path.parent for path in sorted(RESULTS.glob("*/table.json"))}


# --- the README ---


def first_run() -> str:
    """The table that `make run` ends with."""
    (path,) = RESULTS.glob("first_run/run/*/result.json")
    result = files.read_json(path)
    lines = printed(lambda terminal: result_table.show(result, terminal), width=100).splitlines()
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])


def first_run_mnist() -> str:
    """One sentence about `python run.py dataset=mnist`."""
    (path,) = RESULTS.glob("first_run_mnist/run/*/result.json")
    result = files.read_json(path)
    teacher, student = (f"{100 * result[side]['test_error']:.2f} %" for side in ("teacher", "student"))
    epochs = {name: stage["epochs"] for name, stage in result["stages"].items()}
    machine = f"{result['timing']['device']}, {result['timing']['precision']}"
    return (
        f"On MNIST `python run.py dataset=mnist dataset.path=DIR` trains the paper's pair for {epochs['teacher']} "
        f"epochs (teacher), {epochs['hint']} (stage 1) and {epochs['student']} (stage 2). The teacher misclassifies "
        f"{teacher} of the test images and the student {student} ({machine}; n = 1, no interval)."
    )


def short_bench() -> str:
    """Images a second of FitNets 1 and 4, a row for each precision."""
    measured: dict[tuple[str, str, str | None, str, str], Measured] = {
        (one.student, one.contestant.who, one.contestant.answers, one.contestant.step, one.contestant.precision): one
        for one in _bench_steps()
    }
    rows = []
    for precision, label in (("fp32", "fp32"), ("bf16", "bf16 (the choice of `auto` there)")):
        cells = []
        for key in _BENCH_COLUMNS.values():
            pair = [measured.get((student, *key, precision)) for student in ("fitnet1", "fitnet4")]
            cells.append(" / ".join("-" if one is None else f"{one.images_per_s:.0f}" for one in pair))
        rows.append([label, *("-" if cell == "- / -" else cell for cell in cells)])
    return Table("", ["FitNet 1 / 4, images a second", *_BENCH_COLUMNS], rows).markdown().strip()


# --- the pages ---

_ABOUT_NETWORKS = """\
Counted as the paper counts: weights without biases, every maxout layer with two pieces. `fitnets cost dataset=cifar10
student=fitnet1` shows these counts beside those of the network that is trained, whose dense layers have five pieces."""

_ABOUT_CONTROLS = """\
Five seeds of teacher and student, the same number of epochs for every method. The best epoch is chosen by the error on
validation images (ties by the loss there), and the test images are evaluated once, at the end. The commands are
`python run.py -m +sweeps=controls` and `fitnets report outputs/controls`."""

_ABOUT_METHODS = """\
Eight seeds of teacher and student, the same number of epochs for every method, both stages counted. The best epoch is
chosen by the error on validation images, and the test images are evaluated once, at the end. Weights are the usual ones
of each loss; none was tuned for these images. Each run had one of two cores while other work ran beside it, so the
times tell little. The commands are `python run.py -m +sweeps=methods engine.threads=1`, in two processes with four
seeds each, and `fitnets report outputs/methods --against kd`."""

_ABOUT_METHODS_CIFAR10 = """\
Real images of CIFAR-10 and FitNet 1, but in the small: 1,000 training images, three seeds of teacher and student, 12
epochs of each student, and a teacher of 14 layers that saw the same images. Far more of both is needed to tell how the
methods compare on CIFAR-10; the table shows what so small an experiment can settle. Each run had one of two cores. The
command, in two processes with half of the methods each:

```sh
python run.py -m +sweeps=methods engine.threads=1 store=outputs/methods_cifar10 test=false \\
  dataset=cifar10 dataset.path=DIR dataset.train_share=0.0204 dataset.validation_images=1000 \\
  teacher=resnet14 student=fitnet1 hint_layer=middle \\
  schedule.teacher.epochs=20 schedule.hint.epochs=4 schedule.student.epochs=8 \\
  schedule.teacher.batch_size=32 schedule.hint.batch_size=32 schedule.student.batch_size=32 \\
  'hydra.sweeper.params.seed="range(3)"'
```"""

_ABOUT_FAST = """\
FitNet 1 on all of CIFAR-10, 45,000 images to train on and 5,000 to choose by, one seed each: a difference of half a
point may be chance. `schedule=fast_sgd` is `schedule=fast` with SGD for the student (Nesterov, rate 0.1, momentum 0.9,
weight decay 5e-4, no bound on gradients). The teacher's setting is the same in all: ten epochs. Times include the
teacher's outputs for each view, which the first run computed and the later ones found. They tell little: other work ran
beside most of the trials, and the code became faster between them."""

_ABOUT_SPEEDUPS = """\
The paper's Table 5 (a GPU's time for all CIFAR-10 test images) stands beside the counts here, and beside the speed-up
of exported students over the exported teacher on two cores of an AMD EPYC (Zen 5). Speed-ups are ratios of medians of 5
to 30 turns, fp32 except in the last column, without an interval. Speed does not depend on the weights: these students
were trained for two updates.

Speed-ups are of the networks alone, without the ZCA whitening in front of them. The last column is an exception: it
compares the whole 8-bit file with the teacher's whole float file. Each row comes from two commands:

```sh
python run.py dataset=cifar10 dataset.path=DIR student=fitnet1 schedule.teacher.max_steps=2 schedule.hint.max_steps=2 \\
    schedule.student.max_steps=2 test=false
fitnets export RUN --int8
```"""

_ABOUT_BENCH = """\
Measured on two cores of an AMD EPYC (Zen 5, AVX512-BF16) with batches of 128 images and the paper's CIFAR-10 teacher.
The figures are medians of 7 rounds, beside their quartiles. The command is

```sh
fitnets bench --students fitnet1,fitnet2,fitnet3,fitnet4 --rounds 7 --peer repdistiller=DIR \\
    --peer torchdistill=DIR --startup
```"""


_ABOUT_PHOTOS = """\
Measured on two cores of an AMD EPYC (AVX512-BF16). The input alone: JPEG files of 500x375 pixels (quality 90) become
batches of 128 random resized crops (224 pixels, scale 0.08 to 1, bilinear with antialiasing), mirrored at random, as
normalised floats. Plain PyTorch is a DataLoader of two worker processes with Pillow's transforms, whose images are
normalised by fixed values; ours are decoded once, within the first epoch, and standardised by fitted values. Training:
batches of 32 random photos of 224 pixels, in random resized crops; each step in memory has the same work.
The commands are

```sh
fitnets bench --photos 2048 --rounds 7
fitnets bench --streamed 100000
(ulimit -d 6000000; fitnets bench --streamed 100000)
```"""


def network_counts() -> str:
    """Layers, parameters and multiplications of the paper's networks."""
    rows = []
    for dataset, side, name, remark in _NETWORKS:
        config = loading.load([f"dataset={dataset}", f"{side}={name}"])
        with torch.device("meta"):
            network = build.network(getattr(config, side), config.dataset, side)
        cost = costs.cost(network, image_shape(config.dataset))
        layers = sum(isinstance(module, torch.nn.Conv2d | torch.nn.Linear) for module in network.modules())
        counts = [f"{cost.paper_parameters:,}", f"{cost.paper_multiplications / 1e6:.1f} M"]
        rows.append([f"`{dataset}`", f"`{name}`{remark}", str(layers), *counts])
    return Table("", ["data set", "network", "layers", "parameters", "multiplications"], rows).markdown().strip()


def _controls() -> str:
    return controls.table(runs.load(RESULTS / "controls"))


def _methods(name: str) -> str:
    (ranking,) = against.rankings(runs.load(RESULTS / name))
    return ranking.markdown()


def _speedups() -> str:
    return speedups.table(RESULTS / "speedups")


def _photos() -> str:
    """The tables of the stored benchmarks of photos."""
    stored = [files.read_json(path) for path in sorted((RESULTS / "photos").glob("*.json"))]
    inputs = [InputTimes(**one) for content in stored for one in content["photo_input"]]
    streamed = [Streaming(**one) for content in stored for one in content["streaming"]]
    shown = [tables.of_photo_input(inputs), tables.of_streaming(streamed)]
    return "\n".join(table.markdown() for table in shown).rstrip()


def full_bench() -> str:
    """All tables of the stored benchmark."""
    stored = files.read_json(RESULTS / "bench.json")
    threads = torch.get_num_threads()
    torch.set_num_threads(stored["environment"]["threads"])  # the title has their number
    steps = _bench_steps()
    shown = [
        tables.of_steps(steps, batch=stored["batch"], rounds=stored["rounds"], device=torch.device("cpu")),
        tables.of_contents(steps),
        tables.of_startup(stored["startup_seconds"]),
    ]
    torch.set_num_threads(threads)
    return "\n".join(table.markdown() for table in shown).rstrip()


def _bench_steps() -> list[Measured]:
    stored = files.read_json(RESULTS / "bench.json")
    return [Measured(**one | {"contestant": Contestant(**one["contestant"])}) for one in stored["steps"]]
