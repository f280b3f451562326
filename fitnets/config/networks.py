"""Networks, hint layers and regressors."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fitnets.config.options import added, location, neutral, option

# --- maxout networks ---


@option
class MaxoutConv:
    """A maxout convolution, then max-pooling in ceil mode. Sizes in pixels."""

    units: int
    kernel: int
    pad: int = 0
    pieces: int = 2
    pool: int | None = None
    """window of the pooling; None: no pooling"""
    stride: int = 2
    """stride of the pooling"""


@option
class MaxoutDense:
    units: int
    pieces: int


@option
class MaxoutTeacher:
    """Maxout convolutions conv1, conv2, ..., maxout dense layers dense1, ..., and the softmax layer."""

    name: str = neutral()
    convs: list[MaxoutConv]
    dense: list[MaxoutDense] = field(default_factory=list)
    tied_biases: bool
    """one bias a channel; untied: one a channel and position"""
    hint: str = neutral()
    """the published hint layer, for `hint_layer=paper`: the pair is hashed, not where it comes from"""
    seed: int = 0


@option
class FitNet:
    """A student of the paper, built like a `MaxoutTeacher`."""

    name: str = neutral()
    convs: list[MaxoutConv]
    dense: list[MaxoutDense] = field(default_factory=list)
    tied_biases: bool
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


@option
class GroupedFitNet:
    """A student as in Table 7 of the paper: groups of 3x3 maxout convolutions with pad 1 and tied biases; 2x2 pooling
    after each group but the last, pooling of the whole map (where it is square) after the last."""

    name: str = neutral()
    groups: list[list[int]]
    """units of each convolution, by group"""
    pieces: int = 2
    dense: list[MaxoutDense] = field(default_factory=list)
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


@option
class Table6:
    """The depth experiment: eight students of equal cost and different depth, built like a `GroupedFitNet`."""

    name: str = neutral(default="table6")
    layers: Literal[5, 7, 9, 11]
    """convolutions, the dense layer and the softmax layer"""
    budget: Literal[30, 107]
    """multiplications, in millions"""
    dense: list[MaxoutDense] = field(default_factory=list)


@option
class Thin:
    """The parametric family of thin deep students, built like a `GroupedFitNet`: `depth` convolutions in three groups
    of `width`, 2 x `width` and 3 x `width` units, without dense layers."""

    name: str = neutral(default="thin")
    depth: int
    width: int | None
    """None: the largest within `budget`, which takes its place"""
    budget: float | None = added(default=None)
    """multiplications, in millions, counted as the paper does"""
    pieces: int = 2


# --- ReLU networks ---


@option
class ReluConv:
    """A valid convolution with ReLU, then max-pooling whose stride is its window. Sizes in pixels."""

    units: int
    kernel: int
    pool: int | None = None
    """window of the pooling; None: no pooling"""


@option
class ReluTeacher:
    """The paper's AFLW teacher: ReLU convolutions conv1, conv2, ... and a sigmoid layer, for two classes."""

    name: str = neutral()
    convs: list[ReluConv]
    hint: str = neutral()
    """the published hint layer, for `hint_layer=paper`"""
    seed: int = 0


@option
class ReluFitNet:
    """A student for AFLW, built like a `ReluTeacher`."""

    name: str = neutral()
    convs: list[ReluConv]
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


# --- residual networks ---


@option
class Resnet:
    """The residual networks of He et al. (2016) for small images: conv1, then three groups of (depth - 2) / 6 blocks
    (group1_block1, ...) of 16, 32 and 64 x `width` channels, average pooling, softmax."""

    name: str = neutral(default="resnet")
    depth: int
    """6 n + 2"""
    width: int
    """factor on the channels of the groups"""
    stem: int
    """channels of conv1"""
    shortcut: Literal["conv", "pad"]
    """where the shape changes: a 1x1 convolution with batch normalisation, as the distillation literature has it, or
    the subsampled map padded with channels of zeros, as He et al. have it"""


@option
class Wrn:
    """Wide residual networks (Zagoruyko and Komodakis, 2016), WRN-depth-width: pre-activation blocks, no dropout."""

    name: str = neutral(default="wrn")
    depth: int
    """6 n + 4"""
    width: int
    """k: factor on the channels of the groups"""


@option
class ResnetTeacher(Resnet):
    seed: int = 0


@option
class WrnTeacher(Wrn):
    seed: int = 0


# --- the user's own ---


@dataclass(kw_only=True, slots=True)
class CustomNet:
    """Any `torch.nn.Module` that answers images with logits: a function or class of the user's own files or of a
    library, and weights. It is taken as it is, with its own dropout, and starts with the weights that it comes with."""

    name: str = neutral(default="custom")
    target: str
    """import path of what makes the module: `package.module.factory`"""
    args: Any = None
    """what it is called with, by name; None: nothing"""
    weights: str | None = location(default=None)
    """safetensors file, or one of `torch.save(model.state_dict(), ...)`; None: those that the module is made with"""
    logits: str | None = None
    """key, index or attribute of the logits in what the module answers; None: the tensor, what is called `logits`, or
    the first of a tuple"""
    channels: int | None = None
    """what a grey image is repeated to; None: images keep their channels"""
    size: int | None = None
    """side that images are resized to, in pixels; None: they are not"""
    mean: list[float] | None = None
    """of each channel of images in [0, 1], subtracted; None: images come as `dataset.preprocessing` makes them"""
    std: list[float] | None = None
    """of each channel, then divided by"""


@option
class CustomTeacher(CustomNet):
    """Taken as it is, not trained."""


@option
class CustomStudent(CustomNet):
    """Its weights, where they are not read from a file, are drawn with `seed`."""


# --- no teacher, or earlier runs as teachers ---


@option
class NoTeacher:
    """No teacher at all, for methods that learn from the labels alone."""

    name: Literal["none"] = neutral(default="none")


@option
class RunTeacher:
    """The student of an earlier run, or a trained teacher: the network in a `run/<hash>` or `teacher/<hash>` folder."""

    name: str = neutral(default="run")
    path: str = location()
    """that folder; what is hashed is the network and a digest of its weights"""


@option
class Ensemble:
    """Several earlier networks: their softened outputs are averaged, hints come from one of them."""

    name: str = neutral(default="ensemble")
    members: list[str] = location()
    """folders as for `RunTeacher`"""
    hint_member: str = location()
    """the one of these folders whose network gives the hints"""


Architecture: TypeAlias = (
    MaxoutTeacher | ReluTeacher | FitNet | GroupedFitNet | Table6 | Thin | ReluFitNet | Resnet | Wrn | CustomNet
)
EarlierRunTeacher: TypeAlias = RunTeacher | Ensemble
PretrainedTeacher: TypeAlias = RunTeacher | Ensemble | CustomTeacher
"""one that needs no training"""
Teacher: TypeAlias = (
    MaxoutTeacher | ReluTeacher | ResnetTeacher | WrnTeacher | RunTeacher | Ensemble | CustomTeacher | NoTeacher
)
Student: TypeAlias = FitNet | GroupedFitNet | Table6 | Thin | ReluFitNet | Resnet | Wrn | CustomStudent


# --- hint layer, regressor ---


@option
class PaperPair:
    """The published pair of this teacher and this student."""

    name: Literal["paper"] = neutral(default="paper")


@option
class MiddlePair:
    """The middle convolution of the teacher and of the student; of a residual network the end of its second group. A
    custom network has several candidates, outputs of blocks near half of its multiplications
    (`custom.middle.candidates`): the pair is taken whose maps are most alike in size (`pairs.resolved`)."""

    name: Literal["middle"] = neutral(default="middle")


@option
class NamedPair:
    name: Literal["named"] = neutral(default="named")
    teacher: str
    student: str


@option
class NoPair:
    """For methods without hints."""

    name: Literal["none"] = neutral(default="none")


@option
class AutoRegressor:
    """From the two shapes: equal, identity (as the released code does); two maps, a convolution; tokens on a side,
    pointwise; else fully connected."""

    name: Literal["auto"] = neutral(default="auto")


@option
class ConvRegressor:
    """A convolution with the hint layer's non-linearity, its kernel following from the sizes of the two maps:
    guided + 2 pad - stride (hint - 1). With stride 1 and no pad that is the paper's rule (section 2.2)."""

    name: Literal["conv"] = neutral(default="conv")
    pad: int | None = None
    """zeros on every side, in pixels; None: none where the guided map is at least as large as the hint map, else their
    difference in size, which makes the paper's valid convolution a full one of the same kernel"""
    stride: int = 1


@option
class FcRegressor:
    """Fully connected, with the hint layer's non-linearity."""

    name: Literal["fc"] = neutral(default="fc")


@option
class PointwiseRegressor:
    """The guided map or tokens resized to the hint's grid, then a linear map of each position's channels with the hint
    layer's non-linearity. Tokens (T, D) are a square grid, and class tokens before it that come from those of the other
    side or, where it has none, from its mean."""

    name: Literal["pointwise"] = neutral(default="pointwise")


@option
class IdentityRegressor:
    """No regressor: the shapes must be equal."""

    name: Literal["identity"] = neutral(default="identity")


HintLayer: TypeAlias = PaperPair | MiddlePair | NamedPair | NoPair
Regressor: TypeAlias = AutoRegressor | ConvRegressor | FcRegressor | PointwiseRegressor | IdentityRegressor
