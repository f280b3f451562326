"""The table of times until an accuracy, against RepDistiller's loop."""

import json

import pytest

from fitnets.reporting import races
from support import made_store as made


def step(who, kind, answers, speed):
    return {"contestant": {"who": who, "step": kind, "answers": answers}, "images_per_s": speed}


def run(store, name, method, errors, hint_epochs=0):
    stages = {"hint": {"epochs": hint_epochs}} if hint_epochs else {}
    folder = made.write_run(
        store, name, method=method, stages={"teacher": {"epochs": 9}, **stages, "student": {"epochs": len(errors)}}
    )
    rows = [{"stage": "hint", "epoch": number, "images": 1000 * (number + 1)} for number in range(hint_epochs)]
    rows += [
        {"stage": "student", "epoch": number, "images": 1000 * (number + 1), "valid_error": error}
        for number, error in enumerate(errors)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": 0, **row}) + "\n" for row in rows))


@pytest.fixture
def made_race(tmp_path):
    own, folder = tmp_path / "own", tmp_path / "race"
    folder.mkdir()
    run(own, "hints-0", "hints", [0.3, 0.15, 0.1], hint_epochs=2)
    run(own, "hints-1", "hints", [0.14], hint_epochs=2)
    run(own, "kd-0", "kd", [0.3, 0.2, 0.2, 0.1])
    run(own, "backprop-0", "backprop", [0.1])
    steps = [step("fitnets", "hint", "live", 5), step("fitnets", "KD", "live", 5), step("fitnets", "KD", "cached", 900)]
    steps += [step("fitnets", "hint", "live", 100), step("fitnets", "KD", "live", 50)]
    steps += [step("repdistiller", "KD", "live", 10), step("repdistiller", "hint", "live", 5)]
    (folder / "bench.json").write_text(json.dumps({"steps": steps}))
    accuracies = {
        ("kd", 0.05, 0): [0.5, 0.85],
        ("kd", 0.01, 0): [0.5, 0.6, 0.99],
        ("kd", 0.05, 1): [0.5, 0.6, 0.7, 0.9],
        ("hint", 0.05, 0): [0.5, 0.84],
        ("hint", 0.1, 0): [0.5, 0.83],
    }
    rows = [
        {"method": method, "rate": rate, "seed": seed, "epoch": epoch, "valid_accuracy": accuracy}
        for (method, rate, seed), values in accuracies.items()
        for epoch, accuracy in reversed(list(enumerate(values)))
    ]
    (folder / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return races.table(folder, own)


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_times_are_epochs_times_seconds_an_epoch(made_race):
    times, _ = made_race.split("\n\n")
    rows = {row[0]: row[1:] for row in cells(times)[2:]}
    # two epochs of stage 1 take 20 s, an epoch of stage 2 takes 20 s
    assert rows["hints"] == ["2 + 2, 2 + 1", "100 + 50", "50 s", "1.0", "0.6"]
    assert rows["kd"] == ["4", "50", "1 min 20 s", "1.6", "1.0"]
    # the rate with the fewest epochs with seed 0, and both of its seeds
    assert rows["RepDistiller's kd"] == ["2, 4", "10", "5 min 00 s", "6.0", "3.8"]
    # it never got there: of equally bad rates the more accurate one, and bounds
    assert rows["RepDistiller's hint"] == ["> 2", "5", "> 6 min 40 s", "> 8.0", "> 5.0"]


def test_every_rate_that_was_tried_is_shown(made_race):
    _, tried = made_race.split("\n\n")
    rows = cells(tried)[2:]
    assert len(rows) == 5
    assert ["RepDistiller's hint", "0.1", "0", "2", "> 2", "83.00 %"] in rows
    assert ["RepDistiller's kd", "0.05", "1", "4", "4", "90.00 %"] in rows
