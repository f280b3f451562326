"""`fitnets layers`: the layers of both networks, and suggested pairs of them."""

import json

from fitnets.composition import loading
from fitnets.models import costs, layer_pairs

CIFAR = ("dataset=cifar10", "student=fitnet1")


def test_rows_add_up_to_the_networks_cost():
    config = loading.load([*CIFAR])
    for side, network in zip(("teacher", "student"), layer_pairs.networks(config), strict=True):
        rows = layer_pairs.layer_rows(network, (3, 32, 32))
        assert [row.name for row in rows] == list(network.layers)
        assert rows[-1].multiplications == costs.costs_by_network(config)[side]["multiplications"]
        assert [row.multiplications for row in rows] == sorted(row.multiplications for row in rows)
        assert rows[-1].depth == 1
        assert rows[-1].shape == (10,)


def test_the_papers_pair_and_the_middle_one_are_suggested():
    paper, *others = layer_pairs.suggest_pairs(loading.load([*CIFAR]))
    assert (paper.source, paper.hint, paper.guided) == ("paper", "conv2", "conv6")
    assert "convolution" in paper.regressor
    assert {pair.source for pair in others} <= {"middle"}


def test_networks_without_a_published_pair_get_the_middle_one():
    words = ["dataset=cifar10", "teacher=resnet", "teacher.depth=20", "student=resnet", "student.depth=8", "method=kd"]
    (middle,) = layer_pairs.suggest_pairs(loading.load(words))
    assert (middle.source, middle.hint, middle.guided) == ("middle", "group2_block3", "group2_block1")
    assert middle.regressor == "no regressor"


def test_the_command_lists_layers_and_pairs(fitnets):
    code, out, _ = fitnets("layers", *CIFAR)
    assert code == 0
    assert all(word in out for word in ("conv1", "192x", "softmax", "suggested pairs", "multiplications up to it"))
    listed = json.loads(fitnets("layers", *CIFAR, "--json")[1])
    assert set(listed) == {"teacher", "student", "pairs", "several_pairs"}


def test_a_pair_for_each_size_of_map_is_suggested(fitnets):
    words = ["dataset=cifar10", "teacher=resnet", "teacher.depth=20", "student=resnet", "student.depth=8"]
    listed = json.loads(fitnets("layers", *words, "--json")[1])["several_pairs"]
    assert listed == {
        f"pair{group}": {"teacher": f"group{group}_block3", "student": f"group{group}_block1"} for group in (1, 2, 3)
    }
    out = fitnets("layers", *words)[1]
    (override,) = [line.split("'")[1] for line in out.splitlines() if "+hint_layer.pairs=" in line]
    assert set(loading.load([*words, "method=attention", "hint_layer=pairs", override]).hint_layer.pairs) == set(listed)


def test_the_command_needs_no_pair(fitnets):
    code, out, _ = fitnets("layers", "dataset=cifar10", "teacher=resnet", "student=thin")
    assert (code, "group2" in out) == (0, True)


def test_the_users_pair_is_listed_and_a_wrong_name_is_an_error(fitnets):
    named = ("hint_layer=named", "hint_layer.teacher=conv1", "hint_layer.student=conv3")
    assert "named" in fitnets("layers", *CIFAR, *named)[1]
    code, _, err = fitnets("layers", *CIFAR, *named[:2], "hint_layer.student=conf3")
    assert code == 1
    assert "did you mean conv3" in err


def test_a_regressor_that_does_not_fit_is_listed_with_the_reason(fitnets):
    code, out, _ = fitnets("layers", *CIFAR, "regressor=identity")
    assert code == 0
    assert "regressor=identity" in out
