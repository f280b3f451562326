"""What is trained."""

from typing import Literal, TypeAlias

from fitnets.config.options import neutral, option


@option
class Hints:
    """The paper's two stages: hints up to the guided layer, then knowledge distillation of the whole student."""

    name: Literal["hints"] = neutral(default="hints")


@option
class Distill:
    """Knowledge distillation alone (stage 2 from a fresh student)."""

    name: Literal["kd"] = neutral(default="kd")


@option
class Backprop:
    """Cross-entropy with the labels alone: no teacher in training."""

    name: Literal["backprop"] = neutral(default="backprop")


@option
class Mimic:
    """Regression of the teacher's logits (Ba and Caruana, 2014): half the squared distance, no labels. Those of an
    ensemble are the mean of its members' logits."""

    name: Literal["mimic"] = neutral(default="mimic")


@option
class DeeplySupervised:
    """Deeply-supervised nets (Lee et al., 2015): the labels at the output and, through a softmax layer of its own, at
    every hidden layer, in one stage."""

    name: Literal["dsn"] = neutral(default="dsn")
    weight: float
    """of each hidden layer's loss"""


@option
class LabelHints:
    """The ablations of section 3.1: instead of a teacher's hint the guided layer learns the labels, through a softmax
    layer of its own."""

    name: str = neutral()
    staged: bool
    """True: first the student up to the guided layer, then all of it; False: the sum of both losses, in one stage"""
    whole: Literal["labels", "kd"]
    """what the whole student learns: the labels, or Eq. 2"""


@option
class Joint:
    """The one-stage "FitNet" of later literature: cross-entropy plus `hint_weight` times the mean squared error between
    regressor and hint."""

    name: Literal["joint"] = neutral(default="joint")
    hint_weight: float
    distill: bool
    """add lambda H(P_T^tau, P_S^tau) of Eq. 2"""


Method: TypeAlias = Hints | Distill | Backprop | Mimic | DeeplySupervised | LabelHints | Joint
