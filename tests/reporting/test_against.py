"""Every method against one reference: Holm's correction, what could have been seen, refusals."""

from pathlib import Path

import pytest
from scipy import stats

from fitnets.reporting import against, runs
from support import made_store as made

KD = [90.0, 91.0, 92.0, 90.5, 91.5, 90.2, 91.2, 92.2]
OTHERS = {
    "better": [accuracy + 1 + 0.1 * number for number, accuracy in enumerate(KD)],
    "equal": KD[::-1],
    "worse": [accuracy - 0.5 - 0.2 * number for number, accuracy in enumerate(KD)],
    "of my own": [accuracy + 0.3 * (-1) ** number + 0.05 for number, accuracy in enumerate(KD)],
}


def write(
    store: Path, method: str, accuracies: list[float], *, epochs: int = 30, seconds: float = 10.0, **changes
) -> None:
    for seed, accuracy in enumerate(accuracies):
        made.write_run(
            store,
            f"{method.replace(' ', '')}-{seed}",
            method=method,
            hashes=made.hashes(method=f"m{method}", teacher=f"t{seed}"),
            seeds={"dataset": 0, "teacher": seed, "student": seed},
            stages={"teacher": {"epochs": 9}, "student": {"epochs": epochs}},
            student=made.side("thin", accuracy, 1_000_000, 20_000),
            timing={
                "stage_seconds": {"student": seconds},
                "run_seconds": 9.5,
                "device": "cpu",
                "precision": "fp32",
                "latency": made.latency(1.0),
            },
            **changes,
        )


@pytest.fixture
def store(tmp_path) -> Path:
    write(tmp_path, "kd", KD)
    for method, accuracies in OTHERS.items():
        write(tmp_path, method, accuracies, seconds=25.0)
    return tmp_path


def ranking(store: Path, reference: str = "kd") -> dict[str, against.Row]:
    (found,) = against.rankings(runs.load(store), reference)
    assert found.reference == reference
    return {row.method: row for row in found.rows}


def test_probabilities_are_those_of_paired_tests_with_holms_correction(store):
    rows = ranking(store)
    plain = {name: stats.ttest_rel(accuracies, KD).pvalue for name, accuracies in OTHERS.items()}
    expected, largest = {}, 0.0
    for rank, name in enumerate(sorted(plain, key=plain.get)):
        largest = max(largest, min(1.0, (len(plain) - rank) * plain[name]))
        expected[name] = largest
    assert {name: rows[name].probability for name in OTHERS} == pytest.approx(expected, rel=1e-6)
    assert {name: rows[name].word for name in OTHERS} == {
        "better": "BETTER",
        "equal": "not settled",
        "worse": "WORSE",
        "of my own": "not settled",
    }


def test_the_correction_can_turn_a_difference_into_an_open_one(tmp_path):
    write(tmp_path, "kd", KD)
    for number in range(9):
        shifts = [0.24, -0.1, 0.3, 0.0, 0.26, 0.06, 0.2, 0.1]
        write(
            tmp_path,
            f"m{number}",
            [a + b for a, b in zip(KD, shifts[number % 8 :] + shifts[: number % 8], strict=True)],
        )
    rows = ranking(tmp_path)
    plain = stats.ttest_rel([a + b for a, b in zip(KD, shifts, strict=True)], KD).pvalue
    assert plain < 0.05
    assert {row.word for name, row in rows.items() if name != "kd"} == {"not settled"}


def test_the_smallest_difference_is_found_with_a_probability_of_80_percent(store):
    row = ranking(store)["of my own"]
    error = stats.sem([a - b for a, b in zip(OTHERS["of my own"], KD, strict=True)])
    power = stats.nct.sf(stats.t.ppf(0.975, 7), 7, row.smallest / error)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_the_best_mean_comes_first_and_times_are_relative(store):
    rows = ranking(store)
    means = [row.accuracy[0] for row in rows.values()]
    assert means == sorted(means, reverse=True)
    assert (rows["better"].relative_seconds, rows["kd"].relative_seconds) == (2.5, 1.0)
    assert rows["kd"].remarks == "the reference"


def test_a_method_of_more_epochs_is_not_compared(store):
    write(store, "long", [99.0] * 8, epochs=60)
    row = ranking(store)["long"]
    assert (row.word, row.difference) == ("NO VERDICT", None)
    assert "not trained for the same number of epochs" in row.remarks


def test_fewer_seeds_are_marked(store):
    write(store, "few", [95.0, 96.0, 97.5])
    row = ranking(store)["few"]
    assert row.seeds == 3
    assert "seeds that only one of them has" in row.remarks


def test_diverged_and_failed_runs_are_named_and_not_ranked(store):
    write(store, "wild", [99.0] * 7)
    made.write_run(
        store, "wild-7", method="wild", hashes=made.hashes(method="mwild", teacher="t7"), status="diverged",
        seeds={"dataset": 0, "teacher": 7, "student": 7},
    )  # fmt: skip
    row = ranking(store)["wild"]
    assert row.word == "NO VERDICT"
    assert "1 of 16 runs diverged (wild seed 7)" in row.remarks


def test_another_reference_may_be_chosen(store):
    rows = ranking(store, "worse")
    assert rows["kd"].word == "BETTER"
    assert rows["kd"].difference == pytest.approx(-ranking(store)["worse"].difference)


def test_the_report_has_the_table(store, fitnets):
    finished = fitnets("report", store, "--against", "kd")
    assert finished.code == 0, finished.err
    text = (store / "report" / "tables.md").read_text()
    assert "## Methods against kd" in text
    assert "better is better than kd; worse is worse than kd; of 2 methods it is not settled" in text
    page = (store / "report" / "report.html").read_text()
    assert "Methods against kd" in page
    assert "of my own" in page


def test_a_reference_that_no_run_has_is_refused(store, fitnets):
    finished = fitnets("report", store, "--against", "kdd")
    assert finished.code == 1
    assert "--against kdd: no run of that method" in finished.err
    assert "methods: better, equal, kd, of my own, worse" in finished.err


def test_a_store_without_kd_has_no_such_table(tmp_path, fitnets):
    write(tmp_path, "backprop", KD)
    assert fitnets("report", tmp_path).code == 0
    assert "Methods against" not in (tmp_path / "report" / "tables.md").read_text()


def test_labels_of_the_test_split_change_no_verdict(store):
    before = ranking(store)
    frame = runs.load(store)
    frame["student_test_accuracy"] = frame["student_test_accuracy"].sample(frac=1, random_state=0).to_numpy()
    (found,) = against.rankings(frame)
    assert [(row.method, row.word) for row in found.rows] == [(row.method, row.word) for row in before.values()]


def test_a_method_on_top_of_the_reference_is_compared_too(tmp_path):
    """Both are called kd: they differ in their loss terms."""
    write(tmp_path, "kd", KD)
    for seed, accuracy in enumerate(OTHERS["better"]):
        made.write_run(
            tmp_path, f"more-{seed}", method="kd", hashes=made.hashes(method="mmore", teacher=f"t{seed}"),
            seeds={"dataset": 0, "teacher": seed, "student": seed},
            stages={"teacher": {"epochs": 9}, "student": {"epochs": 30}},
            student=made.side("thin", accuracy, 1_000_000, 20_000),
        )  # fmt: skip
    found = against.rankings(runs.load(tmp_path))
    words = {one.reference: [row.word for row in one.rows if row.method != one.reference] for one in found}
    assert sorted(words.values()) == [["BETTER"], ["WORSE"]]
