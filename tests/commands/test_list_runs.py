"""Tests of `fitnets runs`: columns that fit, sorting and filters; hashes in place of folders; short names."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from fitnets.composition import loading
from fitnets.config import short_names
from fitnets.config.options import plain
from fitnets.errors import ConfigError
from fitnets.store import earlier_runs
from fitnets.store import files as storing

HASHES = ["1d9f000000000001", "1d9f000000000002", "abcd000000000003", "2222000000000004"]
FACTS = [  # overrides of the run, accuracy, seconds, started_at
    (("dataset=folder", "dataset.path=/a/photos"), 0.9, 12.0, "2026-01-01T10:00:00+00:00"),
    (("dataset=folder", "dataset.path=/b/photos"), 0.7, 400.0, "2026-01-02T10:00:00+00:00"),
    (("method=kd", "seed=3"), 0.8, 100_000.0, "2026-01-01T09:00:00-05:00"),  # between the two above, in UTC
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A store with three finished runs, one that failed, and a teacher."""
    root = tmp_path_factory.mktemp("store") / "outputs"
    shape = ("dataset.classes=3", "dataset.channels=3", "dataset.height=8", "dataset.width=8")
    for name, (words, accuracy, seconds, started) in zip(HASHES, FACTS, strict=False):
        extra = (*shape, "teacher=resnet", "hint_layer=middle") if words[0].startswith("dataset=") else ()
        write(root / "run" / name, [*words, *extra], started)
        result = {"status": "finished", "student": {"valid_accuracy": accuracy}, "timing": {"run_seconds": seconds}}
        storing.write_json(root / "run" / name / "result.json", result)
        (root / "run" / name / "student.safetensors").touch()
    write(root / "run" / HASHES[3], ["student=thin"], "2026-01-03T10:00:00+00:00")
    storing.write_json(root / "run" / HASHES[3] / "result.json", {"status": "failed", "error": "ValueError: no\nmore"})
    teacher = root / "teacher" / "77777777aaaaaaaa"
    write(teacher, [], "2026-01-01T10:00:00+00:00")
    storing.write_json(teacher / "teacher.json", {})
    (teacher / "teacher.safetensors").touch()
    return root


def write(directory: Path, words: list[str], started: str) -> None:
    directory.mkdir(parents=True)
    storing.write_config(directory / "config.yaml", loading.load([*words, "tracker=none"]))
    storing.write_json(directory / "environment.json", {"started_at": started})


@pytest.fixture
def columns(monkeypatch):
    """Make standard output a terminal with the given number of columns."""

    def set_width(width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))

    return set_width


def listed(fitnets, root, *words) -> list[str]:
    code, out, err = fitnets("runs", root, *words, "--json")
    assert (code, err) == (0, "")
    return [Path(run["directory"]).name for run in json.loads(out)]


class TestTable:
    @pytest.mark.parametrize("width", [40, 52, 66, 80, 100, 120, 200])
    def test_no_hash_is_cut_at_any_width(self, fitnets, root, columns, width):
        columns(width)
        _, out, _ = fitnets("runs", root)
        text = re.sub(r"\x1b\[[0-9;]*m", "", out)
        table = text[text.index("┏") : text.index("┘") + 1].splitlines()
        assert all(any(name in line for line in table) for name in HASHES)
        assert max(map(len, table)) <= width
        assert all("…" not in line for line in table)

    def test_columns_that_do_not_fit_are_named(self, fitnets, root, columns):
        columns(60)
        _, narrow, _ = fitnets("runs", root)
        assert "not shown on 60 columns: " in narrow
        columns(250)
        assert "not shown" not in fitnets("runs", root)[1]

    def test_without_a_terminal_every_column_is_shown(self, fitnets, root):
        _, out, _ = fitnets("runs", root)
        row = next(line for line in out.splitlines() if HASHES[2] in line)
        for cell in ("kd", "quick", "digits", "1 day 3 h", "80.00 %", "finished", "maxout_digits"):
            assert cell in row
        row = next(line for line in out.splitlines() if HASHES[0] in line)
        assert "a/photos" in row
        assert f"{HASHES[3]} failed: ValueError: no\n" in out

    def test_json_has_every_field(self, fitnets, root):
        (run,) = json.loads(fitnets("runs", root, "--filter", f"run={HASHES[1]}", "--json")[1])
        assert (run["dataset"], run["dataset_path"], run["data"]) == ("folder", "/b/photos", "b/photos")
        assert (run["schedule"], run["teacher"], run["seconds"]) == ("quick", "resnet", 400.0)
        assert run["started"].startswith("2026-01-02")


class TestSortAndFilter:
    def test_the_oldest_comes_first_whatever_the_time_zone(self, fitnets, root):
        assert listed(fitnets, root) == [HASHES[0], HASHES[2], HASHES[1], HASHES[3]]

    def test_runs_without_the_value_come_last_in_both_directions(self, fitnets, root):
        assert listed(fitnets, root, "--sort", "valid") == [HASHES[1], HASHES[2], HASHES[0], HASHES[3]]
        assert listed(fitnets, root, "--sort", "valid_accuracy", "--reverse") == [
            HASHES[0], HASHES[2], HASHES[1], HASHES[3],
        ]  # fmt: skip
        assert listed(fitnets, root, "--sort", "took", "--limit", "1") == [HASHES[0]]

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (("--filter", "data=b/photos"), [1]),
            (("--dataset", "folder", "--sort", "run"), [0, 1]),
            (("--method", "KD"), [2]),
            (("--status", "failed"), [3]),
            (("--filter", "seed=3", "--filter", "status=finished"), [2]),
            (("--filter", "teacher=maxout*", "--status", "finished"), [2]),
            (("--filter", "valid=70.00 %"), [1]),
            (("--filter", "method=nothing"), []),
        ],
    )
    def test_filters(self, fitnets, root, words, expected):
        assert listed(fitnets, root, *words) == [HASHES[index] for index in expected]

    def test_a_wrong_key_is_refused_and_the_nearest_one_suggested(self, fitnets, root):
        code, _, err = fitnets("runs", root, "--sort", "vaild")
        assert (code, len(err.splitlines())) == (1, 1)
        assert "--sort vaild: no such key; did you mean valid?" in err
        assert "--filter KEY=VALUE" in fitnets("runs", root, "--filter", "seed")[2]

    def test_a_message_says_that_no_run_matches(self, fitnets, root):
        assert fitnets("runs", root, "--status", "running")[1].endswith("outputs: no such runs\n")


class TestHashes:
    @pytest.mark.parametrize("given", ["abcd", "abcd000", "ABCD000000000003", "run/abcd", "abcd000000000003/"])
    def test_the_first_digits_of_a_hash_are_enough(self, root, given):
        assert earlier_runs.locate(given, root, "RUN") == str(root / "run" / HASHES[2])

    def test_a_teacher_is_found_by_its_hash(self, root):
        assert earlier_runs.locate("7777", root, "RUN") == str(root / "teacher" / "77777777aaaaaaaa")
        assert earlier_runs.locate(f"{root}/teacher/7777", Path("elsewhere"), "RUN").endswith("/77777777aaaaaaaa")

    def test_an_existing_folder_precedes_a_hash(self, root, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "abcd").mkdir()
        assert earlier_runs.locate("abcd", root, "RUN") == "abcd"

    def test_all_hashes_that_begin_alike_are_named(self, root):
        with pytest.raises(ConfigError) as error:
            earlier_runs.locate("1d9f", root, "RUN")
        assert all(f"run/{name}" in str(error.value) for name in HASHES[:2])
        assert HASHES[2] not in str(error.value)

    @pytest.mark.parametrize("given", ["1d9e", "1d9f00000000001", "abce0000"])
    def test_a_mistyped_hash_suggests_similar_ones(self, root, given):
        near = HASHES[0] if given.startswith("1") else HASHES[2]
        with pytest.raises(ConfigError, match=rf"RUN={given}: no such folder, and no hash .*near it: .*{near}"):
            earlier_runs.locate(given, root, "RUN")

    def test_three_digits_are_too_few(self, root):
        with pytest.raises(ConfigError, match="at least 4 digits of the hash: run/abcd000000000003"):
            earlier_runs.locate("abc", root, "RUN")

    def test_eval_export_and_teacher_path_take_hashes(self, fitnets, earlier_run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # the hash is looked up in store=, and in the default store, outputs
        root, begin = earlier_run.parent.parent, earlier_run.name[:5]
        code, out, err = fitnets("eval", begin, f"store={root}", "--json")
        assert (code, json.loads(out)["network"]) == (0, str(earlier_run / "student.safetensors")), err
        shutil.copytree(root, tmp_path / "outputs")
        code, out, err = fitnets("eval", begin, "--json")
        assert code == 0, err
        assert str(tmp_path / "outputs" / "run" / earlier_run.name) in out
        config = loading.load(["teacher=run", f"teacher.path={begin}", f"store={root}"])
        assert plain(config.teacher)["path"] == str(earlier_run)
        with pytest.raises(ConfigError, match=r"teacher\.path=ffff.*: no such folder, and no hash"):
            loading.load(["teacher=run", "teacher.path=ffff1", f"store={root}"])
        code, _, err = fitnets("export", "ffff1", f"store={root}")
        assert (code, len(err.splitlines())) == (1, 1)
        assert err.startswith("RUN=ffff1: no such folder")


class TestNames:
    def test_a_folders_name_has_as_much_of_its_path_as_makes_it_unique(self):
        datasets = [("folder", "/a/x/photos"), ("folder", "/b/x/photos/"), ("folder", "birds"), ("digits", None)]
        assert short_names.datasets(datasets) == ["a/x/photos", "b/x/photos", "birds", "digits"]

    def test_a_data_set_in_several_folders_is_named_with_its_folder(self):
        datasets = [("mnist", "/data/mnist"), ("mnist", "/data/mine"), ("svhn", "/data/svhn")]
        assert short_names.datasets(datasets) == ["mnist in mnist", "mnist in mine", "svhn"]

    def test_names_of_custom_networks_have_the_arguments_that_differ(self):
        common = {"name": "nets.small", "target": "nets.small", "logits": None}
        nets = [
            common | {"weights": "/a/best.pt"}, common | {"weights": "/b/best.pt"}, common | {"weights": None},
            {"name": "nets.deep", "target": "nets.deep", "args": {"depth": 3, "width": 8}},
            {"name": "nets.deep", "target": "nets.deep", "args": {"depth": 5, "width": 8}},
            {"name": "timm.create_model", "target": "timm.create_model", "args": {"model_name": "vit"}},
        ]  # fmt: skip
        assert short_names.networks(nets) == [
            "nets.small a/best.pt", "nets.small b/best.pt", "nets.small", "nets.deep depth=3", "nets.deep depth=5",
            "timm.create_model",
        ]  # fmt: skip

    def test_earlier_runs_are_named_by_their_hash(self):
        nets = [{"name": "run", "path": "/o/run/1d9f"}, {"name": "ensemble", "members": ["/o/run/1d", "/o/run/2e"]}]
        assert short_names.networks([*nets, None]) == ["run 1d9f", "ensemble 1d+2e", None]
