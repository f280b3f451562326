"""Without a network: a quick end with the way out, or the copy of an earlier download."""

import threading
import time

import datasets
import pytest
from huggingface_hub import constants

from fitnets.data.reading import downloads

REPOSITORY = "nobody/nothing"


@pytest.fixture
def offline(monkeypatch):
    """Nothing answers, as behind a cable that is pulled: what is asked in spite of that fails the test."""

    def unreachable() -> bool:
        asked.append(REPOSITORY)
        return False

    asked: list[str] = []
    monkeypatch.setattr(downloads, "reachable", unreachable)
    for place in (constants, datasets.config):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("a request was tried again"))
    return asked


@pytest.mark.parametrize("dataset", ["mnist", "cifar100"])
def test_a_download_without_a_network_ends_at_once_with_the_way_out(command, offline, dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    finished = command(f"dataset={dataset}", "tracker=none", "student=thin", "teacher=resnet14")
    assert finished.code == 1
    assert "the hub does not respond, and no earlier download is on this machine" in finished.err
    assert "give dataset.path=DIR, a folder with train-*.parquet" in finished.err
    assert len(finished.err.splitlines()) == 2
    assert offline == [REPOSITORY]
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_an_earlier_download_is_used_without_a_network(offline, tmp_path, monkeypatch):
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"label": [4, 2]}).to_parquet(tmp_path / "train.parquet")
    files = {"train": str(tmp_path / "train.parquet")}
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "made"))
    (made,) = (tmp_path / "made" / "parquet").glob("*/*/*/parquet-train.arrow")
    version = tmp_path / "cache" / "nobody___nothing" / "default" / "0.0.0"
    version.mkdir(parents=True)
    made.parent.rename(version / "abc")
    (version / "abc" / "parquet-train.arrow").rename(version / "abc" / "nothing-train.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert downloads.load(REPOSITORY, None, revision=None, split="train")["label"][:] == [4, 2]


def test_who_asks_for_no_network_is_not_asked_again(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(ConnectionError, match="OfflineModeIsEnabled"):
        downloads.load(REPOSITORY, None, revision=None, split="train")
    assert offline == []


class Session:
    def __init__(self, answer):
        self.answer = answer

    def head(self, _url, timeout):
        assert timeout == downloads._WAIT_S
        return self.answer()


def refuse() -> None:
    raise OSError("no route")


@pytest.mark.parametrize(("answer", "expected"), [(lambda: 404, True), (refuse, False)])
def test_any_answer_is_an_answer(monkeypatch, answer, expected):
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Session(answer))
    assert downloads.reachable() is expected


def test_a_name_that_is_looked_up_for_ever_is_waited_for_no_longer_than_that(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(downloads, "_WAIT_S", 0.05)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Session(released.wait))
    started = time.perf_counter()
    assert not downloads.reachable()
    assert time.perf_counter() - started < 5
    released.set()
