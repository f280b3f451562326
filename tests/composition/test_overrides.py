"""Overrides of text keys: the text that was typed arrives, or the message shows the form that does."""

import random
import shlex

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from fitnets.composition import loading, overrides
from fitnets.config import NamedPair, Wandb
from fitnets.errors import ConfigError

LIKE_NUMBERS = ("0.10", "1e3", "007", "1_000", "0x1F", "-5", "+1", ".5", "5.", "inf", "nan", "1:30", "2026-01-01")
LIKE_WORDS = ("null", "None", "true", "False", "on", "yes", "off", "[a]", "{a: 1}")
WITH_GRAMMAR = ("epoch=9", "a(b)", "a (b", "[my] data", "ü", "日本", "a b", " a ", "it's", '12"', "#1", "a;b!", "a\\")
IN_BRACES = ("$HOME", "100%", "a${b", "x,y(z)"[2:], "C:\\new")


def hint_layer(word: str) -> str:
    """The value of `hint_layer.teacher` after an override."""
    return loading.adapted(NamedPair(teacher="a", student="b"), "hint_layer", [word]).teacher


@pytest.mark.parametrize("text", [*LIKE_NUMBERS, *LIKE_WORDS, *WITH_GRAMMAR, *IN_BRACES])
def test_a_text_key_gets_the_text_that_was_typed(text):
    assert hint_layer(f"hint_layer.teacher={text}") == text


@pytest.mark.parametrize("text", ["0.10", "1e3", "1_000", "true", "a=b"])
def test_the_command_line_keeps_the_name_of_a_layer(command, text):
    words = ("hint_layer=named", f"hint_layer.teacher={text}", "hint_layer.student=conv1")
    assert f"hint_layer.teacher={text}: no such layer" in command(*words).err


def test_every_element_of_a_list_of_texts_is_kept():
    tracker = loading.load(["tracker=wandb", "tracker.tags=[0.10,1e3,007,true,ü b,'c, d',null]"]).tracker
    assert isinstance(tracker, Wandb)
    assert tracker.tags == ["0.10", "1e3", "007", "true", "ü b", "c, d", "null"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("tracker.project='0.10'", "0.10"),
        ('tracker.project="a, b"', "a, b"),
        ("tracker.project='it\\'s'", "it's"),
        ("tracker.project=a\\,b", "a,b"),
        ("tracker.project=${dataset.name}-1", "digits-1"),
        ("tracker.project='${dataset.name}(1)'", "digits(1)"),
        ("tracker.project=${dataset.name}(1)", "digits(1)"),
        ("tracker.project=str(0.10)", "0.10"),
        ("tracker.project=\\${dataset.name}", "${dataset.name}"),
    ],
)
def test_what_hydra_understands_keeps_its_meaning(word, value):
    tracker = loading.load(["tracker=wandb", word]).tracker
    assert isinstance(tracker, Wandb)
    assert tracker.project == value


@pytest.mark.parametrize(
    "word",
    [
        "seed=1_000",
        "student.depth=0x1F",
        "teacher.args={a: 0.10, b: 1e3}",
        "+teacher.args.rate=0.10",
        "sweep.budgets={parameters: 1e3}",
        "schedule.hint.optimizer.lr=1e-3",
        "student=null",
        "dataset.path=null",
        "~schedule.hint.max_norm.conv",
        "engine.views=16",
        "seed=range(5)",
    ],
)
def test_keys_that_hold_no_text_are_left_to_hydra(word):
    assert overrides.as_typed(word) == word


def test_arguments_of_a_custom_network_stay_typed():
    options = ["teacher=custom", "teacher.target=a.b", "teacher.args={a: 0.10, b: '0.10', c: 1_000, d: true}"]
    with loading.initialize_config_dir(str(loading.CONF)):
        composed = loading.compose("config", [overrides.as_typed(word) for word in options])
    assert OmegaConf.to_container(composed.teacher.args) == {"a": 0.1, "b": "0.10", "c": 1000, "d": True}


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ("0.10,1e3,conv1", "'0.10','1e3',conv1"),
        ("choice(0.10,a b)", "'0.10',a b"),
        ("choice(a,b)", "choice(a,b)"),
        ("sort(ü,1e3)", "'1e3','ü'"),
        ("tag(x, choice(0.10,b))", "'0.10',b"),
        ("ü,a=b", "'ü','a=b'"),
        ("a\\,b,1e3", "a\\,b,'1e3'"),
        ("'a,b',1e3", "'a,b','1e3'"),
        ("range(3)", "range(3)"),
        ("glob(conv*)", "glob(conv*)"),
    ],
)
def test_each_choice_of_a_sweep_is_text(value, ours):
    assert overrides.as_typed(f"hint_layer.teacher={value}") == f"hint_layer.teacher={ours}"
    assert overrides.as_typed(f"hint_layer.teacher={ours}") == f"hint_layer.teacher={ours}"


def test_an_option_may_be_called_like_a_number(tmp_path):
    (tmp_path / "student").mkdir()
    text = "defaults: [/hydra/fitnets/Thin@_here_, _self_]\ndepth: 3\nwidth: 4\n"
    for name in ("0.10", "1e3"):
        (tmp_path / "student" / f"{name}.yaml").write_text(text)
        config = loading.load([f"student={name}", "hint_layer=middle"], str(tmp_path))
        assert config.student.name == "thin"


def test_any_text_survives_as_a_literal_and_in_the_shell():
    """The program composes paths with `literal`; messages contain the result of `shown`."""
    signs = "aZ09._-/ =()[]{}~üé日'\"\\,:$%#!&*?@|;<>^`+"
    draw = random.Random(0)
    for _ in range(150):
        text = "".join(draw.choice([*signs, "${", "\\${", "${a}", "\\\\"]) for _ in range(draw.randint(1, 8)))
        assert hint_layer(overrides.literal("hint_layer.teacher", text)) == text
        (word,) = shlex.split(overrides.shown("hint_layer.teacher", text))
        assert hint_layer(word) == text, word


@pytest.mark.parametrize(
    ("word", "pattern"),
    [
        ("store=a,b", "store=a,b: several values: add -m to sweep over them, or quote text, 'store=\"a,b\"'"),
        ("store='a", "store='a: the value cannot be read: quote it, 'store=\"'\"'\"'a\"'"),
        ("store=a(b,c", "store=a(b,c: the value cannot be read: quote it, 'store=\"a(b,c\"'"),
        ("store=a\r", "store=a\\r: the value has a carriage return"),
        ("store=a\x1b", "store=a\\x1b: the value has a control code"),
        ("store=${oc.env:NOWHERE_SET}/x", "store: ${oc.env:NOWHERE_SET}: the environment has no NOWHERE_SET"),
        ("store=${nope}", "store: Interpolation key 'nope' not found"),
        ("student.depth=3(", "student.depth=3(: the value cannot be read"),
        ("+teacher.args.x=ü", "+teacher.args.x=ü: the value cannot be read: quote it, '+teacher.args.x=\"ü\"'"),
        ("stüdent=thin", "stüdent=thin: no KEY=VALUE"),
        ("lr=0.1", "lr: no such key: give schedule.teacher.optimizer.lr=... or schedule.hint.optimizer.lr=... or"),
        ("optimizer.lr=0.1", "optimizer.lr: no such key: give schedule.teacher.optimizer.lr=..."),
        ("+temperature=3", "temperature: no such key; schedule.kd.temperature=..."),
        ("student=", "student=: no such option"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_what_can(word, pattern):
    with pytest.raises(ConfigError) as raised:
        loading.load([word])
    assert pattern in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_values_of_a_hydra_job_are_refused_by_the_commands(fitnets, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    finished = fitnets("cost", "store=${hydra:runtime.cwd}/x")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "store: ${hydra:...} has a value in python run.py alone: give the value itself" in finished.err


def test_a_quoted_form_that_a_message_shows_works():
    with pytest.raises(ConfigError) as raised:
        loading.load(["store=a(b,c"])
    (shown,) = shlex.split(str(raised.value).rpartition("quote it, ")[2])
    assert loading.load([shown]).store == "a(b,c"
