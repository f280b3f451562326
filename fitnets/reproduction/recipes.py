"""The paper's tables and figures: which runs they consist of, what the paper has in their place, and what it leaves
open, with the choice made here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["paper", "modern"]
CANDIDATES = ("hints", "kd", "backprop")
"""methods that schedule=modern chooses from, on validation, where a row leaves the method open"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """paper: its value in %, or what it says in words; parameters: as it prints them; overrides: of the run, `hints`
    where they name no method; None: a figure of others, quoted beside; side: whose figure of the run it is."""

    label: str
    paper: float | str | None = None
    parameters: str = ""
    overrides: tuple[str, ...] | None = None
    side: Literal["teacher", "student"] = "student"

    @property
    def names_method(self) -> bool:
        return any(word.startswith("method=") for word in self.overrides or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """measure: what the table shows; split: of which images; shared: overrides of all runs; choices: what is open in
    the paper, or different here; data: what to get for it; figure: drawn of its runs beside the table."""

    name: str
    title: str
    measure: Literal["error", "accuracy"]
    split: Literal["valid", "test"] = "test"
    shared: tuple[str, ...]
    rows: tuple[Row, ...]
    choices: tuple[str, ...]
    data: str
    schedules: tuple[Schedule, ...] = ("paper", "modern")
    figure: Literal["depth"] | None = None


_EVERYWHERE = (
    "One teacher for all students of a column; seeds are those of the students. The paper's figures are of single runs "
    "as far as it says.",
    "Methods of one stage train for the epochs of both stages of hints (schedule.equal_epochs=true): how long the "
    "paper's baselines trained is not told.",
    "Eq. 2 as printed: both outputs are softened (the released code in effect softens the teacher's alone).",
)
_CIFAR_CHOICES = (
    "Dense maxout layers have 5 pieces, as text and recipes say; parameters are counted with 2, as the paper's figures "
    "want it.",
    "The teacher is trained by the maxout recipe, at most 500 epochs, then afresh on all images: how the paper trained "
    "its own is not told. Length of stage 1 and its stage-2 rates are not recorded either: validation decides.",
    "Flips alone as augmentation (the released code also crops); lambda falls to 1 in 500 epochs (released: 400).",
    "FitNets 1 to 4 are guided as in Table 7 (layer 6 of FitNets 1 and 2; Table 6 says 7).",
)
_MNIST_CHOICES = (
    "All maxout layers have 2 pieces, as the paper says and its counts want it (the recipes have 4 in the last "
    "convolutions); kernels and paddings are the recipes'.",
    "RMSProp as in the released code, where the text says SGD; lambda falls to 1 in 150 epochs (released: to 0).",
    "The teacher's second phase (the recipe goes on with all images) is left out.",
)
_SVHN_CHOICES = (
    "The student is FitNet 3: the text's 13 layers and 1.5M parameters (the appendix says 19 layers).",
    "The hint map (10x10) is larger than the guided one (8x8): the regressor is a full convolution with padding 2. The "
    "released code stops there.",
    "All channels are locally normalised (the reference code stops after the first).",
    "The teacher's fine-tuning phase, of unknown length, is left out.",
)
_AFLW_CHOICES = (
    "Valid convolutions, 7 layers (16 or 32 units, then 32 or 64), RGB in [0, 1]: the paper's list of layers, its "
    "padding and colours are open.",
    "The learning rate falls to a hundredth within 100 epochs; lambda as for CIFAR-10; neither is clear in the paper.",
    "Errors are of the validation images, on which the best epoch was chosen too, as in the paper.",
)
_CIFAR10 = "CIFAR-10 from the Hugging Face hub (uoft-cs/cifar10), or its Parquet files: dataset.path=DIR."
_CIFAR100 = "CIFAR-100 from the Hugging Face hub (uoft-cs/cifar100), or its Parquet files: dataset.path=DIR."


def _others(*rows: tuple[str, float, str]) -> tuple[Row, ...]:
    return tuple(Row(label=f"{label} (published)", paper=paper, parameters=size) for label, paper, size in rows)


TABLE_1 = Recipe(
    name="table1",
    title="Table 1: accuracy",
    measure="accuracy",
    shared=("dataset=cifar10",),
    rows=(
        Row(label="teacher", paper=90.18, parameters="~9M", overrides=("student=fitnet4",), side="teacher"),
        Row(label="FitNet 4", paper=91.61, parameters="~2.5M", overrides=("student=fitnet4",)),
        Row(
            label="the same student by DSN",
            paper=88.2,
            parameters="~2.5M",
            overrides=("student=fitnet4", "method=dsn"),
        ),
        *_others(
            ("Mimic, single", 84.6, "~54M"),
            ("Mimic, single", 84.9, "~70M"),
            ("Mimic, ensemble", 85.8, "~70M"),
            ("Maxout", 90.65, ""),
            ("Network in Network", 91.2, ""),
            ("Deeply-Supervised Nets", 91.78, ""),
        ),
    ),
    choices=(*_EVERYWHERE, *_CIFAR_CHOICES),
    data=_CIFAR10,
)
TABLE_2 = Recipe(
    name="table2",
    title="Table 2: accuracy",
    measure="accuracy",
    shared=("dataset=cifar100", "student=fitnet4"),
    rows=(
        Row(label="teacher", paper=63.54, parameters="~9M", overrides=(), side="teacher"),
        Row(label="FitNet 4", paper=64.96, parameters="~2.5M", overrides=()),
        *_others(("Maxout", 61.43, ""), ("Network in Network", 64.32, ""), ("Deeply-Supervised Nets", 65.43, "")),
    ),
    choices=(
        *_EVERYWHERE,
        *_CIFAR_CHOICES,
        "10,000 images are held out to find the number of epochs, then both networks train afresh on all: the paper "
        "takes the epochs found on CIFAR-10, which it does not tell.",
    ),
    data=_CIFAR100,
)
TABLE_3 = Recipe(
    name="table3",
    title="Table 3: misclassification",
    measure="error",
    shared=("dataset=svhn", "student=fitnet3"),
    rows=(
        Row(label="teacher", paper=2.38, parameters="~4.9M", overrides=(), side="teacher"),
        Row(label="FitNet 3", paper=2.42, parameters="~1.5M", overrides=()),
        *_others(("Maxout", 2.47, ""), ("Network in Network", 2.35, ""), ("Deeply-Supervised Nets", 1.92, "")),
    ),
    choices=(*_EVERYWHERE, *_SVHN_CHOICES),
    data="SVHN from the Hugging Face hub (ufldl-stanford/svhn, cropped_digits), or its Parquet files: "
    "dataset.path=DIR.",
)
TABLE_4 = Recipe(
    name="table4",
    title="Table 4: misclassification",
    measure="error",
    shared=("dataset=mnist",),
    rows=(
        Row(label="teacher", paper=0.55, parameters="~361K", overrides=("method=hints",), side="teacher"),
        Row(label="FitNet, backprop", paper=1.9, parameters="~30K", overrides=("method=backprop",)),
        Row(label="FitNet, KD", paper=0.65, parameters="~30K", overrides=("method=kd",)),
        Row(label="FitNet, hints", paper=0.51, parameters="~30K", overrides=("method=hints",)),
        *_others(("Maxout", 0.45, ""), ("Network in Network", 0.47, ""), ("Deeply-Supervised Nets", 0.39, "")),
    ),
    choices=(*_EVERYWHERE, *_MNIST_CHOICES),
    data="MNIST from the Hugging Face hub (ylecun/mnist), or its Parquet files: dataset.path=DIR.",
)
TABLE_5 = Recipe(
    name="table5",
    title="Table 5: accuracy and cost",
    measure="accuracy",
    shared=("dataset=cifar10",),
    rows=(
        Row(label="teacher", paper=90.18, parameters="~9M", overrides=("student=fitnet1",), side="teacher"),
        Row(label="FitNet 1", paper=89.01, parameters="~250K", overrides=("student=fitnet1",)),
        Row(label="FitNet 2", paper=91.06, parameters="~862K", overrides=("student=fitnet2",)),
        Row(label="FitNet 3", paper=91.10, parameters="~1.6M", overrides=("student=fitnet3_table5",)),
        Row(label="FitNet 4", paper=91.61, parameters="~2.5M", overrides=("student=fitnet4",)),
    ),
    choices=(
        *_EVERYWHERE,
        *_CIFAR_CHOICES,
        "FitNet 3 has 64 units in each layer of its first group, as Table 5's counts want it (Table 7 prints 32, 48, "
        "64, 64: student=fitnet3).",
    ),
    data=_CIFAR10,
)
AFLW = Recipe(
    name="aflw",
    title="Section 3.4: misclassification",
    measure="error",
    split="valid",
    shared=("dataset=aflw",),
    rows=(
        Row(label="teacher", paper=4.21, overrides=("student=fitnet_aflw1", "method=kd"), side="teacher"),
        *(
            Row(label=f"FitNet {number}, {label}", paper=paper, overrides=(f"student=fitnet_aflw{number}", method))
            for number, label, method, paper in (
                (1, "KD", "method=kd", 4.58),
                (1, "hints", "method=hints", 2.55),
                (2, "KD", "method=kd", 1.95),
                (2, "hints", "method=hints", 1.85),
            )
        ),
    ),
    choices=(*_EVERYWHERE, *_AFLW_CHOICES),
    data="AFLW is handed out by its makers on request; negatives are photographs without faces. fitnets prepare aflw "
    "--aflw DIR --negatives DIR --out PATCHES makes the patches, then dataset.path=PATCHES.",
)


def _figure_2() -> Iterator[Row]:
    """What the paper tells in words; points of its plot are not known."""
    told = {
        ("backprop", 5): "trains",
        **{("backprop", layers): "fails" for layers in (7, 9, 11)},
        **{("kd", layers): "trains" for layers in (5, 7)},
        **{("kd", layers): "fails" for layers in (9, 11)},
        **{("hints", layers): "trains" for layers in (5, 7, 9, 11)},
    }
    at_107: dict[tuple[str, int], float | str] = {("kd", 7): 89.45, ("hints", 7): 90.1}
    for budget in (30, 107):
        for method in ("backprop", "kd", "hints"):
            for layers in (5, 7, 9, 11):
                paper = told.get((method, layers)) if budget == 30 else at_107.get((method, layers))
                yield Row(
                    label=f"budget {budget}, {method}, {layers} layers",
                    paper=paper,
                    overrides=(f"student.budget={budget}", f"student.layers={layers}", f"method={method}"),
                )


FIGURE_2 = Recipe(
    name="figure2",
    title="Figure 2: accuracy by depth, students of equal cost",
    measure="accuracy",
    shared=("dataset=cifar10", "student=table6", "schedule.retrain_student=false"),
    rows=tuple(_figure_2()),
    choices=(
        *_EVERYWHERE,
        *_CIFAR_CHOICES[:3],
        "Guided as in Table 6. Budgets are millions of multiplications for images of 32x32 pixels. The points of the "
        "paper's plot are not known: its words stand instead, mostly of 30M.",
    ),
    data=_CIFAR10,
    figure="depth",
)
ABLATIONS = Recipe(
    name="ablations",
    title="Section 3.1: the 19-layer student taught otherwise",
    measure="accuracy",
    shared=("dataset=cifar10", "student=fitnet4"),
    rows=tuple(
        Row(label=label, paper=paper, overrides=(f"method={method}",))
        for label, method, paper in (
            ("stage 1 with labels, stage 2 with labels", "labels_then_labels", "fails to learn"),
            ("stage 1 with labels, stage 2 KD", "labels_then_kd", "fails to learn"),
            ("labels at the guided layer and the labels, at once", "labels_with_labels", "fails to learn"),
            ("labels at the guided layer and KD, at once", "labels_with_kd", "fails to learn"),
            ("labels at every layer (DSN)", "dsn", 88.2),
            ("hints", "hints", 91.61),
        )
    ),
    choices=(*_EVERYWHERE, *_CIFAR_CHOICES, "Weights of the labels at hidden layers are not told: 1 each."),
    data=_CIFAR10,
)
RESIDUAL = Recipe(
    name="residual",
    title="Two stages beside later literature's one, residual networks",
    measure="accuracy",
    shared=("dataset=cifar100", "hint_layer=middle"),
    rows=tuple(
        Row(label=f"{names}, {method}", overrides=(*pair, f"method={method}"))
        for names, pair in (
            ("resnet56 to resnet20", ("teacher=resnet", "student=resnet")),
            ("wrn40-2 to wrn16-2", ("teacher=wrn", "student=wrn")),
        )
        for method in ("hints", "joint", "kd", "backprop")
    ),
    choices=(
        "Not in the paper: the pairs that later work compares on. hints is this paper's, joint what that work calls "
        "FitNet.",
    ),
    data=_CIFAR100,
    schedules=("modern",),
)
RECIPES = {
    recipe.name: recipe for recipe in (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, AFLW, FIGURE_2, ABLATIONS, RESIDUAL)
}
