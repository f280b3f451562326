"""Tests of the terminal: formatted numbers and durations; titles, tables and plans that fit its width."""

import io
import re

import pytest
from rich.console import Console

from fitnets.console.quantities import duration, in_unit, number, plural, size
from fitnets.console.terminal import Terminal, hanging
from fitnets.experiment import result_table, stage_progress
from fitnets.training.state import Epoch

HASHES = ["0123456789abcdef", "fedcba9876543210"]


def terminal(width: int, *, is_terminal: bool = True) -> tuple[Terminal, io.StringIO]:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=is_terminal, color_system=None, highlight=False, markup=False
    )
    return Terminal(console), file


class TestQuantities:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (0, "0"), (940, "940"), (29_900, "29.9 k"), (4_970_000, "4.97 M"), (1.2e9, "1.2 G"), (3.4e12, "3.4 T"),
            (999.6, "1 k"), (999_999, "1 M"), (-2500, "-2.5 k"), (0.0123, "0.0123"), (float("inf"), "inf"),
        ],
    )  # fmt: skip
    def test_a_number_has_one_prefix_and_three_digits(self, value, shown):
        assert number(value) == shown

    @pytest.mark.parametrize(
        ("count", "shown"), [(940, "940 B"), (456_952, "457 kB"), (172_498_200, "172 MB"), (1_234_500_000, "1.23 GB")]
    )
    def test_a_size_has_the_unit_that_fits(self, count, shown):
        assert size(count) == shown
        assert in_unit(count, "bytes") == shown

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (12, "12 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (9600, "2 h 40 min"), (3599.6, "1 h 00 min"),
            (5809 * 3600, "242 days 1 h"), (86_399.8, "1 day 0 h"), (90_000, "1 day 1 h"),
        ],
    )  # fmt: skip
    def test_a_duration_has_its_two_largest_units(self, seconds, shown):
        assert duration(seconds) == shown

    def test_one_of_a_thing_is_singular(self):
        assert (plural(1, "trial"), plural(0, "trial"), plural(1200, "trial")) == (
            "1 trial",
            "0 trials",
            "1,200 trials",
        )
        assert (plural(1, "study", "studies"), plural(2, "study", "studies")) == ("1 study", "2 studies")


class TestTables:
    title = "study depth_width-digits: front of 2 among 12 trials, chosen on validation, then evaluated on test"
    header = ("trial", "depth", "accuracy", "multiplications", "run")
    rows = (["1", "11", "98.33 % ± 0.23 %", "1.23 M", " ".join(HASHES)],)

    def test_a_title_is_not_wrapped_to_the_width_of_a_narrow_table(self):
        screen, file = terminal(120)
        screen.table(self.title, ["", "size"], [["a", "1 B"]])
        assert file.getvalue().splitlines()[0] == self.title

    @pytest.mark.parametrize("width", [40, 47, 60, 80, 100, 200])
    def test_no_hash_is_cut_and_no_line_is_too_long(self, width):
        screen, file = terminal(width)
        screen.table(self.title, self.header, self.rows)
        shown = file.getvalue()
        assert all(name in shown for name in (*HASHES, "multiplications", "98.33 %"))
        assert max(map(len, shown.splitlines())) <= width

    def test_without_a_terminal_every_row_is_one_line(self):
        screen, file = terminal(60, is_terminal=False)
        screen.table(self.title, [*self.header, "note"], [[*self.rows[0], "word " * 40]])
        lines = file.getvalue().splitlines()
        assert lines[0] == self.title
        assert any(" ".join(HASHES) in line and "98.33 % ± 0.23 %" in line for line in lines)
        assert screen.console.width >= 120


class TestPlan:
    lines = (
        "digits: 1137 training and 300 validation images",
        "  hint     student conv2 (8x2x2) learns teacher conv2 (64x4x4) through a 3x3 maxout convolution: 1 epoch",
        "  note     a-word-with-hyphens-in-it and some more words that lead to the place where the line has to end",
        f"  files    /a/long/path/{'x' * 90}/run/{HASHES[0]}",
    )

    def test_on_80_columns_words_stay_whole_and_text_continues_in_its_column(self):
        screen, file = terminal(80)
        screen.explain("\n".join(self.lines))
        shown = file.getvalue().splitlines()
        words = {word for line in self.lines for word in line.split()}
        assert {word for line in shown for word in line.split()} == words
        label = re.compile(r"  \w+ +|digits| {11}\S")
        assert all(label.match(line) for line in shown)
        assert [len(line) for line in shown if len(line) > 80] == [
            len(self.lines[3])
        ]  # only the path is longer than a line

    def test_without_a_terminal_lines_stay_whole(self):
        screen, file = terminal(80, is_terminal=False)
        screen.explain("\n".join(self.lines))
        assert file.getvalue().splitlines() == list(self.lines)

    def test_a_line_without_label_continues_under_its_indentation(self):
        assert hanging("  one two three four", 12) == "  one two\n  three four"

    def test_a_quiet_terminal_explains_nothing(self):
        screen, file = terminal(80)
        screen.quiet = True
        screen.explain("a plan")
        assert file.getvalue() == ""


def test_the_lines_of_epochs_are_aligned():
    screen, file = terminal(120, is_terminal=False)
    losses = [111.7, 4.64, 0.08712, 12345.6]
    for stage in ("student", "retrain_student"):
        with stage_progress.shown(screen, stage, 12, 1) as progress:
            for epoch, loss in enumerate(losses):
                progress.on_epoch(
                    Epoch(
                        stage=stage, epoch=3 * epoch, images=1, lr=0.1, train={"train_loss": loss},
                        valid={"valid_error": 10.0**-epoch, "valid_loss": loss}, best=epoch % 2 == 0,
                        seconds=4 * 6**epoch, validation_seconds=0.1,
                    )
                )  # fmt: skip
    lines = file.getvalue().splitlines()
    assert len(lines) == 2 * len(losses)
    for mark in ("epoch", "/12", "train_loss", "valid_error", " %", "valid_loss", " s"):
        assert len({line.rindex(mark) for line in lines}) == 1, mark


def test_the_table_of_a_run_has_readable_sizes():
    side = {
        "name": "big", "valid_accuracy": 0.9, "test_accuracy": 0.9, "parameters": 43_000_000,
        "multiplications": 999_999_999, "weights_bytes": 172_498_200,
    }  # fmt: skip
    latency = dict.fromkeys(("batch_1_p50_ms", "batch_128_p50_ms"), 1.0)
    result = {
        "teacher": side, "student": side, "method": "kd", "dataset": "digits", "stages": {},
        "timing": {"latency": {"teacher": latency, "student": latency}, "device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    shower, file = terminal(100)
    result_table.show(result, shower)
    assert "172 MB" in file.getvalue()
    assert "1 G" in file.getvalue()
    assert file.getvalue().splitlines()[0] == "kd on digits; latencies are medians on cpu, fp32"
