"""The paper's tables and figures: the runs that each consists of, the paper's values, and the notes on open choices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fitnets.reproduction import choices

ScheduleName = Literal["paper", "modern", "fast", "fast_long"]
SHORT_SCHEDULES = ("fast", "fast_long")
CANDIDATES = ("hints", "kd", "backprop")
"""If a row names no method, every schedule but the paper's runs these and takes the one that is best on validation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A row of a table.

    paper: the paper's value in %, or its words; None if the paper has neither
    parameters, multiplications: as the paper prints them
    overrides: overrides of the row's runs; the method is `hints` unless they name one. None for a published figure of
        others, which is quoted and not run
    side: the network whose figure the row shows, teacher or student
    schedules: the columns that have the row; empty: all"""

    label: str
    paper: float | str | None = None
    parameters: str = ""
    multiplications: str = ""
    overrides: tuple[str, ...] | None = None
    side: Literal["teacher", "student"] = "student"
    schedules: tuple[ScheduleName, ...] = ()

    def is_in(self, schedule: ScheduleName) -> bool:
        return self.overrides is not None and (not self.schedules or schedule in self.schedules)

    @property
    def names_method(self) -> bool:
        return any(override.startswith("method=") for override in self.overrides or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """A table or figure of the paper.

    measure: the measure that the table shows
    split: the split on which it is measured
    dataset: the paper's data set
    shared: overrides of all runs, besides those of the rows
    choices: notes that hold for any data set and schedule
    networks: notes on networks and data that hold for the paper's data set
    training: notes that hold for the paper's data set under schedule=paper, besides those of all tables
    data: where the data set comes from, for the user
    schedules: the columns
    fast: overrides of all runs under schedule=fast and schedule=fast_long
    figure: name of the figure that is drawn from the runs; None: no figure"""

    name: str
    title: str
    measure: Literal["error", "accuracy"]
    split: Literal["valid", "test"] = "test"
    dataset: str
    shared: tuple[str, ...] = ()
    rows: tuple[TableRow, ...]
    choices: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    data: str
    schedules: tuple[ScheduleName, ...] = ("paper", "modern")
    fast: tuple[str, ...] = ()
    figure: Literal["depth"] | None = None


def notes(table: PaperTable, dataset: str, schedules: Sequence[ScheduleName], *, equal_epochs: bool) -> list[str]:
    """The notes that belong below a reproduced table.

    dataset: the data set of the table's runs
    equal_epochs: whether schedule.equal_epochs=true for all runs"""
    lines = [choices.SPREAD, *([choices.EQUAL_EPOCHS] if equal_epochs else []), *table.choices]
    if any(row.paper is not None for row in table.rows):
        lines.append(choices.SINGLE)
    if dataset == table.dataset:
        lines += table.networks
    if "paper" in schedules:
        lines += [f"`schedule=paper`: {line}" for line in (*choices.PAPER, *_training_notes(table, dataset))]
    lines += [choices.MODERN] * ("modern" in schedules) + [choices.FAST] * any(
        name in SHORT_SCHEDULES for name in schedules
    )
    return lines


def _training_notes(table: PaperTable, dataset: str) -> tuple[str, ...]:
    if dataset == table.dataset:
        return table.training
    return (
        f"The paper has this table for {table.dataset}. For {dataset} the numbers are those of "
        f"conf/schedule/paper/{dataset}.yaml{choices.OTHER_TEACHERS.get(dataset, '')}.",
    )


_CIFAR10 = "CIFAR-10 from the Hugging Face hub (uoft-cs/cifar10), or its Parquet files: dataset.path=DIR."
_CIFAR100 = "CIFAR-100 from the Hugging Face hub (uoft-cs/cifar100), or its Parquet files: dataset.path=DIR."


def _published(*rows: tuple[str, float, str]) -> tuple[TableRow, ...]:
    """Rows that quote published figures: (label, the figure in %, parameters)."""
    return tuple(TableRow(label=f"{label} (published)", paper=paper, parameters=size) for label, paper, size in rows)


TABLE_1 = PaperTable(
    name="table1",
    title="Table 1: accuracy",
    measure="accuracy",
    dataset="cifar10",
    rows=(
        TableRow(label="teacher", paper=90.18, parameters="~9M", overrides=("student=fitnet4",), side="teacher"),
        TableRow(label="FitNet 4", paper=91.61, parameters="~2.5M", overrides=("student=fitnet4",)),
        TableRow(
            label="the same student by DSN",
            paper=88.2,
            parameters="~2.5M",
            overrides=("student=fitnet4", "method=dsn"),
        ),
        *_published(
            ("Mimic, single", 84.6, "~54M"),
            ("Mimic, single", 84.9, "~70M"),
            ("Mimic, ensemble", 85.8, "~70M"),
            ("Maxout", 90.65, ""),
            ("Network in Network", 91.2, ""),
            ("Deeply-Supervised Nets", 91.78, ""),
        ),
    ),
    choices=(choices.TABLE_7, choices.LABELLED),
    networks=choices.CIFAR_NETWORKS,
    training=(*choices.CIFAR, choices.RETRAINED),
    data=_CIFAR10,
)
TABLE_2 = PaperTable(
    name="table2",
    title="Table 2: accuracy",
    measure="accuracy",
    dataset="cifar100",
    shared=("student=fitnet4",),
    rows=(
        TableRow(label="teacher", paper=63.54, parameters="~9M", overrides=(), side="teacher"),
        TableRow(label="FitNet 4", paper=64.96, parameters="~2.5M", overrides=()),
        *_published(("Maxout", 61.43, ""), ("Network in Network", 64.32, ""), ("Deeply-Supervised Nets", 65.43, "")),
    ),
    choices=(choices.TABLE_7,),
    networks=(choices.DENSE_PIECES.strip(),),
    training=(
        *choices.CIFAR_STUDENTS,
        "The teacher is trained as for CIFAR-10, by its maxout recipe, at most 500 epochs: there is no recipe for "
        "CIFAR-100.",
        "10,000 images are held out to find the number of epochs, then both networks are trained again on all: the "
        "paper uses the number chosen on CIFAR-10 and does not state it.",
    ),
    data=_CIFAR100,
)
TABLE_3 = PaperTable(
    name="table3",
    title="Table 3: misclassification",
    measure="error",
    dataset="svhn",
    shared=("student=fitnet3",),
    rows=(
        TableRow(label="teacher", paper=2.38, parameters="~4.9M", overrides=(), side="teacher"),
        TableRow(label="FitNet 3", paper=2.42, parameters="~1.5M", overrides=()),
        *_published(("Maxout", 2.47, ""), ("Network in Network", 2.35, ""), ("Deeply-Supervised Nets", 1.92, "")),
    ),
    networks=choices.SVHN_NETWORKS,
    training=choices.SVHN,
    data="SVHN from the Hugging Face hub (ufldl-stanford/svhn, cropped_digits), or its Parquet files: "
    "dataset.path=DIR.",
)
TABLE_4 = PaperTable(
    name="table4",
    title="Table 4: misclassification",
    measure="error",
    dataset="mnist",
    rows=(
        TableRow(label="teacher", paper=0.55, parameters="~361K", overrides=("method=hints",), side="teacher"),
        TableRow(label="FitNet, backprop", paper=1.9, parameters="~30K", overrides=("method=backprop",)),
        TableRow(label="FitNet, KD", paper=0.65, parameters="~30K", overrides=("method=kd",)),
        TableRow(label="FitNet, hints", paper=0.51, parameters="~30K", overrides=("method=hints",)),
        *_published(("Maxout", 0.45, ""), ("Network in Network", 0.47, ""), ("Deeply-Supervised Nets", 0.39, "")),
    ),
    networks=choices.MNIST_NETWORKS,
    training=choices.MNIST,
    schedules=("paper", "modern", "fast"),
    fast=("teacher=fast", "teacher.groups=[32,128,128]", "student.normalization=batch"),
    data="MNIST from the Hugging Face hub (ylecun/mnist), or its Parquet files: dataset.path=DIR.",
)
TABLE_5 = PaperTable(
    name="table5",
    title="Table 5: accuracy and cost",
    measure="accuracy",
    dataset="cifar10",
    rows=(
        TableRow(
            label="teacher",
            paper=90.18,
            parameters="~9M",
            multiplications="~725M",
            overrides=("student=fitnet1",),
            side="teacher",
        ),
        *(
            TableRow(
                label=label,
                paper=paper,
                parameters=parameters,
                multiplications=multiplications,
                overrides=(f"student={student}",),
                schedules=() if label == "FitNet 1" else ("paper", "modern", "fast"),
            )
            for label, student, paper, parameters, multiplications in (
                ("FitNet 1", "fitnet1", 89.01, "~250K", "~30M"),
                ("FitNet 2", "fitnet2", 91.06, "~862K", "~108M"),
                ("FitNet 3", "fitnet3_table5", 91.10, "~1.6M", "~392M"),
                ("FitNet 4", "fitnet4", 91.61, "~2.5M", "~382M"),
            )
        ),
        *(
            TableRow(
                label=f"FitNet 1, {label}",
                overrides=("student=fitnet1", *overrides),
                schedules=("fast",),
            )
            for label, overrides in (
                ("backprop from LSUV weights", ("method=backprop", "schedule/student_init=lsuv")),
                (
                    "backprop from LSUV weights without normalisation",
                    ("method=backprop", "schedule/student_init=lsuv", "student.normalization=none"),
                ),
            )
        ),
    ),
    schedules=("paper", "modern", "fast", "fast_long"),
    fast=(
        "teacher=fast",
        "student.normalization=batch",
        "dataset/preprocessing=standardize",
        "dataset.validation_images=5000",
    ),
    choices=(
        choices.TABLE_7,
        "FitNet 3 has 64 units in each layer of its first group, as Table 5's counts require (Table 7 prints 32, 48, "
        "64, 64: student=fitnet3).",
        "`fitnets cost` counts layers and compression; `fitnets export RUN` measures speed-ups.",
    ),
    networks=choices.CIFAR_NETWORKS,
    training=(*choices.CIFAR, choices.RETRAINED),
    data=_CIFAR10,
)
AFLW = PaperTable(
    name="aflw",
    title="Section 3.4: misclassification",
    measure="error",
    split="valid",
    dataset="aflw",
    rows=(
        TableRow(label="teacher", paper=4.21, overrides=("student=fitnet_aflw1", "method=kd"), side="teacher"),
        *(
            TableRow(label=f"FitNet {number}, {label}", paper=paper, overrides=(f"student=fitnet_aflw{number}", method))
            for number, label, method, paper in (
                (1, "KD", "method=kd", 4.58),
                (1, "hints", "method=hints", 2.55),
                (2, "KD", "method=kd", 1.95),
                (2, "hints", "method=hints", 1.85),
            )
        ),
    ),
    networks=choices.AFLW_NETWORKS,
    training=choices.AFLW,
    data="AFLW is handed out by its makers on request; negatives are photographs without faces. fitnets prepare aflw "
    "--aflw DIR --negatives DIR --out PATCHES makes the patches, then dataset.path=PATCHES.",
)


def _figure_2() -> Iterator[TableRow]:
    """The rows of Figure 2. The points of the paper's plot are not known, so its words stand in their place."""
    words_at_30 = {
        ("backprop", 5): "trains",
        **{("backprop", layers): "fails" for layers in (7, 9, 11)},
        **{("kd", layers): "trains" for layers in (5, 7)},
        **{("kd", layers): "fails" for layers in (9, 11)},
        **{("hints", layers): "trains" for layers in (5, 7, 9, 11)},
    }
    figures_at_107: dict[tuple[str, int], float | str] = {("kd", 7): 89.45, ("hints", 7): 90.1}
    for budget in (30, 107):
        for method in ("backprop", "kd", "hints"):
            for layers in (5, 7, 9, 11):
                paper = words_at_30.get((method, layers)) if budget == 30 else figures_at_107.get((method, layers))
                yield TableRow(
                    label=f"budget {budget}, {method}, {layers} layers",
                    paper=paper,
                    overrides=(f"student.budget={budget}", f"student.layers={layers}", f"method={method}"),
                )


FIGURE_2 = PaperTable(
    name="figure2",
    title="Figure 2: accuracy by depth, students of equal cost",
    measure="accuracy",
    dataset="cifar10",
    shared=("student=table6", "schedule.retrain_student=false"),
    rows=tuple(_figure_2()),
    choices=(
        "Guided as in Table 6, and no student is retrained. Budgets are millions of multiplications for images of "
        "32x32 pixels. The paper's plot has no numbers: the table quotes its text, and for 107M two figures, of "
        "which 89.45 % belongs to KD by context alone. According to the text hints gain 3.4 points (30M) and 4.11 "
        "points (107M) from 5 to 11 layers. It also mentions 13 layers, which Table 6 does not have.",
    ),
    networks=(choices.DENSE_PIECES.strip(),),
    training=(
        *choices.CIFAR,
        "At full length only the teacher is then trained again on all images, those of validation too.",
    ),
    data=_CIFAR10,
    figure="depth",
)
ABLATIONS = PaperTable(
    name="ablations",
    title="Section 3.1: the 19-layer student, trained in other ways",
    measure="accuracy",
    dataset="cifar10",
    shared=("student=fitnet4",),
    rows=tuple(
        TableRow(label=label, paper=paper, overrides=(f"method={method}",))
        for label, method, paper in (
            ("stage 1 with labels, stage 2 with labels", "labels_then_labels", "fails to learn"),
            ("stage 1 with labels, stage 2 KD", "labels_then_kd", "fails to learn"),
            ("labels at the guided layer and the labels, at once", "labels_with_labels", "fails to learn"),
            ("labels at the guided layer and KD, at once", "labels_with_kd", "fails to learn"),
            ("labels at every layer (DSN)", "dsn", 88.2),
            ("hints", "hints", 91.61),
        )
    ),
    choices=(choices.TABLE_7, choices.LABELLED),
    networks=choices.CIFAR_NETWORKS,
    training=(*choices.CIFAR, choices.RETRAINED),
    data=_CIFAR10,
)
_LATER = {  # method: accuracy in % of resnet56 to resnet20 on CIFAR-100 in later literature
    "backprop": 69.06,
    "kd": 70.66,
    "joint": 69.21,
    "attention": 70.55,
    "similarity": 69.67,
    "relational": 69.61,
    "probabilistic": 70.34,
    "variational": 70.38,
    "contrastive": 71.16,
    "dkd": 71.97,
    "dist": 71.75,
}


def _residual() -> Iterator[TableRow]:
    """Every method on two pairs of residual networks. Attention and variational distillation have a pair at the end of
    each group, as in their authors' code."""
    for names, pair, blocks in (
        ("resnet56 to resnet20", ("teacher=resnet", "student=resnet"), (9, 3)),
        ("wrn40-2 to wrn16-2", ("teacher=wrn", "student=wrn"), (6, 2)),
    ):
        ends = ", ".join(
            f"group{group}: {{teacher: group{group}_block{blocks[0]}, student: group{group}_block{blocks[1]}}}"
            for group in (1, 2, 3)
        )
        for method in ("hints", *_LATER, "standardized_kd"):
            several = ("hint_layer=pairs", f"+hint_layer.pairs={{{ends}}}")
            layers = several if method in ("attention", "variational") else ()
            yield TableRow(label=f"{names}, {method}", overrides=(*pair, *layers, f"method={method}"))


RESIDUAL = PaperTable(
    name="residual",
    title="Two stages beside later literature's one, residual networks",
    measure="accuracy",
    dataset="cifar100",
    shared=("hint_layer=middle",),
    rows=tuple(_residual()),
    choices=(
        "Hints go from layer to layer in the middle of both networks (hint_layer=middle), in `joint` with the weight "
        "100 that is usual there; attention and variational distillation have a pair at the end of each group. Every "
        "loss has its usual weight. All methods train by schedule=modern, and not by SGD as in later literature.",
        "resnet56 to resnet20 in later literature, in %: "
        + ", ".join(f"{method} {accuracy}" for method, accuracy in _LATER.items())
        + " (Table 1 of Tian et al., 2020, who call `joint` FitNet; the authors of DKD and DIST). Their epochs were "
        "chosen on the test images, so these are upper bounds of what a choice on validation images gives.",
    ),
    data=_CIFAR100,
    schedules=("modern",),
)
TABLES = {
    table.name: table for table in (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, AFLW, FIGURE_2, ABLATIONS, RESIDUAL)
}
"""All tables, by the name that `fitnets reproduce` takes."""
