"""Options of `method`: the stages and losses that a student is trained with."""

from typing import Literal, TypeAlias

from fitnets.config.options import AT_LEAST_0, bounded, neutral, option


@option
class Hints:
    """The paper's two stages: hints up to the guided layer, then knowledge distillation of the whole student."""

    name: Literal["hints"] = neutral(default="hints")


@option
class Distill:
    """Knowledge distillation alone: stage 2 from freshly drawn weights."""

    name: Literal["kd"] = neutral(default="kd")


@option
class Backprop:
    """Cross-entropy with the labels alone. Training uses no teacher."""

    name: Literal["backprop"] = neutral(default="backprop")


@option
class Mimic:
    """Regression of the teacher's logits without labels (Ba and Caruana, 2014): half the squared distance. The logits
    of an ensemble are the mean of its members' logits."""

    name: Literal["mimic"] = neutral(default="mimic")


@option
class DeeplySupervised:
    """Deeply-supervised nets (Lee et al., 2015), in one stage: every hidden layer learns the labels through a softmax
    layer of its own, and so does the output."""

    name: Literal["dsn"] = neutral(default="dsn")
    weight: float = bounded(AT_LEAST_0)
    """factor on the loss of each hidden layer"""


@option
class LabelHints:
    """The ablations of section 3.1: the guided layer learns the labels, through a softmax layer of its own, instead of
    a teacher's hint."""

    name: str = neutral()
    staged: bool
    """True: first the student up to the guided layer, then all of it; False: the sum of both losses, in one stage"""
    whole: Literal["labels", "kd"]
    """loss of the whole student: `labels`: cross-entropy; `kd`: Eq. 2"""


@option
class Joint:
    """The one-stage "FitNet" of later literature: cross-entropy plus `hint_weight` times the mean squared error between
    regressor and hint."""

    name: Literal["joint"] = neutral(default="joint")
    hint_weight: float = bounded(AT_LEAST_0)
    distill: bool
    """add lambda H(P_T^tau, P_S^tau) of Eq. 2"""


Method: TypeAlias = Hints | Distill | Backprop | Mimic | DeeplySupervised | LabelHints | Joint
