"""A user's own YAML files: they replace shipped ones of the same name, and their text keys keep the text."""

from pathlib import Path

import pytest

from fitnets.composition import loading
from fitnets.config import NamedPair, Thin, Wandb
from fitnets.errors import ConfigError

THIN = "defaults: [/hydra/fitnets/Thin@_here_, _self_]\ndepth: 3\nwidth: {}\n"


@pytest.fixture
def mine(tmp_path):
    """Return a function that writes files into a folder of the user's options and returns the folder."""

    def write(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / "mine" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return str(tmp_path / "mine")

    return write


# --- the user's file replaces the shipped one ---


def test_an_option_with_a_shipped_name_wins(mine, command):
    folder = mine(student__thin=THIN.format(9))
    student = loading.load(["student=thin", "hint_layer=middle"], folder).student
    assert isinstance(student, Thin)
    assert student.width == 9
    for words in (("--config-dir", folder), (f"hydra.searchpath=[file://{folder}]",)):
        shown = command(*words, "student=thin", "--cfg", "job", "-p", "student")
        assert "width: 9" in shown.out, shown.err


@pytest.mark.parametrize(
    ("files", "words", "shown"),
    [
        ({"tracker__none": "defaults: [/hydra/fitnets/Wandb@_here_]\n"}, ["tracker=none"], "tracker.name: wandb"),
        ({"engine__default": "defaults: [/hydra/fitnets/Engine@_here_]\nthreads: 3\n"}, [], "engine.threads: 3"),
        (
            {"dataset__digits": "defaults: [/hydra/fitnets/Digits@_here_]\ntest_images: 99\n"},
            [],
            "dataset.test_images: 99",
        ),
    ],
)
def test_so_does_one_of_any_group(mine, command, files, words, shown):
    node, _, line = shown.partition(".")
    finished = command("--config-dir", mine(**files), *words, "--cfg", "job", "-p", node)
    assert line in finished.out, finished.err


def test_so_does_one_of_hydras_groups(mine, command, capfd):
    folder = mine(hydra__help__fitnets="app_name: Mine\nheader: h\nfooter: f\ntemplate: my own help\n")
    with pytest.raises(SystemExit):
        command("--config-dir", folder, "--help")
    assert capfd.readouterr().out.strip() == "my own help"


def test_config_yaml_wins_if_it_is_whole_and_else_is_refused(mine, command):
    folder = mine(config="seed: 7\n")
    refused = command("--config-dir", folder)
    assert refused.code == 1
    assert "the name is taken by the shipped config.yaml" in refused.err
    assert refused.err.count("\n") == 1
    whole = (loading.CONF / "config.yaml").read_text().replace("student: fitnet_digits", "student: wrn")
    shown = command("--config-dir", mine(config=whole), "--cfg", "job", "-p", "student")
    assert "name: wrn" in shown.out, shown.err


def test_the_way_out_of_a_taken_config_yaml_works(mine, command):
    folder = mine(mine="defaults: [config, _self_]\nseed: 7\n")
    assert "seed: 7" in command("--config-dir", folder, "--config-name", "mine", "--cfg", "job").out


def test_an_option_that_names_itself_is_refused(mine):
    with pytest.raises(ConfigError, match="thin.yaml has thin in its defaults, and that is the file itself"):
        loading.load(["student=thin"], mine(student__thin="defaults: [thin, _self_]\nwidth: 9\n"))


# --- text in YAML ---


def test_text_keys_of_a_file_keep_the_text(mine):
    schema = "defaults: [/hydra/fitnets/NamedPair@_here_, _self_]\n"
    folder = mine(hint_layer__pair=schema + "teacher: 0.10\nstudent: on\n")
    with pytest.raises(ConfigError) as raised:
        loading.load(["hint_layer=pair"], folder)
    assert "hint_layer.teacher=0.10: no such layer" in str(raised.value)
    assert "hint_layer.student=on: no such layer" in str(raised.value)


@pytest.mark.parametrize("text", ["0.10", "1e3", "007", "0x1F", "1_000", "1:30", "yes", "2026-01-01", ".inf", "true"])
def test_so_do_those_of_options_that_build_on_others(mine, text):
    folder = mine(tracker__mine=f"defaults: [wandb, _self_]\nproject: {text}\nentity: null\ntags: [{text}, 'a']\n")
    tracker = loading.load(["tracker=mine"], folder).tracker
    assert isinstance(tracker, Wandb)
    assert (tracker.project, tracker.entity, tracker.tags) == (text, None, [text, "a"])


def test_so_do_those_of_a_file_for_all_groups(mine, command):
    folder = mine(exp__one="# @package _global_\nstore: 1_000\ntracker: {project: 1e3}\nteacher: {seed: 1_0}\n")
    shown = command("--config-dir", folder, "+exp=one", "--cfg", "job", "-p", "tracker")
    assert "project: '1e3'" in shown.out, shown.err
    assert loading.load(["+exp=one"], folder).teacher.seed == 10
    assert loading.load(["+exp=one"], folder).store == "1_000"


def test_arguments_in_a_file_stay_typed(mine, command):
    schema = "defaults: [/hydra/fitnets/CustomTeacher@_here_, _self_]\n"
    folder = mine(teacher__net=schema + "target: 1.5\nargs: {rate: 0.10, count: 1_000, on: true, text: '0.10'}\n")
    shown = command("--config-dir", folder, "teacher=net", "--cfg", "job", "-p", "teacher").out
    assert "target: '1.5'" in shown
    assert "rate: 0.1\n" in shown
    assert "count: 1000\n" in shown
    assert "text: '0.10'" in shown


def test_a_home_in_a_file_is_the_home(mine, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    folder = mine(exp__one="# @package _global_\nstore: ~/results\n")
    assert loading.load(["+exp=one"], folder).store == "/home/somebody/results"


# --- files that are no options ---


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"width: 5\n", "the file must say which of FitNet, .*Thin.* defaults: .*_here_.*or which option it changes"),
        (b"", "the file must say which of FitNet"),
        (b"- a\n- b\n", "an option is a table of keys and values"),
        (b"just text\n", "an option is a table of keys and values"),
        (b"name: caf\xe9\n", "not UTF-8 text"),
        (b"depth: [3\n", r"own.yaml.*line 2"),
        (b"defaults: [/hydra/fitnets/Thin@_here_, _self_]\nwdith: 3\n", "'wdith' not in 'Thin'"),
        (b"defaults: [/hydra/fitnets/Thn@_here_]\n", "hydra/fitnets/Thn"),
        (b"\x00\x01\x02", "own.yaml"),
    ],
)
def test_a_file_that_is_no_option_is_named(mine, text, told):
    folder = Path(mine(student__own=""))
    (folder / "student" / "own.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=f"(?s){told}") as raised:
        loading.load(["student=own"], str(folder))
    assert len(str(raised.value).splitlines()) <= 3


def test_an_empty_path_in_a_file_is_refused_by_name(mine):
    with pytest.raises(ConfigError, match=r"one.yaml: store= is empty: give a path"):
        loading.load(["+exp=one"], mine(exp__one="# @package _global_\nstore: ''\n"))


def test_many_missing_keys_are_told_in_six_lines(mine):
    with pytest.raises(ConfigError) as raised:
        loading.load(["schedule=own"], mine(schedule__own="defaults: [/hydra/fitnets/Schedule@_here_]\n"))
    assert len(str(raised.value).splitlines()) <= 6


def test_pairs_of_names_reach_the_run_as_text(mine):
    folder = mine(hint_layer__pair="defaults: [named, _self_]\nteacher: conv1\nstudent: conv4\n")
    assert loading.load(["hint_layer=pair"], folder).hint_layer == NamedPair(teacher="conv1", student="conv4")
