"""Options of networks, hint layers and regressors."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fitnets.config.options import AT_LEAST_0, AT_LEAST_1, POSITIVE, Bounds, added, bounded, location, neutral, option

Normalization: TypeAlias = Literal["none", "batch"]
"""`batch`: batch normalisation (Ioffe and Szegedy, 2015) of every linear piece of the hidden layers, before the maximum
or ReLU. There it can be folded into the weights, so that the exported network has the cost of one without it"""


# --- maxout networks ---


@option
class MaxoutConv:
    """A maxout convolution followed by max-pooling in ceil mode. Sizes are in pixels."""

    units: int = bounded(AT_LEAST_1)
    kernel: int = bounded(AT_LEAST_1)
    pad: int = bounded(AT_LEAST_0, default=0)
    pieces: int = bounded(AT_LEAST_1, default=2)
    pool: int | None = bounded(AT_LEAST_1, default=None)
    """window of the pooling; None: no pooling"""
    stride: int = bounded(AT_LEAST_1, default=2)
    """stride of the pooling"""


@option
class MaxoutDense:
    units: int = bounded(AT_LEAST_1)
    pieces: int = bounded(AT_LEAST_1)


@option
class MaxoutTeacher:
    """Maxout convolutions conv1, conv2, ..., then maxout dense layers dense1, ..., then the softmax layer."""

    name: str = neutral()
    convs: list[MaxoutConv]
    dense: list[MaxoutDense] = field(default_factory=list)
    tied_biases: bool
    """True: one bias for each channel; False: one for each channel and position"""
    hint: str = neutral()
    """the published hint layer, for `hint_layer=paper`. The hash contains the resulting pair instead"""
    seed: int = 0


@option
class FitNet:
    """A student of the paper, built like a `MaxoutTeacher`."""

    name: str = neutral()
    convs: list[MaxoutConv]
    dense: list[MaxoutDense] = field(default_factory=list)
    tied_biases: bool
    normalization: Normalization = added(default="none")
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


@option
class GroupedFitNet:
    """A student as in Table 7 of the paper: groups of 3x3 maxout convolutions with pad 1 and tied biases. A 2x2 pooling
    follows each group except the last; pooling of the whole map (where it is square) follows the last."""

    name: str = neutral()
    groups: list[list[int]] = bounded(AT_LEAST_1)
    """units of each convolution, one list for each group"""
    pieces: int = bounded(AT_LEAST_1, default=2)
    dense: list[MaxoutDense] = field(default_factory=list)
    normalization: Normalization = added(default="none")
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


@option
class Table6:
    """The depth experiment: eight students of equal cost and different depth, built like a `GroupedFitNet`."""

    name: str = neutral(default="table6")
    layers: Literal[5, 7, 9, 11]
    """number of layers: convolutions, the dense layer and the softmax layer"""
    budget: Literal[30, 107]
    """multiplications, in millions"""
    dense: list[MaxoutDense] = field(default_factory=list)
    normalization: Normalization = added(default="none")


@option
class Thin:
    """The parametric family of thin deep students, built like a `GroupedFitNet`: `depth` convolutions in three groups
    of `width`, 2 x `width` and 3 x `width` units, without dense layers."""

    name: str = neutral(default="thin")
    depth: int = bounded(AT_LEAST_1)
    width: int | None = bounded(AT_LEAST_1)
    """None: the largest width within `budget`"""
    budget: float | None = added(default=None, bounds=POSITIVE)
    """multiplications, in millions, counted as the paper counts them; None: `width` is set"""
    pieces: int = bounded(AT_LEAST_1, default=2)
    normalization: Normalization = added(default="none")


# --- ReLU networks ---


@option
class ReluConv:
    """A valid convolution with ReLU, followed by max-pooling whose stride equals its window. Sizes are in pixels."""

    units: int = bounded(AT_LEAST_1)
    kernel: int = bounded(AT_LEAST_1)
    pool: int | None = bounded(AT_LEAST_1, default=None)
    """window of the pooling; None: no pooling"""


@option
class ReluTeacher:
    """The paper's teacher for AFLW: ReLU convolutions conv1, conv2, ... and a sigmoid layer, for two classes."""

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
    normalization: Normalization = added(default="none")
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


NormalizableStudent: TypeAlias = FitNet | GroupedFitNet | Table6 | Thin | ReluFitNet
"""the students with the option `normalization`"""


# --- residual networks ---


@option
class Resnet:
    """The residual networks of He et al. (2016) for small images. conv1 is followed by three groups of (depth - 2) / 6
    blocks (group1_block1, ...) of 16, 32 and 64 x `width` channels, then by average pooling and softmax."""

    name: str = neutral(default="resnet")
    depth: int = bounded(AT_LEAST_1)
    """6 n + 2"""
    width: int = bounded(AT_LEAST_1)
    """factor on the channels of the groups"""
    stem: int = bounded(AT_LEAST_1)
    """channels of conv1"""
    shortcut: Literal["conv", "pad"]
    """shortcut where the shape changes. `conv`: a 1x1 convolution with batch normalisation, as in the distillation
    literature; `pad`: the subsampled map padded with channels of zeros, as in He et al."""


@option
class Wrn:
    """The wide residual network WRN-depth-width (Zagoruyko and Komodakis, 2016), of pre-activation blocks, without
    dropout."""

    name: str = neutral(default="wrn")
    depth: int = bounded(AT_LEAST_1)
    """6 n + 4"""
    width: int = bounded(AT_LEAST_1)
    """k: factor on the channels of the groups"""


@option
class ResnetTeacher(Resnet):
    seed: int = 0


@option
class WrnTeacher(Wrn):
    seed: int = 0


# --- a network for short training ---


@option
class FastTeacher:
    """A small network that learns quickly: conv1, then groups of two 3x3 convolutions with batch normalisation and
    ReLU, each with a shortcut around its second convolution, then average pooling and softmax. Each group halves the
    map after its first convolution. conv1 whitens patches of 2x2 pixels with weights that follow from the training
    images and are not trained (Jordan, 2024). Patches of larger images than 32x32 are larger, so that its map is 32x32
    or smaller."""

    name: str = neutral(default="fast")
    stem: int = bounded(Bounds(2))
    """channels of conv1, at most two for each value of a patch"""
    groups: list[int] = bounded(AT_LEAST_1)
    """channels of group1, group2, ..."""
    hint: str = neutral()
    """the hint layer for `hint_layer=paper`, which pairs it with the student's published guided layer"""
    seed: int = 0


# --- custom networks ---


@dataclass(kw_only=True, slots=True)
class CustomNet:
    """Any `torch.nn.Module` that maps images to logits, made by a function or class in the user's files or in a
    library, with or without a file of weights. It is used unchanged: with its own dropout and its own initial
    weights."""

    name: str = neutral(default="custom")
    target: str
    """import path of the function or class that makes the module: `package.module.factory`"""
    args: Any = None
    """keyword arguments of that function or class; None: no arguments"""
    weights: str | None = location(default=None)
    """file of weights, from safetensors or `torch.save(model.state_dict(), ...)`; None: the weights that the module is
    made with"""
    logits: str | None = None
    """key, index or attribute of the logits in the module's output; None: the output itself if it is a tensor, else its
    entry `logits`, else the first entry of a tuple"""
    channels: int | None = bounded(AT_LEAST_1, default=None)
    """number of channels that a grey image is repeated to; None: images keep their channels"""
    size: int | None = bounded(Bounds(8), default=None)
    """side that images are resized to, in pixels; None: images keep their size"""
    mean: list[float] | None = None
    """mean of each channel of images in [0, 1], which is subtracted; None: the module gets images as
    `dataset.preprocessing` makes them"""
    std: list[float] | None = None
    """standard deviation of each channel, by which the difference is divided; set if and only if `mean` is set"""


@option
class CustomTeacher(CustomNet):
    """A custom network as a ready teacher, which is not trained."""

    outputs: list[int] | None = added(default=None, bounds=AT_LEAST_0)
    """the logits that stand for the classes of the data set, in the order of its classes; None: all, in their order"""


@option
class CustomStudent(CustomNet):
    """A custom network as the student. Without a file of weights, its initial weights are drawn with `seed`."""


@option
class LibraryTeacher(CustomTeacher):
    """A published model of a library as a ready teacher. Its factory, arguments, mean and standard deviation are filled
    in from the model's own configuration when the command is read."""

    library: Literal["timm", "transformers"]
    model: str
    """the model's name in the library, or for transformers also a folder"""
    pretrained: bool
    """start from the published weights, unless `weights` names a file"""


@option
class LibraryStudent(CustomStudent):
    """A model of a library as the student, filled in like a `LibraryTeacher`."""

    library: Literal["timm", "transformers"]
    model: str
    """the model's name in the library, or for transformers also a folder"""
    pretrained: bool
    """start from the published weights, unless `weights` names a file"""


# --- no teacher, or earlier runs as teachers ---


@option
class NoTeacher:
    """No teacher at all, for methods that learn from the labels alone."""

    name: Literal["none"] = neutral(default="none")


@option
class RunTeacher:
    """The network of a `run/<hash>` or `teacher/<hash>` folder: the student of an earlier run, or a trained teacher."""

    name: str = neutral(default="run")
    path: str = location()
    """path of the folder. The hash contains the network and a digest of its weights instead of the path"""


@option
class Ensemble:
    """Several networks of earlier runs. Their softened outputs are averaged; hints come from one of them."""

    name: str = neutral(default="ensemble")
    members: list[str] = location()
    """folders as in `RunTeacher.path`"""
    hint_member: str = location()
    """folder of the member that the hints come from, one of `members`"""


Architecture: TypeAlias = (
    MaxoutTeacher
    | ReluTeacher
    | FitNet
    | GroupedFitNet
    | Table6
    | Thin
    | ReluFitNet
    | Resnet
    | Wrn
    | FastTeacher
    | CustomNet
)
EarlierRunTeacher: TypeAlias = RunTeacher | Ensemble
PretrainedTeacher: TypeAlias = RunTeacher | Ensemble | CustomTeacher | LibraryTeacher
"""a teacher that needs no training"""
Teacher: TypeAlias = (
    MaxoutTeacher
    | ReluTeacher
    | ResnetTeacher
    | WrnTeacher
    | FastTeacher
    | RunTeacher
    | Ensemble
    | CustomTeacher
    | LibraryTeacher
    | NoTeacher
)
Student: TypeAlias = FitNet | GroupedFitNet | Table6 | Thin | ReluFitNet | Resnet | Wrn | CustomStudent | LibraryStudent


# --- hint layer, regressor ---


@option
class PaperPair:
    """The pair of layers that the paper gives for this teacher and this student."""

    name: Literal["paper"] = neutral(default="paper")


@option
class MiddlePair:
    """The middle convolution of the teacher and of the student; in a residual network the end of the second group. A
    custom network has several candidates: outputs of blocks near half of its multiplications
    (`models.custom.middle.candidates`). The pair whose maps are most alike in size is chosen
    (`models.layer_pairs.resolve_pair`)."""

    name: Literal["middle"] = neutral(default="middle")


@option
class NamedPair:
    """The layers with these names. `fitnets layers` lists the names."""

    name: Literal["named"] = neutral(default="named")
    teacher: str
    student: str


@option
class LayerPair:
    """One of several pairs of layers."""

    teacher: str
    """the hint layer"""
    student: str
    """the guided layer"""
    regressor: Literal["auto", "conv", "fc", "pointwise", "identity"] | None = None
    """the regressor of this pair; None: that of the group `regressor`"""
    weight: float = bounded(AT_LEAST_0, default=1.0)
    """factor on the loss of this pair"""


@option
class SeveralPairs:
    """Several pairs of layers by name, each with a regressor of its own. The losses of the pairs are added, each
    multiplied by its weight."""

    name: Literal["pairs"] = neutral(default="pairs")
    pairs: dict[str, LayerPair]


@option
class NoPair:
    """No pair of layers, for methods without hints."""

    name: Literal["none"] = neutral(default="none")


@option
class AutoRegressor:
    """The regressor follows from the two shapes. Equal shapes: identity, as in the released code. Two maps: a
    convolution. Tokens on one side: pointwise. Otherwise: fully connected."""

    name: Literal["auto"] = neutral(default="auto")


@option
class ConvRegressor:
    """A convolution with the hint layer's non-linearity. The sizes of the two maps determine its kernel:
    guided + 2 pad - stride (hint - 1). With stride 1 and no pad this is the paper's rule (section 2.2)."""

    name: Literal["conv"] = neutral(default="conv")
    pad: int | None = bounded(AT_LEAST_0, default=None)
    """zeros on every side, in pixels. None: 0 where the guided map is at least as large as the hint map, else their
    difference in size, which turns the paper's valid convolution into a full one with the same kernel"""
    stride: int = bounded(AT_LEAST_1, default=1)


@option
class FcRegressor:
    """A fully connected layer with the hint layer's non-linearity."""

    name: Literal["fc"] = neutral(default="fc")


@option
class PointwiseRegressor:
    """The guided map or tokens are resized to the hint's grid; a linear map with the hint layer's non-linearity then
    acts on the channels of each position. Tokens (T, D) are a square grid, with or without class tokens before it. The
    hint's class tokens are regressed from the guided side's first class token or, if it has none, from its mean."""

    name: Literal["pointwise"] = neutral(default="pointwise")


@option
class IdentityRegressor:
    """No regressor: the shapes must be equal."""

    name: Literal["identity"] = neutral(default="identity")


HintLayer: TypeAlias = PaperPair | MiddlePair | NamedPair | SeveralPairs | NoPair
Regressor: TypeAlias = AutoRegressor | ConvRegressor | FcRegressor | PointwiseRegressor | IdentityRegressor
