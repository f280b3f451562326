"""Paths: any path can be composed, an empty one is refused with its key, and stored ones work from every folder."""

import json
import shutil
from pathlib import Path

import pytest

from fitnets import checks
from fitnets.composition import entry_point, loading, overrides
from fitnets.config import CustomTeacher, Ensemble, Folder, RunTeacher, options
from fitnets.errors import ConfigError
from fitnets.store import earlier_runs, files
from support.places import ROOT
from support.processes import cold
from support.runs import TINY

STRANGE = ["a(b)", "a=b,c", "it's [ü]", '~x "y" $HOME ${z} 100%', "1e3", "tail\\"]


@pytest.fixture(scope="module")
def small_run(earlier_run, tmp_path_factory) -> Path:
    """The folder of a run in a store without other runs."""
    place = tmp_path_factory.mktemp("strange") / "outputs"
    for kind in ("run", "teacher", "data"):
        shutil.copytree(earlier_run.parent.parent / kind, place / kind)
    return place / "run" / earlier_run.name


@pytest.mark.parametrize("name", STRANGE)
def test_export_composes_the_path_of_its_run(small_run, tmp_path, fitnets, monkeypatch, name):
    from fitnets.library import exported

    place = tmp_path / name
    shutil.copytree(small_run.parent.parent, place)
    roots = []

    def record(_network, settings, *_, **__):
        roots.append(settings.root)
        raise ConfigError("recorded")

    monkeypatch.setattr(exported.exporting, "export_student", record)
    monkeypatch.chdir(tmp_path)
    assert fitnets("export", Path(name) / "run" / small_run.name).err == "recorded\n"
    assert roots == [place]


@pytest.mark.parametrize("name", STRANGE)
def test_a_folder_of_own_options_may_be_called_anything(tmp_path, name, monkeypatch, fitnets):
    folder = tmp_path / name / "student"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [thin, _self_]\nwidth: 5\n")
    monkeypatch.chdir(tmp_path)
    told = fitnets("cost", "--config-dir", name, "student=mine", "student.depth=3", "hint_layer=middle", "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["student"]["name"] == "thin"


def test_the_checkout_may_lie_anywhere(tmp_path):
    root = tmp_path / "a(b) it's ü, c=d"
    root.mkdir()
    for name in ("conf", "fitnets", "sweeps"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", root)
    told = cold("run.py", "store=a=b", "--cfg", "job", "-p", "store", cwd=root, PYTHONPATH=str(root))
    assert (told.returncode, told.stdout.strip()) == (0, "a=b"), told.stderr


# --- empty paths ---


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("store=", "store"),
        ("store=''", "store"),
        ("dataset=mnist dataset.path=", "dataset.path"),
        ("dataset=folder dataset.path=", "dataset.path"),
        ("dataset=folder dataset.path=x dataset.split_file=", "dataset.split_file"),
        ("teacher=run teacher.path=", "teacher.path"),
        ("teacher=custom teacher.target=a.b teacher.weights=", "teacher.weights"),
        ("student=custom student.target=a.b student.weights=", "student.weights"),
        ("teacher=ensemble teacher.members=[a,''] teacher.hint_member=a", "teacher.members"),
        ("teacher=ensemble teacher.members=[a,b] teacher.hint_member=", "teacher.hint_member"),
        ("hydra.sweep.dir=", "hydra.sweep.dir"),
        ("hydra.sweeper.storage=", "hydra.sweeper.storage"),
    ],
)
def test_an_empty_path_is_refused_by_name(words, key):
    with pytest.raises(ConfigError, match=rf"^{key}= is empty: give a path"):
        loading.load(words.split())


def test_nothing_is_written_for_an_empty_store(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for words in (["-m", "seed=0,1"], []):
        finished = command(*TINY, *words, store=Path("") / "x")  # replaced below
        monkeypatch.setattr("sys.argv", ["run.py", *TINY, *words, "store="])
        assert entry_point.command_line(__import__("run").main) == 1
        assert finished.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_store_of_null_is_refused():
    with pytest.raises(ConfigError, match=r"^store=null: give a path \(./null for a folder of that name\)"):
        loading.load(["store=null"])


def test_rules_refuse_an_empty_path_that_came_another_way(tiny):
    config = tiny()
    config.store = " "
    with pytest.raises(ConfigError, match="^store= is empty"):
        checks.check(config)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("runs ''", 2, "argument store: it is empty: give a path"),
        ("clean ''", 2, "argument store: it is empty: give a path"),
        ("report ''", 2, "argument store: it is empty: give a path"),
        ("report outputs --out ''", 2, "argument --out: it is empty: give a path"),
        ("eval ''", 1, "RUN=: no trained network there"),
    ],
)
def test_commands_refuse_empty_paths(fitnets, words, code, message):
    finished = fitnets(*(word.strip("'") for word in words.split()))
    assert finished.code == code
    assert message in finished.err
    assert len(finished.err.splitlines()) <= 6


def test_a_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert loading.load(["store=~/x"]).store == "/home/somebody/x"
    assert loading.load(["store='~/x'"]).store == "/home/somebody/x"
    assert overrides.as_typed("store=~nobody-of-that-name/x") == "store='~nobody-of-that-name/x'"


# --- stored paths ---


def test_every_location_of_a_stored_configuration_is_absolute(tmp_path, tiny):
    config = tiny()
    folder = Folder(path="img", split_file="s/split.json", channels=3, height=8, width=8, classes=2,
                    validation_share=0.1, test_share=0.1, preprocessing=config.dataset.preprocessing)  # fmt: skip
    teachers = [
        (CustomTeacher(target="a.b", weights="w.pt"), "weights", str(tmp_path / "w.pt")),
        (CustomTeacher(target="a.b"), "weights", None),
        (RunTeacher(path="/abs/run"), "path", "/abs/run"),
        (Ensemble(members=["r/1", "r/2"], hint_member="r/2"), "members", [f"{tmp_path}/r/1", f"{tmp_path}/r/2"]),
    ]
    for teacher, name, expected in teachers:
        config.dataset, config.teacher = folder, teacher
        kept = options.absolute(config, tmp_path)
        assert getattr(kept.teacher, name) == expected
        assert (kept.dataset.path, kept.dataset.split_file) == (f"{tmp_path}/img", f"{tmp_path}/s/split.json")
        assert options.content_hash(kept) == options.content_hash(config)
        assert config.dataset.path == "img"
    assert kept.teacher.hint_member in kept.teacher.members


def test_a_run_is_evaluated_from_another_folder(earlier_run, tmp_path, monkeypatch):
    """A relative path of an earlier version is taken from the folder that the run was started in."""
    run = tmp_path / "run" / earlier_run.name
    shutil.copytree(earlier_run, run)
    config = earlier_runs.read_config(run / "config.yaml")
    digits = config.dataset
    config.dataset = Folder(path="img", channels=1, height=8, width=8, classes=10, validation_share=0.1,
                            test_share=0.1, preprocessing=digits.preprocessing)  # fmt: skip
    monkeypatch.chdir(tmp_path)
    files.write_config(run / "config.yaml", config)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert earlier_runs.find_network(str(run), "RUN").config.dataset.path == str(tmp_path / "img")

    text = (run / "config.yaml").read_text().replace(str(tmp_path / "img"), "img")
    (run / "config.yaml").write_text(text)
    environment = files.read_json(run / "environment.json") | {"folder": str(tmp_path)}
    files.write_json(run / "environment.json", environment)
    earlier_runs.find_network.cache_clear()
    assert earlier_runs.find_network(str(run), "RUN").config.dataset.path == str(tmp_path / "img")
