"""The name of a study, the address of its storage, and journals with a torn end."""

import json
import os
import socket
from pathlib import Path

import optuna
import pytest

from fitnets.errors import ConfigError
from fitnets.sweeper import address, history, storage, trials
from support.studies import STUDY, opened

ONE = {"accuracy": "maximize"}
QUICK = (*STUDY, "student.depth=3", "student.width=4,5", "hydra.sweeper.objectives=[accuracy]", "test=false")


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["a/b", "../x", ".hidden", "a:b", "", " ", "a\\b", "a\nb", "x" * 300, "ü" * 121, " a", "..", "a*b"],
    )
    def test_name_that_is_not_plain_is_refused_with_a_plain_one(self, name):
        with pytest.raises(ConfigError, match="hydra.sweeper.study_name") as refused:
            address.check_name(name)
        address.check_name(str(refused.value).rpartition("study_name=")[2])

    @pytest.mark.parametrize("name", ["depth_width-digits", "my study", "größe", "图", "a.b", "v1.0-x", "x" * 120])
    def test_plain_name_is_accepted(self, name):
        address.check_name(name)

    @pytest.mark.parametrize("name", ["a/b", "'mine-${student.name}:1'", ""])
    def test_refused_name_leaves_nothing_behind(self, command, tmp_path, name):
        finished = command(*QUICK, f"hydra.sweeper.study_name={name}")
        assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
        assert not (tmp_path / "store").exists()

    def test_report_finds_studies_whose_names_were_paths(self, tmp_path):
        for name in ("plain", "a/b"):
            folder = tmp_path / "sweeps" / name
            study = storage.open_study(str(folder / "study.log"), name, ONE)
            address.write_record(folder / "study.json", study, str(folder / "study.log"))
        assert [study.name for study in history.of_store(tmp_path)] == ["a/b", "plain"]


class TestAddresses:
    @pytest.mark.parametrize(
        ("given", "absolute"),
        [
            ("s.log", "/here/s.log"),
            ("sub/../s.log", "/here/s.log"),
            ("sqlite:///s.db", "sqlite:////here/s.db"),
            ("sqlite:////there/s.db", "sqlite:////there/s.db"),
            ("sqlite+pysqlite:///../s.db?timeout=5", "sqlite+pysqlite:////s.db?timeout=5"),
            ("sqlite:///a b/ü.db", "sqlite:////here/a b/%C3%BC.db"),
            ("sqlite:///a%20b.db", "sqlite:////here/a b.db"),
            ("sqlite:///file:s.db?mode=rwc&uri=true", "sqlite:///file%3A/here/s.db?mode=rwc&uri=true"),
            ("postgresql://me:pw@host/x", "postgresql://me:pw@host/x"),
            ("nonsense://x", "nonsense://x"),
        ],
    )
    def test_relative_address_is_taken_from_the_folder_of_the_command(self, given, absolute):
        assert address.absolute(given, Path("/here")) == absolute

    def test_home_is_expanded(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        assert address.absolute("sqlite:///~/s.db", Path("/here")) == "sqlite:////home/me/s.db"
        assert address.absolute("~/s.log", Path("/here")) == "/home/me/s.log"

    @pytest.mark.parametrize("given", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
    def test_database_in_memory_is_refused(self, given):
        with pytest.raises(ConfigError, match="a database in memory ends with its process"):
            address.absolute(given, Path("/here"))


def new_study(store: Path, address_: str, name: str = "one") -> Path:
    """Create a study in that storage. Returns the path of its `study.json`."""
    record = store / "sweeps" / name / "study.json"
    study = storage.open_study(address_, name, ONE)
    address.write_record(record, study, address_)
    return record


class TestTheRecordedAddress:
    def test_another_storage_is_refused_with_the_recorded_one(self, tmp_path):
        there, here = (f"sqlite:///{tmp_path}/{folder}/s.db" for folder in ("a", "b"))
        (tmp_path / "a").mkdir()
        record = new_study(tmp_path / "store", there)
        with pytest.raises(ConfigError) as refused:
            address.check(record, "one", here, tmp_path / "b")
        assert there in str(refused.value)
        assert here in str(refused.value)
        assert f"'hydra.sweeper.storage=\"{there}\"'" in str(refused.value)
        assert not (tmp_path / "b").exists()

    @pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite+pysqlite:///{}?timeout=5", "sqlite:///file:{}?uri=true"])
    def test_another_spelling_of_the_same_file_is_accepted(self, tmp_path, url):
        record = new_study(tmp_path / "store", f"sqlite:///{tmp_path}/s.db")
        (tmp_path / "link").symlink_to(tmp_path)
        for path in (tmp_path / "s.db", tmp_path / "link" / "s.db"):
            place = address.absolute(url.format(path), tmp_path)
            assert address.check(record, "one", place, tmp_path) is None

    def test_study_in_a_moved_store_resumes(self, tmp_path):
        store = tmp_path / "store"
        new_study(store, str(store / "sweeps" / "one" / "study.log"))
        store.rename(tmp_path / "moved")
        moved = tmp_path / "moved" / "sweeps" / "one"
        assert address.check(moved / "study.json", "one", str(moved / "study.log"), tmp_path) is None
        assert [study.error for study in history.of_store(tmp_path / "moved")] == [None]

    @pytest.mark.parametrize("is_there", [True, False])
    def test_study_whose_file_is_lost_or_empty_starts_over_with_a_message(self, tmp_path, is_there):
        place = tmp_path / "s.log"
        record = new_study(tmp_path / "store", str(place))
        place.write_bytes(b"") if is_there else place.unlink()
        assert "starts over" in address.check(record, "one", str(place), tmp_path)

    def test_relative_address_of_an_earlier_version_is_found_or_refused(self, tmp_path):
        place = f"sqlite:///{tmp_path}/s.db"
        record = new_study(tmp_path / "store", place)
        record.write_text(json.dumps({"name": "one", "storage": "sqlite:///s.db"}))
        assert address.check(record, "one", place, tmp_path) is None
        assert address.read(record) == ("one", place)  # the file beside the store
        (tmp_path / "b").mkdir()
        with pytest.raises(ConfigError, match="lives in sqlite:///s.db, not in") as refused:
            address.check(record, "one", f"sqlite:///{tmp_path}/b/s.db", tmp_path / "b")
        assert place in str(refused.value)

    def test_relative_url_from_a_second_folder_is_refused(self, command, tmp_path, monkeypatch):
        word = 'hydra.sweeper.storage="sqlite:///s.db"'
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / "a")
        assert command(*QUICK, word, "hydra.sweeper.n_trials=1").code == 0
        record = json.loads((tmp_path / "store/sweeps/depth_width-digits/study.json").read_text())
        assert record["storage"] == f"sqlite:///{tmp_path}/a/s.db"
        monkeypatch.chdir(tmp_path / "b")
        finished = command(*QUICK, word, "hydra.sweeper.n_trials=2")
        assert finished.code == 1
        assert f"lives in sqlite:///{tmp_path}/a/s.db, not in sqlite:///{tmp_path}/b/s.db" in finished.err
        assert os.listdir() == []
        other = f'hydra.sweeper.storage="sqlite:///{tmp_path}/a/s.db"'
        assert command(*QUICK, other, "hydra.sweeper.n_trials=2").code == 0
        assert len(trials.counted(opened(f"sqlite:///{tmp_path}/a/s.db").trials)) == 2


# --- torn journals ---


def journal(path: Path) -> list[bytes]:
    """The lines of the journal of a study with two trials."""
    study = storage.open_study(str(path), "one", ONE)
    for value in (0.25, 0.5):
        trial = study.ask()
        trial.set_user_attr("reason", "zu groß")
        study.tell(trial, value)
    return path.read_bytes().splitlines(keepends=True)


TEARS = {
    "half a line": lambda lines: b"".join(lines)[:-9],
    "without its newline": lambda lines: b"".join(lines)[:-1],
    "in a character": lambda lines: b"".join(lines) + '{"op_code":8,"x":"ß'.encode()[:-1],
    "zeros": lambda lines: b"".join(lines) + bytes(4096),
    "zeros after half a line": lambda lines: b"".join(lines)[:-9] + bytes(100),
    "zeros and a newline": lambda lines: b"".join(lines) + bytes(100) + b"\n",
}


class TestTornJournal:
    @pytest.mark.parametrize("tear", TEARS)
    def test_torn_end_is_cut_and_nothing_before_it(self, tmp_path, tear):
        path, lines_shown = tmp_path / "study.log", []
        lines = journal(path)
        torn = TEARS[tear](lines)
        path.write_bytes(torn)
        for _ in range(2):
            study = storage.open_study(str(path), "one", ONE, say=lines_shown.append)
        kept = path.read_bytes().splitlines(keepends=True)
        assert kept[: len(lines) - 1] == lines[:-1]
        assert len(study.trials) == 2
        assert study.trials[0].value == 0.25
        if tear == "without its newline":
            assert lines_shown == []
            assert study.trials[1].value == 0.5
        else:
            assert len(lines_shown) == 1
            assert f"{path}: the last line is incomplete" in lines_shown[0]

    def test_worker_cuts_the_half_line_of_another_worker(self, tmp_path):
        path = tmp_path / "study.log"
        journal(path)
        study = storage.open_study(str(path), "one", ONE)
        with path.open("ab") as file:
            file.write(b'{"op_code":4,"worker')
        study.ask()
        assert len(storage.open_study(str(path), "one", ONE).trials) == 3

    def test_looking_up_a_study_changes_nothing(self, tmp_path):
        path = tmp_path / "study.log"
        path.write_bytes(b"".join(journal(path))[:-9])
        before = path.read_bytes()
        assert len(storage.look_up(str(path), "one").trials) == 2
        assert path.read_bytes() == before

    @pytest.mark.parametrize("damage", [b"{}\n", b"\0\0\0\n", b'{"op_code":4,"wor{"op_code":5}\n', b"\xff\n", b"7\n"])
    def test_damaged_line_in_the_middle_is_reported_and_nothing_is_cut(self, tmp_path, damage):
        path = tmp_path / "study.log"
        lines = journal(path)
        path.write_bytes(b"".join([*lines[:2], damage, *lines[2:]]))
        before = path.read_bytes()
        with pytest.raises(ConfigError, match=r"study\.log, line 3: .*damaged"):
            storage.open_study(str(path), "one", ONE)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("content", [b"my notes", b"my notes\nand more", b"# Title\n", b"{}"])
    def test_file_that_is_no_journal_is_left_alone(self, tmp_path, content):
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="notes.txt"):
            storage.open_study(str(path), "one", ONE)
        assert path.read_bytes() == content

    def test_study_with_a_torn_journal_resumes(self, command, tmp_path):
        log = tmp_path / "store" / "sweeps" / "depth_width-digits" / "study.log"
        assert command(*QUICK, "hydra.sweeper.n_trials=1").code == 0
        for _ in range(2):
            os.truncate(log, log.stat().st_size - 9)
            finished = command(*QUICK, "hydra.sweeper.n_trials=2")
            assert finished.code == 0, finished.err
            assert "bytes are removed, all earlier lines are kept" in finished.out
        assert sum("duplicate_of" not in t.user_attrs and t.values is not None for t in opened(log).trials) >= 2


def test_trial_of_a_killed_worker_is_not_shown_as_running(tmp_path):
    """A worker of this host without a lock is dead. A worker of another host may be alive."""
    place = tmp_path / "sweeps" / "one" / "study.log"
    study = storage.open_study(str(place), "one", ONE)
    address.write_record(place.with_name("study.json"), study, str(place))
    for _ in range(2):
        study.ask().set_user_attr("place", str(tmp_path / "worker"))
    for trial, host in zip(study.trials, (socket.gethostname(), "elsewhere"), strict=True):
        optuna.Trial(study, trial._trial_id).set_user_attr("worker", f"{host}:1:id")
    (study_history,) = history.of_store(tmp_path)
    assert [trial.status for trial in study_history.trials] == ["left by its worker", "running"]
