"""The ids of W&B runs, and the effect of W&B's environment variables."""

import json
import re

import pytest
import wandb

from fitnets.config import Wandb
from fitnets.errors import ConfigError
from fitnets.store import ownership
from fitnets.store.files import read_json
from fitnets.tracking import wandb_environment, wandb_mirror
from support.runs import TINY, interrupted
from support.wandb_files import only, read_back

WANDB = (*TINY[1:], "engine.threads=1", "method=backprop")
VARIABLES = (*wandb_environment.UNUSED, *wandb_environment._COUNTED, "WANDB_MODE", "WANDB_DISABLED")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings(**given) -> Wandb:
    return Wandb(**({"project": None, "entity": None, "group": None, "tags": [], "mode": None} | given))


class TestIds:
    def test_two_runs_never_share_an_id_whatever_the_environment_says(self, command, tmp_path, monkeypatch):
        monkeypatch.setenv("WANDB_RUN_ID", "abc")
        monkeypatch.setenv("WANDB_SWEEP_ID", "def")
        finished = command("-m", *WANDB, "seed=0,1")
        assert finished.code == 0, finished.err
        ids = {}
        for run in (tmp_path / "store" / "run").glob("[!.]*"):
            ids[run.name] = read_json(run / "wandb.json")["id"]
            assert read_back(run)["run"].run_id == ids[run.name]
            store = ownership.marker(tmp_path / "store")
            assert re.fullmatch(rf"{run.name}_{store[:8]}_[0-9a-f]{{8}}", ids[run.name])
        assert len(set(ids.values())) == 2
        (line,) = (line for line in finished.out.splitlines() if "environment" in line)
        assert "WANDB_RUN_ID (each run has an id of its own)" in line
        assert "WANDB_SWEEP_ID" in line

    def test_resumed_run_keeps_its_id_and_a_rerun_gets_another(self, command, tmp_path, monkeypatch):
        words = ("student.depth=3", "student.width=4", "tracker=wandb", "engine.threads=1")
        interrupted(tmp_path, monkeypatch, *words)
        run = only(tmp_path / "store")
        assert read_json(run / "result.json")["status"] == "stopped"
        first = read_json(run / "wandb.json")["id"]
        base = [word for word in TINY if not word.startswith("tracker")]
        assert command(*base, *words).code == 0
        assert read_json(run / "result.json")["status"] == "finished"
        assert read_json(run / "wandb.json")["id"] == first == read_back(run)["run"].run_id
        assert command(*base, *words, "rerun=true").code == 0
        assert read_json(run / "wandb.json")["id"] != first
        assert ownership.reason_to_keep(run, "run") is None

    @pytest.mark.parametrize(
        ("status", "is_resumed"),
        [("running", True), ("stopped", True), ("failed", True)]
        + [(status, False) for status in ("finished", "diverged", "pruned")],
    )
    def test_only_unfinished_runs_continue_their_id(self, tmp_path, status, is_resumed):
        (tmp_path / "result.json").write_text(json.dumps({"status": status}))
        assert wandb_mirror.id_to_resume(tmp_path) is None
        (tmp_path / "wandb.json").write_text(json.dumps({"id": "one"}))
        assert wandb_mirror.id_to_resume(tmp_path) == ("one" if is_resumed else None)

    def test_same_run_in_two_stores_has_two_ids(self, command, tmp_path):
        ids = []
        for name in ("a", "b"):
            assert command(*WANDB, store=tmp_path / name).code == 0
            ids.append(read_json(only(tmp_path / name) / "wandb.json")["id"])
        assert ids[0].split("_")[0] == ids[1].split("_")[0]
        assert ids[0].split("_")[1] != ids[1].split("_")[1]


class TestTheEnvironment:
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({}, {"project": "fitnets", "mode": "offline", "entity": None, "group": None, "tags": []}),
            ({"WANDB_PROJECT": "mine", "WANDB_ENTITY": "us"}, {"project": "mine", "entity": "us"}),
            ({"WANDB_MODE": "online"}, {"mode": "online"}),
            ({"WANDB_MODE": "dryrun"}, {"mode": "offline"}),
            ({"WANDB_MODE": ""}, {"mode": "offline"}),
            ({"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, {"mode": "disabled"}),
            ({"WANDB_DISABLED": "false"}, {"mode": "offline"}),
            ({"WANDB_TAGS": "a, b", "WANDB_RUN_GROUP": "g"}, {"tags": ["a", "b"], "group": "g"}),
        ],
    )
    def test_variable_counts_where_the_tracker_leaves_it_open(self, variables, expected):
        settled = wandb_environment.fill_in(settings(), variables)
        assert {key: getattr(settled, key) for key in expected} == expected
        counted = {name: value for name, value in variables.items() if name not in ("WANDB_MODE", "WANDB_DISABLED")}
        assert wandb_environment.unused_variables(settled, counted) == {}

    def test_variable_does_not_override_the_tracker_and_is_reported(self):
        given = settings(project="p", mode="offline", entity="e", group="g", tags=["t"])
        variables = {
            "WANDB_PROJECT": "x", "WANDB_MODE": "online", "WANDB_ENTITY": "x", "WANDB_RUN_GROUP": "x", "WANDB_TAGS": "x"
        }  # fmt: skip
        settled = wandb_environment.fill_in(given, variables)
        assert settled == given
        assert set(wandb_environment.unused_variables(settled, variables)) == set(variables)

    @pytest.mark.parametrize("name", list(wandb_environment.UNUSED))
    def test_every_other_variable_is_reported_as_unused(self, name):
        assert name in wandb_environment.unused_variables(
            wandb_environment.fill_in(settings(), {name: "x"}), {name: "x"}
        )

    def test_unknown_mode_is_reported_before_anything_is_trained(self, command, tmp_path, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "sometimes")
        with pytest.raises(ConfigError, match="WANDB_MODE=sometimes: give online, offline or disabled"):
            wandb_mirror.is_on(settings())
        finished = command(*WANDB)
        assert (finished.code, len(finished.err.splitlines())) == (1, 1)
        assert not (tmp_path / "store" / "run").exists()

    def test_variables_reach_the_run(self, command, tmp_path, monkeypatch):
        for name, value in {"PROJECT": "mine", "NAME": "x", "TAGS": "a,b", "NOTES": "n", "DIR": str(tmp_path)}.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        wandb.teardown()  # W&B's service keeps the environment that it was started with
        finished = command(*WANDB)
        assert finished.code == 0, finished.err
        run = read_back(only(tmp_path / "store"))["run"]
        assert (run.project, list(run.tags), run.notes) == ("mine", ["a", "b"], "n")
        assert run.display_name != "x"
        assert "WANDB_NAME (runs are named after student and hash), WANDB_DIR" in finished.out

    def test_mode_disabled_starts_no_run(self, command, tmp_path, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        assert command(*WANDB).code == 0
        assert not list((tmp_path / "store").rglob("wandb*"))
