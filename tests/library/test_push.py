"""`fitnets push`: the files, the card, and what it must not do."""

import math
import re
import socket
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from sklearn.datasets import load_digits

import fitnets as library
from fitnets.exporting import hub_card
from fitnets.store.files import read_json

NAME = "somebody/digits"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch):
    """Every connection fails, and the Hub's library knows that it is offline."""

    def refuse(*_positional, **_named):
        raise AssertionError("a request was made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


@pytest.fixture
def pushed(finished, fitnets, tmp_path):
    done = fitnets("push", finished.folder, NAME, "--to", tmp_path / "pushed")
    assert done.code == 0, done.err
    return tmp_path / "pushed"


def test_the_folder_has_the_fixed_files_and_a_header_with_right_metrics(finished, pushed):
    assert sorted(path.name for path in pushed.iterdir()) == sorted(hub_card.FILES)
    card = ModelCard.load(pushed / "README.md")
    metrics = {one.dataset_split: one for one in card.data.eval_results}
    for split, key in (("test", "test"), ("validation", "valid")):
        accuracy, count = finished.values["student"][f"{key}_accuracy"], finished.values["images"][key]
        assert metrics[split].metric_value == accuracy
        assert (metrics[split].metric_args["n"], metrics[split].metric_args["runs"]) == (count, 1)
        low, high = metrics[split].metric_args["interval"]
        assert low < accuracy < high
        centre = (accuracy + 1.96**2 / (2 * count)) / (1 + 1.96**2 / count)  # Wilson's
        assert (low + high) / 2 == pytest.approx(centre, abs=1e-4)
    assert (card.data.license, card.data.library_name, card.data.datasets) == ("mit", "fitnets", ["digits"])
    assert all(isinstance(tag, str) for tag in card.data.tags)
    assert "base_model" not in card.data.to_dict()  # the teacher is no published model
    header = (pushed / "README.md").read_text().split("---\n")[1]
    assert not list(empty_values(yaml.safe_load(header)))


def empty_values(value):
    """Yield every null and NaN."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from empty_values(one)
    elif value is None or (isinstance(value, float) and math.isnan(value)):
        yield value


def test_what_is_loaded_from_the_folder_gives_the_runs_logits(finished, pushed):
    images = torch.from_numpy(load_digits().images[:50, None].astype("uint8"))
    student, original = library.load(pushed), library.load(finished)
    assert torch.equal(student(images), original(images))
    assert student.classes == original.classes
    assert student.card == (pushed / "README.md").read_text()


def test_a_whitened_student_takes_its_constants_along(tmp_path, fitnets):
    from support.runs import TINY

    words = [*TINY, "method=kd", "dataset/preprocessing=whiten", f"store={tmp_path / 'store'}"]
    run = library.run(words, quiet=True)
    assert fitnets("push", run.folder, NAME, "--to", tmp_path / "pushed").code == 0
    images = torch.from_numpy(load_digits().images[:50, None].astype("uint8"))
    assert torch.equal(library.load(tmp_path / "pushed")(images), library.load(run)(images))


def test_nothing_names_a_place_of_this_machine(finished, pushed):
    places = [Path.home(), Path.cwd(), finished.folder.parent.parent, socket.gethostname(), "started_by"]
    private = [*map(str, places)]
    for path in pushed.iterdir():
        content = path.read_bytes()
        assert not [place for place in private if place.encode() in content], path.name
    assert read_json(pushed / "result.json")["timing"].keys() == {"precision"}


def test_a_dry_run_prints_files_sizes_and_card_and_leaves_nothing(finished, fitnets, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(finished.folder.parent.parent.rglob("*"))
    done = fitnets("push", finished.folder, NAME, "--dry-run")
    assert done.code == 0, done.err
    for name in hub_card.FILES:
        assert re.search(rf"^{re.escape(name)} +[\d.]+ k?B$", done.out, re.MULTILINE), done.out
    assert "library_name: fitnets" in done.out
    assert f'fitnets.load("hub:{NAME}")' in done.out
    assert sorted(finished.folder.parent.parent.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_an_edited_card_keeps_its_text(finished, pushed, fitnets):
    card = pushed / "README.md"
    text = card.read_text().replace("license: mit", "license: mit\nlanguage: de").replace(
        "# thin, hints on digits", "# to be replaced"
    )  # fmt: skip
    card.write_text(text + "\n## By hand\n\nLimits of use.\n")
    assert fitnets("push", finished.folder, NAME, "--to", pushed).code == 0
    again = ModelCard.load(card)
    assert "## By hand\n\nLimits of use." in again.content
    assert "to be replaced" not in again.content
    assert again.content.count("# thin, hints on digits") == 1
    assert again.data.language == "de"


@pytest.mark.parametrize("name", ["digits", "a/b/c", "-x/y", "a b/c"])
def test_a_wrong_name_is_told_before_any_request(finished, fitnets, name):
    done = fitnets("push", finished.folder, "--", name)
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert "give USER/NAME" in done.err


def test_a_missing_token_is_told_before_any_request(finished, fitnets):
    done = fitnets("push", finished.folder, NAME)
    assert done.code == 1
    assert done.err == "the Hub needs a token: run `hf auth login`, or set HF_TOKEN\n"


def test_an_unfinished_run_is_refused(tmp_path, fitnets):
    (tmp_path / "run").mkdir()
    done = fitnets("push", tmp_path / "run", NAME, "--dry-run")
    assert done.code == 1
    assert "no trained network there" in done.err


def test_a_folder_with_other_files_is_refused(finished, fitnets, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = fitnets("push", finished.folder, NAME, "--to", tmp_path)
    assert done.code == 1
    assert "it holds other files than those of a push" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_real_push_makes_a_private_repository_and_uploads_the_fixed_files(finished, fitnets, monkeypatch):
    calls = []

    class Api:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, name, **options):
            calls.append((name, options))
            return f"https://hub/{name}"

        def upload_folder(self, *, repo_id, folder_path, allow_patterns):
            calls.append((repo_id, sorted(path.name for path in folder_path.iterdir()), allow_patterns))

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "secret")
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("fitnets.library.pushing._card_on_hub", lambda name: "")
    done = fitnets("push", finished.folder, NAME)
    assert done.code == 0, done.err
    assert "secret" not in done.out + done.err
    assert calls == [
        "secret",
        (NAME, {"private": True, "exist_ok": True}),
        (NAME, sorted(hub_card.FILES), [*hub_card.FILES]),
    ]
