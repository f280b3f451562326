"""The paper's tables beside ours, made from a folder with known results."""

import json

import pytest
import scipy.stats

from fitnets.reporting import reproduced
from support import made_store as made


def candidate(method, *hashes):
    return {
        "method": method,
        "command": f"python run.py -m method={method} seed=0,1,2",
        "runs": dict(enumerate(hashes)),
    }


def row(label, published, side="student", **cells):
    sizes = {"parameters": "~30K", "multiplications": ""}
    return {"label": label, "paper": published, **sizes, "side": side, "cells": cells}


@pytest.fixture
def folder(tmp_path):
    """A folder with three seeds of two methods for schedule=paper, and one seed for schedule=modern.

    Errors on test are one point higher than on validation, except for schedule=modern, where validation and test prefer
    different methods.
    """
    for method, accuracies in (("backprop", [97.0, 97.5, 98.0]), ("hints", [99.0, 99.2, 99.4])):
        for seed, accuracy in enumerate(accuracies):
            shared = {"schedule": "paper", "method": method, "hashes": made.hashes(method=method)}
            made.write_run(
                tmp_path, f"{method}{seed}", student=made.side("thin", accuracy, 5_300_000, 29_944), **shared
            )
    for method, valid, test in (("kd", 99.5, 99.0), ("hints", 99.3, 99.2)):
        side = made.side("thin", valid, 5_300_000, 29_944) | {"test_error": 1 - test / 100}
        hashes = made.hashes(setting="modern", method=method)
        made.write_run(tmp_path, f"modern-{method}-0", schedule="modern", method=method, student=side, hashes=hashes)
    spec = {
        "name": "table4",
        "title": "Table 4: misclassification",
        "dataset": "mnist",
        "measure": "error",
        "split": "test",
        "figure": None,
        "schedules": ["paper", "modern"],
        "scale": "epochs x 0.1",
        "epochs": {"paper": "teacher 50 of 500", "modern": "teacher 6 of 60"},
        "changes": ["dataset.seed=3"],
        "notes": ["Kernels are the recipe's."],
        "paper_dataset": "mnist",
        "rows": [
            row("teacher", 0.55, "teacher", paper=[candidate("hints", "hints0", "hints1", "hints2")]),
            row(
                "FitNet, backprop",
                1.9,
                paper=[candidate("backprop", "backprop0", "backprop1", "backprop2")],
                modern=[candidate("backprop", "gone0", "gone1")],
            ),
            row(
                "FitNet, hints",
                0.51,
                paper=[candidate("hints", "hints0", "hints1", "hints2", "gone3")],
                modern=[candidate("hints", "modern-hints-0"), candidate("kd", "modern-kd-0")],
            ),
            row("Maxout (published)", 0.45),
        ],
    }
    (tmp_path / "table.json").write_text(json.dumps(spec))
    return tmp_path


def lines(folder):
    """The lines of the table, without the list of commands, by label."""
    table = reproduced.document(folder).partition("<details>")[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}


def test_every_number_has_its_interval_and_count_or_says_that_there_is_none(folder):
    table = lines(folder)
    half_width = scipy.stats.t.ppf(0.975, 2) * 0.5 / 3**0.5  # errors of 4, 3.5 and 3 % on test
    assert f"| 1.90 (no interval) | 3.50 ± {half_width:.2f} (n = 3) | not run |" in table["FitNet, backprop"]
    assert "| 0.55 (no interval) | 2.00 (n = 1, no interval) |" in table["teacher"]
    assert "1.80 ± 0.50 (n = 3 of 4)" in table["FitNet, hints"]
    assert table["Maxout (published)"].endswith("| 0.45 (no interval) |  |  |")


def test_methods_are_chosen_on_validation(folder):
    assert "1.00 (n = 1, no interval); kd, chosen on validation before hints" in lines(folder)["FitNet, hints"]


def test_costs_are_shown_as_published_and_as_counted(folder):
    assert "| ~30K / 29.9 k | 5.3 M |" in lines(folder)["FitNet, backprop"]


@pytest.mark.parametrize("status", ["diverged", "stopped", "failed"])
def test_runs_that_did_not_finish_are_counted(folder, status):
    made.write_run(folder, "gone3", status=status, method="hints", schedule="paper")
    assert f"(n = 3 of 4, 1 {status})" in lines(folder)["FitNet, hints"]


def test_no_choice_is_made_before_all_methods_have_run(folder):
    (folder / "run" / "modern-kd-0" / "result.json").unlink()
    (folder / "run" / "modern-kd-0").rmdir()
    assert "0.80 (n = 1, no interval); hints, no seed is finished for all methods" in lines(folder)["FitNet, hints"]


def test_a_choice_goes_by_the_seeds_that_all_methods_have(folder):
    spec = json.loads((folder / "table.json").read_text())
    for candidate in spec["rows"][2]["cells"]["modern"]:
        candidate["runs"]["1"] = f"modern-{candidate['method']}-1"
    (folder / "table.json").write_text(json.dumps(spec))
    lucky = made.side("thin", 99.9, 5_300_000, 29_944)
    made.write_run(folder, "modern-hints-1", schedule="modern", method="hints", student=lucky)
    assert (
        "(n = 1 of 2, no interval); kd, chosen on validation before hints, by 1 of 2 seeds"
        in lines(folder)["FitNet, hints"]
    )


def test_a_method_that_diverged_is_not_chosen(folder):
    path = folder / "run" / "modern-kd-0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    assert "hints, chosen on validation before kd (diverged)" in lines(folder)["FitNet, hints"]


def test_runs_of_an_earlier_request_are_left_out(folder):
    before = reproduced.document(folder)
    made.write_run(folder, "backprop7", schedule="paper", method="backprop", hashes=made.hashes(method="backprop"))
    assert reproduced.document(folder) == before


def test_the_header_names_the_papers_data_set_if_ours_differs(folder):
    spec = json.loads((folder / "table.json").read_text()) | {"dataset": "digits"}
    (folder / "table.json").write_text(json.dumps(spec))
    assert "| paper, mnist | ours, `schedule=paper` (small: epochs x 0.1, changed) |" in reproduced.document(folder)


def test_a_run_without_test_is_left_out_of_the_mean(folder):
    path = folder / "run" / "backprop0" / "result.json"
    result = json.loads(path.read_text())
    del result["student"]["test_error"]
    path.write_text(json.dumps(result))
    assert "(n = 2 of 3)" in lines(folder)["FitNet, backprop"]


def test_verdicts_notes_and_commands_follow_the_table(folder):
    text = reproduced.document(folder)
    assert "| difference of accuracies, in points (small: epochs x 0.1, changed) |" in text
    assert "| hints against backprop, thin, `schedule=paper` | +1.70 ± " in text
    assert " (n = 3, paired) | BETTER |" in text
    assert "**Not the paper's training (small: epochs x 0.1, changed).**" in text
    assert "- Small version, epochs x 0.1: `schedule=paper`: teacher 50 of 500" in text
    assert "- Changed by hand: `dataset.seed=3`.\n- Kernels are the recipe's." in text
    assert "`python run.py -m method=kd seed=0,1,2`; runs modern-kd-0\n" in text


def test_a_runs_stored_schedule_name_does_not_matter(folder):
    before = reproduced.document(folder)
    for path in folder.glob("run/backprop*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schedule": "paper_epochs0.1"}))
    assert reproduced.document(folder) == before


def test_every_run_has_its_command(folder):
    commands = reproduced.document(folder).partition("<details>")[2]
    for name in ("modern-hints-0", "modern-kd-0", "hints0 hints1 hints2 gone3", "gone0 gone1"):
        assert f" seed=0,1,2`; runs {name}\n" in commands


def test_no_interval_is_narrower_than_one_image_allows(folder):
    for path in folder.glob("run/backprop*/result.json"):
        result = json.loads(path.read_text())
        result["student"]["test_error"] = 0.04
        path.write_text(json.dumps(result))
    half_width = scipy.stats.t.ppf(0.975, 2) * (100 / 3000) / 3**0.5
    assert f"4.00 ± {half_width:.2f} (n = 3)" in lines(folder)["FitNet, backprop"]


def test_a_table_without_runs_says_not_run(folder):
    for path in folder.glob("run/*/result.json"):
        path.unlink()
        path.parent.rmdir()
    assert lines(folder)["FitNet, hints"].endswith(
        "| ~30K |  | 0.51 (no interval) | not run | not run; hints, no seed is finished for all methods |"
    )


def test_the_command_prints_the_document_or_one_line_of_usage(folder, capsys, monkeypatch):
    for words, code in (([str(folder)], 0), ([], 1), ([str(folder / "run")], 1)):
        monkeypatch.setattr("sys.argv", ["reproduced", *words])
        assert reproduced.main() == code
        captured = capsys.readouterr()
        assert captured.out == (reproduced.document(folder) if code == 0 else "")
        assert len(captured.err.splitlines()) == code


def test_the_short_table_has_every_method_of_the_fast_columns_with_its_time(folder):
    """Rows of other schedules, and methods without a finished run, are left out. The teacher is that of the runs."""
    spec = json.loads((folder / "table.json").read_text())
    spec["schedules"].append("fast")
    spec["rows"][0]["cells"]["fast"] = [candidate("hints", "fast-hints-0")]
    spec["rows"][2]["cells"]["fast"] = [
        candidate("hints", "fast-hints-0", "gone"),
        candidate("kd", "fast-kd-0"),
        candidate("backprop", "gone"),
    ]
    (folder / "table.json").write_text(json.dumps(spec))
    for method, stages in (("hints", {"teacher": 60.0, "hint": 30.0, "student": 90.0}), ("kd", {"student": 100.0})):
        made.write_run(
            folder,
            f"fast-{method}-0",
            schedule="fast",
            method=method,
            student=made.side("thin", 99.0, 5_300_000, 29_944),
            stages={stage: {"epochs": 7} for stage in stages},
            timing={"stage_seconds": stages, "device": "cpu, 2 threads", "precision": "bf16"},
        )
    _, _, *rows = reproduced.short(folder).splitlines()
    assert rows == [
        "| teacher `big` | backprop | 2.00 (n = 1, no interval) |  | 7 | 1 min 00 s |",
        "| FitNet, hints | hints | 2.00 (n = 1 of 2, no interval) | 0.51 (no interval) | 7 + 7 + 7 | 3 min 00 s |",
        "| FitNet, hints | kd | 2.00 (n = 1, no interval) |  | 7 | 1 min 40 s |",
    ]
