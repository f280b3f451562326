"""Without a network, the copy of an earlier download is used, or the run ends at once with the way out."""

import threading
import time

import datasets
import pytest
from huggingface_hub import constants

from fitnets.data.reading import downloads

REPOSITORY = "nobody/nothing"


@pytest.fixture
def offline(monkeypatch):
    """The hub does not respond, and a repeated request fails the test. Returns the list of checks for a network."""

    def unreachable() -> bool:
        checks.append(REPOSITORY)
        return False

    checks: list[str] = []
    monkeypatch.setattr(downloads, "reachable", unreachable)
    for module in (constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("a request was tried again"))
    return checks


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
    (table,) = (tmp_path / "made" / "parquet").glob("*/*/*/parquet-train.arrow")
    version = tmp_path / "cache" / "nobody___nothing" / "default" / "0.0.0"
    version.mkdir(parents=True)
    table.parent.rename(version / "abc")
    (version / "abc" / "parquet-train.arrow").rename(version / "abc" / "nothing-train.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert downloads.load(REPOSITORY, None, revision=None, split="train")["label"][:] == [4, 2]


def test_offline_mode_sends_no_request(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(ConnectionError, match="OfflineModeIsEnabled"):
        downloads.load(REPOSITORY, None, revision=None, split="train")
    assert offline == []


class Session:
    """An HTTP session whose requests call `respond`."""

    def __init__(self, respond):
        self.respond = respond

    def head(self, _url, timeout):
        assert timeout == downloads._WAIT_S
        return self.respond()


def refuse() -> None:
    raise OSError("no route")


@pytest.mark.parametrize(("respond", "expected"), [(lambda: 404, True), (refuse, False)])
def test_any_response_means_that_the_hub_is_reachable(monkeypatch, respond, expected):
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Session(respond))
    assert downloads.reachable() is expected


def test_a_host_lookup_that_hangs_ends_after_the_time_limit(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(downloads, "_WAIT_S", 0.05)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Session(released.wait))
    started = time.perf_counter()
    assert not downloads.reachable()
    assert time.perf_counter() - started < 5
    released.set()
