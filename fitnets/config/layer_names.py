"""Facts that follow from a network's configuration before it is built: layer names, groups, published hint layers."""

from collections.abc import Sequence

from fitnets.config import (
    Architecture,
    CustomNet,
    FastTeacher,
    FitNet,
    GroupedFitNet,
    MaxoutTeacher,
    ReluFitNet,
    ReluTeacher,
    Resnet,
    Table6,
    Thin,
    Wrn,
)

# Table 6 of the paper: (layers, millions of multiplications) -> units of each convolution, by group.
TABLE_6 = {
    (5, 30): [[64], [64], [64]],
    (7, 30): [[16, 32], [32, 64], [64]],
    (9, 30): [[16, 32], [32, 32, 32], [48, 64]],
    (11, 30): [[16, 16, 16], [32, 32, 32], [48, 48, 64]],
    (5, 107): [[128], [128], [128]],
    (7, 107): [[32, 64], [80, 80], [128]],
    (9, 107): [[32, 32], [64, 80, 80], [96, 128]],
    (11, 107): [[16, 32, 32], [48, 64, 80], [96, 96, 128]],
}
_TABLE_6_GUIDED = {5: "conv2", 7: "conv4", 9: "conv5", 11: "conv7"}


def groups(net: GroupedFitNet | Table6 | Thin) -> list[list[int]]:
    """Units of each convolution, one list for each group."""
    match net:
        case GroupedFitNet():
            return net.groups
        case Table6(layers=layers, budget=budget):
            return TABLE_6[layers, budget]
        case Thin(depth=depth, width=width):
            assert width is not None, "a budget is replaced by its width when the configuration is composed"
            lengths = [depth // 3 + (group >= 3 - depth % 3) for group in range(3)]  # the later groups are longer
            return [[(group + 1) * width] * length for group, length in enumerate(lengths)]


def residual_blocks(net: Resnet | Wrn) -> list[tuple[str, int, int]]:
    """(name, group counted from 0, stride) of every block, from group1_block1 to group3_blockN."""
    blocks = (net.depth - (4 if isinstance(net, Wrn) else 2)) // 6
    return [
        (f"group{group + 1}_block{block + 1}", group, 2 if group > 0 and block == 0 else 1)
        for group in range(3)
        for block in range(blocks)
    ]


def layer_names(net: Architecture) -> list[str]:
    """The names of a network's layers, in order. The last layer gives the logits; all others can be hint layers. A
    custom network counts as one layer here, because its layers are known only when it is built."""
    match net:
        case MaxoutTeacher() | FitNet():
            return [*_numbered("conv", net.convs), *_numbered("dense", net.dense), "softmax"]
        case Thin(depth=depth):
            return [*_numbered("conv", range(depth)), "softmax"]
        case GroupedFitNet() | Table6():
            return [*_numbered("conv", sum(groups(net), [])), *_numbered("dense", net.dense), "softmax"]
        case ReluTeacher() | ReluFitNet():
            return [*_numbered("conv", net.convs), "sigmoid"]
        case Resnet() | Wrn() | FastTeacher():
            return ["conv1", *_block_names(net), "softmax"]
        case CustomNet():
            return ["custom"]


def _block_names(net: Resnet | Wrn | FastTeacher) -> list[str]:
    if isinstance(net, FastTeacher):
        return _numbered("group", net.groups)
    return [name for name, _, _ in residual_blocks(net)]


def _numbered(kind: str, items: Sequence[object]) -> list[str]:
    return [f"{kind}{number}" for number in range(1, len(items) + 1)]


def middle(net: Architecture) -> str:
    """Name of the middle convolution; in a residual network, of the last block of the second group; in a fast teacher,
    of the middle group."""
    names = layer_names(net)
    if isinstance(net, Resnet | Wrn):
        return [name for name in names if name.startswith("group2")][-1]
    if isinstance(net, FastTeacher):
        return f"group{(len(net.groups) + 1) // 2}"
    convs = [name for name in names if name.startswith("conv")] or names
    return convs[(len(convs) - 1) // 2]


def published_hint(net: Architecture) -> str | None:
    """The hint layer that the paper gives for a teacher, or that takes its place in a fast teacher; None if there is
    none."""
    return net.hint if isinstance(net, MaxoutTeacher | ReluTeacher | FastTeacher) else None


def published_guided(net: Architecture) -> str | None:
    """The guided layer that the paper gives for a student; None if there is none."""
    match net:
        case FitNet() | GroupedFitNet() | ReluFitNet():
            return net.guided
        case Table6(layers=layers):
            return _TABLE_6_GUIDED[layers]
        case _:
            return None
