"""`fitnets.compose`: inside a program that uses Hydra itself, and without a command line."""

import sys
from dataclasses import replace

import hydra
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from omegaconf import OmegaConf

import fitnets
from support.processes import cold

BAD = ["student=nonsense"]


@pytest.fixture
def host(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "theirs.yaml").write_text("answer: 42\n")
    return str(tmp_path / "conf")


@pytest.mark.parametrize("overrides", [["dataset=digits"], BAD], ids=["good", "bad"])
def test_a_bare_initialize_stays_in_place(host, overrides):
    hydra.initialize_config_dir(host, job_name="host")
    try:
        _compose(overrides)
        assert GlobalHydra.instance().is_initialized()
        assert hydra.compose("theirs").answer == 42
        assert JobRuntime.instance().get("name") == "host"
    finally:
        GlobalHydra.instance().clear()


@pytest.mark.parametrize("overrides", [["dataset=digits"], BAD], ids=["good", "bad"])
def test_a_with_block_stays_in_place(host, overrides):
    with initialize_config_dir(host, job_name="host"):
        _compose(overrides)
        assert hydra.compose("theirs").answer == 42


APP = """
import hydra, fitnets
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime

@hydra.main(config_path="conf", config_name="theirs")
def main(config):
    for overrides in (["dataset=digits"], ["student=nonsense"]):
        try:
            fitnets.compose(overrides)
        except fitnets.ConfigError:
            pass
    assert hydra.compose("theirs").answer == 42
    assert HydraConfig.get().job.name == JobRuntime.instance().get("name") == "app"
    print("fine")

main()
"""


def test_a_hydra_main_stays_in_place(host, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    done = cold("app.py", cwd=tmp_path)
    assert done.stdout == "fine\n", done.stderr


def _compose(overrides):
    if overrides == BAD:
        with pytest.raises(fitnets.ConfigError, match="student=nonsense: no such option"):
            fitnets.compose(overrides)
    else:
        fitnets.compose(overrides)
    assert not HydraConfig.initialized()


@pytest.mark.parametrize(
    "argv", [["ipykernel_launcher.py", "-f", "kernel.json"], ["x", "--help"]], ids=["kernel", "help"]
)
def test_the_command_line_is_not_read_and_nothing_is_printed_or_written(argv, tmp_path, monkeypatch, capfd, watched):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", argv)
    assert fitnets.compose(["dataset=digits"]).dataset.name == "digits"
    with pytest.raises(fitnets.ConfigError):
        fitnets.compose(BAD)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()


def test_the_config_is_plain_and_its_own():
    first, second = fitnets.compose(), fitnets.compose()
    assert first == second
    assert not OmegaConf.is_config(first.schedule.student.lr_scale)
    first.schedule.student.epochs = 99
    first.schedule.student.lr_scale["conv1"] = 0.5
    assert second.schedule.student.epochs != 99
    assert fitnets.compose() == second
    assert isinstance(replace(first, seed=3), fitnets.Config)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("store=${hydra:job.name}", "store"),
        ("student=nonsense", "student=nonsense: no such option"),
        ("schedule.student.epochs=0", "schedule.student.epochs=0 is out of range"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_mistake_is_a_config_error_with_its_key(word, message):
    with pytest.raises(fitnets.ConfigError, match=message):
        fitnets.compose([word])


def test_one_word_may_be_given_alone():
    assert fitnets.compose("seed=3").seed == 3
