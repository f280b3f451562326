import json

import pytest

from fitnets import build, cli, compose, costs


def cost_of(side: str, *overrides: str) -> costs.Cost:
    config = compose.load(list(overrides))
    dataset = config.dataset
    network = build.network(getattr(config, side), dataset, side)
    return costs.cost(network, (dataset.channels, dataset.height, dataset.width))


def test_mnist_counts_are_the_papers():
    assert cost_of("teacher", "dataset=mnist").paper_parameters == 360_816
    assert cost_of("student", "dataset=mnist").paper_parameters == 29_944


def test_four_pieces_as_trained_count_two_in_the_papers_convention():
    four = ("dataset=mnist", "student.convs.4.pieces=4", "student.convs.5.pieces=4")
    assert cost_of("student", *four).paper_parameters == 29_944
    without_biases = 35_992  # paper.md section 4
    biases = 32 * (24**2 + 22**2 + 12**2 + 10**2) + 48 * (8**2 + 6**2) + 10
    assert cost_of("student", *four).parameters == without_biases + biases


def test_multiplications_by_hand():
    """conv: pieces x kernel^2 x channels in x units x positions before pooling; softmax: inputs x classes."""
    expected = 2 * 9 * 1 * 32 * 64 + 2 * 9 * 32 * 64 * 64 + 2 * 9 * 64 * 64 * 16 + 64 * 2 * 2 * 10
    assert cost_of("teacher").multiplications == expected


def test_the_digits_student_has_at_most_a_third_of_the_teachers_multiplications():
    assert 3 * cost_of("student").multiplications <= cost_of("teacher").multiplications


class TestCommand:
    def call(self, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
        monkeypatch.setattr("sys.argv", ["fitnets", *words])
        return cli.main()

    def test_json(self, monkeypatch, capsys):
        assert self.call(monkeypatch, "cost", "--json", "dataset=mnist") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["teacher"]["paper_parameters"] == 360_816
        assert told["student"]["paper_parameters"] == 29_944

    def test_table(self, monkeypatch, capsys):
        assert self.call(monkeypatch, "cost", "dataset=mnist") == 0
        out = capsys.readouterr().out
        assert "360,816" in out
        assert "29,944" in out

    def test_flags_may_stand_anywhere(self, monkeypatch, capsys):
        assert self.call(monkeypatch, "cost", "student=thin", "--json", "student.width=16") == 0
        assert json.loads(capsys.readouterr().out)["student"]["name"] == "thin"

    def test_mistakes(self, monkeypatch, capsys):
        assert self.call(monkeypatch, "cost", "student=fitnet_mnst") == 1
        assert "did you mean fitnet_mnist?" in capsys.readouterr().err
        assert self.call(monkeypatch, "costs") == 2
        assert "commands: cost" in capsys.readouterr().err
        assert self.call(monkeypatch) == 2
        assert self.call(monkeypatch, "--help") == 0
