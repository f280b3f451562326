"""`fitnets reproduce`: every table composes, its commands give its hashes, and it runs on random images."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from fitnets.commands import reproduce
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError, DivergedError
from fitnets.planning import estimates, identity
from fitnets.reporting import paper
from fitnets.reproduction import forecast, recipes, table_cells, table_folder
from fitnets.reproduction.recipes import CANDIDATES, TABLES
from fitnets.reproduction.scale import TableScale, describe_epochs
from fitnets.reproduction.table_cells import ReproductionRequest
from fitnets.system.resources import ResourceError
from fitnets.training import methods
from support.datasets import SILENCE, write_parquet


class TestScale:
    def test_the_option_is_read(self):
        assert TableScale.read("0.1") == TableScale(epochs=0.1, images=0.1)
        assert TableScale.read("epochs=0.1") == TableScale(epochs=0.1)
        assert TableScale.read("images=0.5,epochs=0.25") == TableScale(epochs=0.25, images=0.5)
        assert TableScale.read("1").is_full
        assert str(TableScale.read("epochs=0.1")) == "epochs x 0.1"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("epoch=0.1", "did you mean epochs"),
            ("2", "2 is out of range"),
            ("epochs=0", "0 is out of range"),
            ("small", "small is no number"),
            ("epochs=0.1=9", "0.1=9 is no number"),
            ("epochs=0.1,epochs=1", "epochs is in it twice"),
            ("epochs=", "nothing is no number"),
            ("epochs=0.1,", "no such part"),
        ],
    )
    def test_a_mistake_is_an_error(self, text, message):
        with pytest.raises(ConfigError, match=message):
            TableScale.read(text)

    @pytest.mark.parametrize("dataset", ["mnist", "cifar10", "aflw", "digits"])
    def test_everything_counted_in_epochs_is_shortened(self, dataset):
        words = [f"dataset={dataset}", "schedule=paper"]
        full = loading.load(words)
        small = loading.load([*words, *TableScale(epochs=0.1, images=0.2).overrides(full)])
        for name in ("teacher", "hint", "student"):
            before, after = getattr(full.schedule, name), getattr(small.schedule, name)
            assert (after.epochs, after.patience) == (before.epochs / 10, None)
            for part, key in (("optimizer", "momentum_epochs"), ("lr_decay", "epochs")):
                if hasattr(getattr(before, part), key):
                    assert getattr(getattr(after, part), key) == getattr(getattr(before, part), key) / 10
        assert small.schedule.kd.end_epoch == full.schedule.kd.end_epoch / 10
        assert (small.schedule.retrain_teacher, small.schedule.retrain_student) == (False, False)
        assert small.dataset.train_share == 0.2
        assert small.schedule.name == "paper_epochs0.1_images0.2"
        teacher, student = small.schedule.teacher.epochs, small.schedule.student.epochs
        assert describe_epochs(small.schedule, full.schedule).startswith(
            f"teacher {teacher} of {10 * teacher}, stage 1"
        )
        assert describe_epochs(small.schedule, full.schedule).endswith(f"stage 2 {student} of {10 * student} epochs")

    def test_full_scale_changes_nothing(self):
        assert TableScale().overrides(loading.load(["dataset=cifar10", "schedule=paper"])) == []


@pytest.fixture
def without_data(monkeypatch):
    monkeypatch.setattr(table_cells.splits, "digest", lambda *_: "digest")


def ordered(name, **changes) -> ReproductionRequest:
    recipe = TABLES[name]
    defaults = {"schedules": recipe.schedules, "scale": TableScale(), "seeds": range(2)}
    return ReproductionRequest(recipe=recipe, **defaults | changes)


@pytest.mark.usefixtures("without_data")
class TestCells:
    @pytest.mark.parametrize(
        ("name", "scale"),
        [("table2", TableScale()), *((name, TableScale(epochs=0.01, images=0.1)) for name in TABLES)],
    )
    def test_every_command_gives_the_runs_of_its_cell(self, name, scale):
        request = ordered(name, scale=scale, only="hints" if name == "figure2" else None)
        cells = table_cells.cells(request, SILENCE)
        rows = [row for row in request.rows if row.overrides is not None]
        assert len(cells) == sum(row.is_in(schedule) for row in rows for schedule in request.recipe.schedules)
        for candidate in (candidate for cell in cells for candidate in cell.candidates):
            python, script, multirun, *words, seeds = shlex.split(candidate.command)
            assert (python, script, multirun, seeds) == ("python", "run.py", "-m", "seed=0,1")
            config = loading.load(words)
            for run in candidate.runs:
                hashes = identity.hashes(replace(config, seed=run.seed), "digest", config.engine.precision)
                assert hashes.run == run.hash
            assert len({run.hash for run in candidate.runs}) == 2

    def test_modern_runs_all_candidate_methods_if_a_row_names_none(self):
        by_place = {(cell.row.label, cell.schedule): cell for cell in table_cells.cells(ordered("table5"), SILENCE)}
        assert [one.method for one in by_place["FitNet 1", "modern"].candidates] == list(CANDIDATES)
        assert [one.method for one in by_place["FitNet 1", "paper"].candidates] == ["hints"]
        (only,) = table_cells.cells(ordered("table4", schedules=["modern"], only="backprop"), SILENCE)
        assert [one.method for one in only.candidates] == ["backprop"]

    def test_rows_of_one_column_stay_out_of_the_others(self):
        labels = {
            schedule: {cell.row.label for cell in table_cells.cells(ordered("table5", schedules=[schedule]), SILENCE)}
            for schedule in ("paper", "fast", "fast_long")
        }
        networks = {"teacher", *(f"FitNet {number}" for number in (1, 2, 3, 4))}
        controls = {
            "FitNet 1, backprop from LSUV weights",
            "FitNet 1, backprop from LSUV weights without normalisation",
        }
        assert labels == {"paper": networks, "fast": networks | controls, "fast_long": {"teacher", "FitNet 1"}}
        assert {row.label for row in ordered("table5", schedules=["paper"]).rows} == networks

    def test_the_fast_columns_have_networks_of_their_own(self):
        cells = table_cells.cells(ordered("table5", schedules=["fast"], seeds=range(1)), SILENCE)
        configs = [run.config for run in table_cells.distinct(cells)]
        assert {config.teacher.name for config in configs} == {"fast"}
        assert {config.dataset.preprocessing.name for config in configs} == {"standardize"}
        assert {config.student.normalization for config in configs} == {"batch", "none"}
        assert len({methods.student_stage(config).epochs for config in configs if config.method.name != "hints"}) == 1
        (maxout,) = table_cells.cells(
            ordered("table5", schedules=["fast"], changes=["teacher=maxout_cifar10"], only="FitNet 2"), SILENCE
        )
        assert {run.config.teacher.name for run in table_cells.distinct([maxout])} == {"maxout_cifar10"}

    def test_fewer_methods_may_be_asked_for(self):
        request = ordered("table5", schedules=["fast"], methods=["hints", "backprop"])
        found = {
            cell.row.label: [one.method for one in cell.candidates] for cell in table_cells.cells(request, SILENCE)
        }
        assert found["FitNet 2"] == ["hints", "backprop"]
        assert found["FitNet 1, backprop from LSUV weights"] == ["backprop"]

    def test_the_paper_columns_compare_at_equal_epochs_with_one_teacher(self):
        runs = table_cells.distinct(table_cells.cells(ordered("table4", schedules=["paper"]), SILENCE))
        assert [run.seed for run in runs] == [0, 0, 0, 1, 1, 1]
        assert all(run.config.schedule.equal_epochs for run in runs)
        assert len({identity.hashes(run.config, "digest", "fp32").teacher for run in runs}) == 1

    def test_user_overrides_replace_those_of_table_and_scale(self):
        changes = ["dataset=digits", "schedule.hint.epochs=3", "store=elsewhere", "dataset.seed=4"]
        request = ordered("figure2", scale=TableScale(epochs=0.1), changes=changes, only="hints, 5")
        cell, *_ = table_cells.cells(request, SILENCE)
        config = cell.candidates[0].runs[0].config
        assert (config.dataset.name, config.schedule.hint.epochs, config.store) == ("digits", 3, "elsewhere")
        assert "stage 1 3 of 500" in cell.epochs
        assert request.result_changes == ["dataset=digits", "schedule.hint.epochs=3", "dataset.seed=4"]
        assert "store" not in cell.candidates[0].command

    def test_commands_with_own_options_give_the_hashes_too(self, tmp_path):
        (tmp_path / "regressor").mkdir()
        (tmp_path / "regressor" / "mine.yaml").write_text("defaults: [auto]\n")
        changes = ["schedule.student.augmentation={flip: true, pad: 1}", "regressor=mine"]
        cell, *_ = table_cells.cells(
            ordered("table4", changes=changes, config_dir=str(tmp_path), only="hints"), SILENCE
        )
        _, _, _, flag, folder, *words, _ = shlex.split(cell.candidates[0].command)
        assert flag == "--config-dir"
        config = loading.load([*words, "seed=1"], folder)
        assert identity.hashes(config, "digest", config.engine.precision).run == cell.candidates[0].runs[1].hash

    def test_commands_have_no_path_of_this_machine(self):
        changes = ["++dataset.path=/home/me/mnist", "store=/data/me", "++engine.threads=1", "tracker=none"]
        request = ordered("table4", changes=changes)
        cell, *_ = table_cells.cells(request, SILENCE)
        assert request.result_changes == []
        assert "dataset.path=DIR" in cell.candidates[0].command
        assert not any(word in cell.candidates[0].command for word in ("/me", "threads", "tracker", "store"))


# --- on random images ---

SHORT = [
    word
    for stage in ("teacher", "hint", "student")
    for word in (f"schedule.{stage}.max_steps=1", f"schedule.{stage}.batch_size=16")
]
LAYOUT = ["dataset/preprocessing=standardize", "dataset.label_column=label", "tracker=none"]
SMALL = ["dataset.height=16", "dataset.width=16"]
MADE = {  # images per class of each split, classes, and overrides that split them
    "table2": ({"train": 3, "test": 1}, 100, ["dataset.validation=100", *SMALL]),
    "table3": (
        {"train": 4, "extra": 3, "test": 2},
        10,
        ["dataset.validation=10", "dataset.extra_validation=10", *SMALL],
    ),
    "ablations": (
        {"train": 6, "test": 2},
        10,
        ["dataset.validation_images=20", "schedule.retrain_teacher=false", "schedule.retrain_student=false", *SMALL],
    ),
    "aflw": ({"train": 30, "validation": 10}, 2, []),
}


@pytest.fixture
def made(tmp_path, request):
    """The name of a table, and overrides for random images of 16x16 pixels."""
    splits, classes, words = MADE[request.param]
    generator = np.random.default_rng(0)
    for split, each in splits.items():
        images = generator.integers(0, 256, size=(each * classes, 16, 16, 3), dtype=np.uint8)
        write_parquet(tmp_path / "data", split, images, list(range(classes)) * each)
    return request.param, [f"dataset.path={tmp_path / 'data'}", f"store={tmp_path / 'store'}", *words, *LAYOUT, *SHORT]


@pytest.mark.parametrize(
    ("made", "schedule"), [*((name, "paper") for name in MADE), ("table3", "modern")], indirect=["made"]
)
@pytest.mark.usefixtures("_unmeasured")
def test_a_table_runs_from_end_to_end_and_names_its_data(fitnets, tmp_path, made, schedule):
    name, words = made
    arguments = [name, *words, "--seeds", "1", "--schedule", schedule, "--out", str(tmp_path / "out")]
    finished = fitnets("reproduce", *arguments)
    assert finished.code == 0, finished.err
    assert TABLES[name].data in finished.out
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    hashes = [run for row in table["rows"] for one in row["cells"].get(schedule, []) for run in one["runs"].values()]
    assert {path.parent.name for path in (tmp_path / "out" / "run").glob("*/result.json")} == set(hashes)
    text = (tmp_path / "out" / "table.md").read_text()
    rows = [row for row in TABLES[name].rows if row.overrides is not None]
    assert text.count("(n = 1, no interval)") == len(rows)
    assert ("chosen on validation before" in text) == (schedule == "modern")
    assert "not run" not in text

    again = fitnets("reproduce", *arguments)
    assert "no run is left" in again.out
    assert (tmp_path / "out" / "table.md").read_text() == text


@pytest.mark.parametrize("made", ["ablations"], indirect=True)
def test_stages_that_cells_share_are_estimated_once(made, monkeypatch):
    """An update on so few images counts as 5 ms on a GPU. The first cell trains three stages for one update each, the
    second one stage."""
    monkeypatch.setattr(estimates, "median_s", lambda *_: 0.01)
    name, words = made
    words = [*words, "engine.precision=bf16"]
    request = ordered(name, changes=words, schedules=["paper"], seeds=range(1), only="stage 1 with labels, ")
    first, second = forecast.of_cells(table_cells.cells(request, SILENCE), Terminal())
    assert [first.gpu_s, second.gpu_s] == pytest.approx([0.015, 0.005], rel=0.1)


def test_tables_with_other_own_options_have_other_folders(without_data, tmp_path):
    folders = set()
    for config_dir in (None, tmp_path / "mine", tmp_path / "yours"):
        if config_dir is not None:
            config_dir.mkdir()
        request = ordered("table4", config_dir=config_dir and str(config_dir), schedules=["paper"])
        folders.add(
            table_folder.default_folder(request, table_cells.cells(request, SILENCE)[0].candidates[0].runs[0].config)
        )
    assert len(folders) == 3


class TestNotes:
    def test_equal_epochs_are_noted_only_if_all_runs_have_them(self):
        for equal in (True, False):
            notes = "\n".join(recipes.notes(TABLES["table4"], "mnist", [], equal_epochs=equal))
            assert ("equal_epochs=true" in notes) == equal

    def test_notes_on_networks_hold_under_any_schedule(self):
        for name, part in (("table1", "5 pieces"), ("table3", "FitNet 3"), ("aflw", "Errors are of the validation")):
            recipe = TABLES[name]
            for schedules in (["modern"], ["paper"]):
                notes = recipes.notes(recipe, recipe.dataset, schedules, equal_epochs=True)
                assert any(part in line for line in notes)
                assert any("RMSProp" in line for line in notes) == (schedules == ["paper"] and name != "aflw")

    def test_notes_on_the_papers_data_set_are_left_out_for_other_data(self):
        notes = "\n".join(recipes.notes(TABLES["figure2"], "digits", ["paper"], equal_epochs=False))
        for part in (
            "Budgets are millions",
            "Both outputs of Eq. 2",
            "paper/digits.yaml; their teacher learns by AdamW",
        ):
            assert part in notes
        for part in ("5 pieces", "Max-norm", "Students see flips"):
            assert part not in notes
        assert "The paper has this table for cifar10. For mnist " in "\n".join(
            recipes.notes(TABLES["figure2"], "mnist", ["paper"], equal_epochs=False)
        )

    def test_the_residual_table_has_no_note_on_the_papers_figures(self):
        assert "The paper's figures" not in "\n".join(
            recipes.notes(TABLES["residual"], "cifar100", ["modern"], equal_epochs=True)
        )


def test_the_papers_figures_agree_between_tables_and_trade_off():
    """The tables have errors or accuracies, the trade-off has accuracies."""
    published = paper.PUBLISHED.set_index(["dataset", "method", "network"])["accuracy"]
    for recipe in (recipe for name, recipe in TABLES.items() if name not in ("figure2", "residual")):
        for row in (row for row in recipe.rows if isinstance(row.paper, float) and row.overrides is not None):
            config = loading.load([f"dataset={recipe.dataset}", *recipe.shared, *row.overrides])
            network = getattr(config, row.side).name
            method = "teacher" if row.side == "teacher" else config.method.name
            ours = row.paper if recipe.measure == "accuracy" else 100 - row.paper
            assert published[recipe.dataset, method, network] == pytest.approx(ours), row.label
    for row in [row for row in TABLES["table5"].rows if row.side == "student" and row.paper is not None]:
        (word,) = row.overrides
        parameters, multiplications, *_ = paper.TABLE_5[word.removeprefix("student=")]
        assert (row.parameters, row.multiplications) == (f"~{parameters}", f"~{multiplications}")


def test_plan_runs_nothing_and_writes_no_results(fitnets, tmp_path):
    words = ["dataset=digits", f"store={tmp_path}", "--only", "30, hints", "--scale", "epochs=0.01", "--seeds", "1"]
    finished = fitnets("reproduce", "figure2", *words, "--out", str(tmp_path / "out"), "--plan")
    assert finished.code == 0, finished.err
    for line in ("schedule=paper: teacher 1 of 50, stage 1 5 of 500", "schedule=modern: teacher 1 of 60"):
        assert line in finished.out
    assert "computed, not measured" in finished.out
    assert {path.name for path in tmp_path.iterdir()} <= {".fitnets-store.json", "data", "digests"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel4"], "tabel4: no such table; did you mean table4?"),
        (["table4", "--schedule", "papr"], "no such column; did you mean paper?"),
        (["table4", "--only", "FitNet 9"], "no such row"),
        (["table4", "--scale", "3"], "3 is out of range"),
        (["table4", "seed=3"], "seed=3: the table sets this key for each run: choose with --seeds"),
        (["table4", "schedule=quick"], "choose with --schedule"),
        (["table5", "student=fitnet1"], "student=fitnet1: the table sets this key for each run: choose with --only"),
        (["figure2", "student.layers=5"], "choose with --only"),
        (["table2", "student=fitnet1"], "student=fitnet1: every run of table2 has student=fitnet4: leave it out"),
        (
            ["figure2", "schedule.retrain_student=true"],
            "every run of figure2 has student=table6 schedule.retrain_student=false",
        ),
        (["table4", "dataset.train_share=0.5"], "choose with --scale"),
        (["table4", "rerun=true"], "leave it out"),
        (["table4", "test=false"], "leave it out"),
        (["table4", "--config-dir", "/nowhere"], "--config-dir /nowhere: no such folder"),
        (["table4", "--config-dir", ""], "--config-dir : no such folder"),
        (["table4", "--schedule", "paper,paper"], "--schedule paper,paper: paper is in it twice"),
        (["aflw"], "not on the Hugging Face hub: give dataset.path=DIR"),
    ],
)
def test_a_mistake_is_reported_in_one_line(fitnets, tmp_path, words, message):
    finished = fitnets("reproduce", *words, f"store={tmp_path}")
    assert finished.code == 1
    if words == ["aflw"]:
        assert TABLES["aflw"].data in finished.out
    assert message in finished.err
    assert len(finished.err.splitlines()) == 1


# --- runs that fail ---


@pytest.fixture
def tried(monkeypatch):
    """Returns a function that replaces every run by `work_of` and returns the list of seeds in the order of the
    runs."""
    monkeypatch.setattr(forecast, "of_cells", lambda *_, decode: [])
    seeds = []

    def instead(work_of):
        def run(config, **_named):
            seeds.append(config.seed)
            return work_of(config)

        monkeypatch.setattr(reproduce.pipeline, "run", run)
        return seeds

    return instead


def hints_on_digits(tmp_path, *words):
    return ["figure2", "dataset=digits", f"store={tmp_path}", "--only", "30, hints, 5", "--schedule", "modern", *words]


def test_a_run_without_memory_is_reported_after_the_others_have_run(fitnets, tmp_path, tried):
    def without_memory(config):
        if config.seed == 0:
            raise ResourceError("out of memory")

    seeds = tried(without_memory)
    finished = fitnets("reproduce", *hints_on_digits(tmp_path))
    assert (finished.code, seeds) == (1, [0, 1, 2])
    assert "out of memory\nthe same command tries these runs again" in finished.err
    assert list(tmp_path.glob("reproduced/*/table.md"))


def test_a_teacher_that_diverged_is_not_trained_for_every_student(fitnets, tmp_path, tried):
    def diverges(_config):
        raise DivergedError("the teacher stage diverged")

    seeds = tried(diverges)
    finished = fitnets("reproduce", *hints_on_digits(tmp_path))
    assert (finished.code, seeds) == (0, [0])
    assert finished.out.count("not started, its teacher diverged") == 2


def test_runs_locked_by_another_process_come_last(fitnets, tmp_path, tried, monkeypatch):
    monkeypatch.setattr(reproduce.locks, "is_locked", lambda directory: directory == locked[0])
    seeds = tried(lambda _: None)
    request = ordered("figure2", changes=["dataset=digits", f"store={tmp_path}"], only="30, hints, 5", seeds=range(3))
    locked = [
        run.directory
        for run in table_cells.distinct(table_cells.cells(replace(request, schedules=["modern"]), SILENCE))
    ]
    assert fitnets("reproduce", *hints_on_digits(tmp_path)).code == 0
    assert seeds == [1, 2, 0]


def test_a_store_that_cannot_be_written_is_reported_in_one_line(fitnets):
    finished = fitnets("reproduce", "figure2", "dataset=digits", "++store=/proc/nowhere", "--plan")
    assert finished.code == 1
    assert finished.err.startswith("store=/proc/nowhere: cannot write there")
    assert len(finished.err.splitlines()) == 1
