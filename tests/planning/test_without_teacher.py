"""No teacher is built, trained, hashed or evaluated with teacher=none."""

import json

import pandas as pd
import pytest

from fitnets.composition import loading
from fitnets.errors import ConfigError
from fitnets.models import teachers
from fitnets.planning import identity, plan
from fitnets.reporting import controls, page, runs, tradeoff, verdicts
from fitnets.store import earlier_runs
from support.runs import TINY

ALONE = [*(word for word in TINY if not word.startswith("teacher.")), "teacher=none"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("alone") / "outputs"


@pytest.fixture
def run(command, store, monkeypatch):
    """Returns a function that runs a method without a teacher and returns the finished command and the run's folder."""

    def call(*words: str, method: str = "backprop"):
        monkeypatch.setattr(teachers, "build_teacher", lambda _: pytest.fail("a teacher was built"))
        finished = command(*ALONE, f"method={method}", *words, store=store)
        assert finished.code == 0, finished.err
        config = loading.load([*ALONE, f"method={method}", *words, f"store={store}"])
        digests = [json.loads(path.read_text())["hashes"]["data"] for path in store.glob("run/*/result.json")]
        return finished, store / "run" / identity.hashes(config, digests[0], "fp32").run

    return call


@pytest.mark.parametrize("method", ["backprop", "dsn", "labels_then_labels", "labels_with_labels"])
def test_methods_that_use_labels_alone_run_without_a_teacher(run, store, method):
    words = ("seed=7",)  # which no other test trains
    finished, folder = run(*words, method=method)
    assert "  teacher  none" in finished.out
    assert not (store / "teacher").exists()
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["teacher"], result["is_taught"]) == ("finished", None, False)
    assert result["hashes"]["teacher"] is result["hashes"]["teacher_setting"] is result["seeds"]["teacher"] is None
    assert list(result["timing"]["latency"]) == ["student"]
    assert result["diagnoses"]["student"]["agreement"] is None
    assert 0 < result["diagnoses"]["student"]["accuracy"] <= 1
    assert "found, nothing was trained" in run(*words, method=method)[0].out


def test_test_figures_can_be_added_later(run):
    words = ("seed=5",)
    assert "test accuracy" not in run(*words, "test=false")[0].out
    finished, folder = run(*words)
    assert "test accuracy" in finished.out
    assert "test_accuracy" in json.loads((folder / "result.json").read_text())["student"]


def test_the_student_can_be_retrained(run):
    finished, folder = run("schedule.retrain_student=true", method="labels_then_labels")
    assert "retrain_student" in json.loads((folder / "result.json").read_text())["stages"]


@pytest.mark.parametrize("method", ["hints", "kd", "mimic", "joint", "labels_then_kd", "labels_with_kd"])
def test_a_method_that_needs_a_teacher_is_refused_in_one_line(command, method):
    finished = command(*ALONE, f"method={method}")
    assert finished.code == 1
    assert finished.err.startswith(f"method={method} needs a teacher: give teacher=...")
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+sweep.budgets.relative_parameters=0.5", "give sweep.budgets.parameters"),
        ("+sweep.budgets.relative_paper_multiplications=0.5", "give sweep.budgets.paper_multiplications"),
        ("return_measures=agreement", "return_measures=agreement compares with a teacher"),
        (
            "return_measures=[accuracy,relative_parameters]",
            "return_measures=relative_parameters compares with a teacher",
        ),
    ],
)
def test_measures_of_a_teacher_are_refused(command, override, message):
    finished = command(*ALONE, "method=backprop", override)
    assert finished.code == 1
    assert message in finished.err
    assert len(finished.err.splitlines()) == 1


def test_absolute_budgets_hold_without_a_teacher(command):
    finished = command(*ALONE, "method=backprop", "+sweep.budgets.parameters=10")
    assert finished.code == 1
    assert "is over sweep.budgets.parameters=10" in finished.err


# --- commands ---


def test_cost_layers_and_doctor_show_the_student_alone(fitnets, tmp_path):
    words = [*ALONE, "method=backprop", f"store={tmp_path}"]
    assert "compression" not in fitnets("cost", *words).out
    assert list(json.loads(fitnets("cost", *words, "--json").out)) == ["student"]
    listed = json.loads(fitnets("layers", *words, "--json").out)
    assert ("teacher" in listed, listed["pairs"]) == (False, [])
    examined = fitnets("doctor", *words, "--json")
    assert examined.code == 0, examined.err
    examination = json.loads(examined.out)
    assert (examination["cache"], examination["cache_bytes"]) == ([], 0)
    assert [stage["name"] for stage in examination["times"]] == ["student"]


def test_eval_runs_and_export_work_without_a_teacher(run, fitnets, store, tmp_path):
    _, folder = run()
    assert fitnets("eval", folder, f"store={store}").code == 0
    listed = json.loads(fitnets("runs", store, "--json").out)
    assert "none" in [one["teacher"] for one in listed]
    exported = fitnets("export", folder, "--out", tmp_path / "out")
    assert exported.code == 0, exported.err
    card = (tmp_path / "out" / "card.md").read_text()
    assert "- **Teacher**: none." in card
    assert "could not be exported" not in card


def test_its_student_can_teach_another_run(run):
    _, folder = run()
    assert earlier_runs.find_network(str(folder), "teacher.path").net.name == "thin"


# --- identity and comparison ---


def hashes(*words: str) -> identity.Hashes:
    return identity.hashes(loading.load([*ALONE, *words]), "digest", "fp32")


def test_the_hash_depends_on_data_and_student_and_on_nothing_of_a_teacher():
    before = hashes("method=backprop")
    assert before.teacher is None
    for word in ("schedule.teacher.epochs=9", "schedule.retrain_teacher=true", "hint_layer=none"):
        assert hashes("method=backprop", word) == before
    for word in ("dataset.seed=1", "seed=1", "schedule.student.epochs=9", "student.width=5"):
        assert hashes("method=backprop", word) != before
    config = loading.load([*ALONE, "method=backprop"])
    assert identity.hashes(config, "other images", "fp32") != before
    assert identity.hashes(config, "digest", "bf16") != before


def test_student_settings_agree_with_those_of_taught_runs():
    def keys(*words: str) -> identity.ComparisonKeys:
        base = [word for word in TINY if not word.startswith("teacher.")]
        return identity.comparison_keys(loading.load([*base, *words]), "digest", "fp32")

    alone = keys("teacher=none", "method=backprop")
    for words in (["method=hints"], ["teacher.seed=3", "method=kd"], ["teacher=resnet14", "method=hints"]):
        taught = keys(*words)
        assert taught.student_setting == alone.student_setting
        assert taught.setting != alone.setting
    assert keys("student.width=5").student_setting != alone.student_setting
    assert keys("method=backprop").method == alone.method


def test_a_run_without_teacher_is_compared_with_those_of_any_teacher(command, tmp_path):
    base = [*TINY, "schedule.student.epochs=3"]
    for words in ([*base, "method=hints"], [*(word for word in base if "teacher." not in word), "teacher=none"]):
        method = [] if "method=hints" in words else ["method=backprop"]
        finished = command("-m", *words, *method, "seed=0,1")
        assert finished.code == 0, finished.err
    frame = runs.load(tmp_path / "store")
    (compared,) = verdicts.comparisons(frame)
    assert (compared.first, compared.second, compared.refusal) == ("hints", "backprop", None)
    assert compared.valid is not None
    assert (compared.valid.seeds, compared.valid.is_paired) == (2, True)
    assert list(tradeoff.teachers(frame)["name"]) == ["maxout_digits"]
    assert "no teacher, student thin" in controls.table(frame)
    page.write(tmp_path / "store", tmp_path / "page")


def test_a_taught_runs_own_backprop_comes_first(made_store):
    frame = runs.load(made_store)
    backprop = frame[frame["method"] == "backprop"]
    setting = backprop["setting_hash"].dropna().iloc[0]
    frame.loc[frame["setting_hash"] == setting, "student_setting_hash"] = "same"
    missing = ["teacher", "teacher_hash", "teacher_setting_hash"]
    alone = backprop[backprop["setting_hash"] == setting].assign(student_setting_hash="same", setting_hash="alone")
    alone[missing] = None
    with_alone = pd.concat([frame, alone.astype(frame.dtypes)], ignore_index=True)
    assert [str(one) for one in verdicts.comparisons(with_alone)] == [str(one) for one in verdicts.comparisons(frame)]


def test_building_a_teacher_without_one_is_an_error():
    with pytest.raises(ConfigError, match="teacher=none: a teacher is needed here"):
        plan.new_teacher(loading.load([*ALONE, "method=backprop"]))
