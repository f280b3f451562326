"""Tests of messages for missing permissions and full disks: path, reason and remedy; never a damaged file."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fitnets.errors import DamagedError
from fitnets.store import files
from fitnets.system import permissions, resources
from support.places import ROOT
from support.runs import TINY

IN_CHILD = """
import json, sys
from pathlib import Path
from fitnets.store import digests, directories, earlier_runs, files, inventory, locks, weights
from fitnets.system import permissions
from torch import nn
root = Path(sys.argv[1])
def message(work):
    try:
        return repr(work())
    except PermissionError as error:
        return permissions.explain(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
teacher, run = root / "teacher" / "t", root / "run" / ("a" * 16)
def read_again():
    with files.advise_removal(teacher):
        weights.read_weights(teacher / "weights.safetensors", nn.Linear(1, 1))
print(json.dumps({
    "json": message(lambda: files.read_json(teacher / "facts.json")),
    "weights": message(read_again),
    "metrics": message(lambda: files.read_metrics(teacher / "metrics.jsonl")),
    "digest": message(lambda: digests.of_file(teacher / "facts.json", None)),
    "config": message(lambda: earlier_runs.read_config(teacher / "config.yaml")),
    "folders": message(lambda: earlier_runs.teacher_folders(teacher / "config.yaml")),
    "closed": message(lambda: files.read_json(root / "closed" / "x.json")),
    "status": message(lambda: [each.status for each in inventory.runs(root)]),
    "unneeded": message(lambda: inventory.unneeded(root, unfinished=True)),
    "is_locked": message(lambda: locks.is_locked(root / "fixed" / ("b" * 16))),
    "lock": message(lambda: locks.locked(root / "fixed" / ("c" * 16), "it", print).__enter__()),
    "writable": message(lambda: directories.check_writable(root / "fixed")),
}))
"""


def as_another_user(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a process without root's permissions for all files."""
    if os.geteuid() == 0:
        without_root = ["unshare", "--user", "--map-user=23456", "--map-group=23456"]
        if shutil.which("unshare") is None or subprocess.run([*without_root, "true"], capture_output=True).returncode:
            pytest.skip("root cannot give up its permissions here")
        words = [*without_root, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def messages(tmp_path_factory) -> dict[str, str]:
    """Return messages of readers and writers for a store with files and folders that they may not access."""
    root = tmp_path_factory.mktemp("mine") / "store"
    teacher, run = root / "teacher" / "t", root / "run" / ("a" * 16)
    for folder in (teacher, run, root / "closed", root / "fixed"):
        folder.mkdir(parents=True)
    for name in ("facts.json", "weights.safetensors", "metrics.jsonl", "config.yaml"):
        (teacher / name).write_text("{}")
        (teacher / name).chmod(0)
    (run / "result.json").write_text('{"status": "finished"}')
    (run / "result.json").chmod(0)
    (root / "fixed" / f".{'b' * 16}.lock").write_text("")
    os.utime(root / "fixed" / f".{'b' * 16}.lock", (1e9, 1e9))
    (root / "closed").chmod(0o600)
    (root / "fixed").chmod(0o500)
    done = as_another_user([sys.executable, "-c", IN_CHILD, "store"], root.parent)
    for folder in (root / "closed", root / "fixed"):
        folder.chmod(0o700)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.replace(f"{root.parent.resolve()}/", "")))


@pytest.mark.parametrize(
    ("reader", "file"),
    [
        ("json", "facts.json"),
        ("weights", "weights.safetensors"),
        ("metrics", "metrics.jsonl"),
        ("digest", "facts.json"),
        ("config", "config.yaml"),
        ("folders", "config.yaml"),
    ],
)
def test_a_file_without_permission_is_not_called_damaged(messages, reader, file):
    path = f"store/teacher/t/{file}"
    message = messages[reader]
    assert message.startswith(f"{path}: no permission to read it, which belongs to user ")
    assert f"chmod u+rw {path}, or give a folder of your own (store=DIR)" in message
    assert "remove" not in message
    assert len(message.splitlines()) == 1


def test_a_folder_that_cannot_be_searched_is_named(messages):
    assert messages["closed"].startswith("store/closed/x.json: no permission to search store/closed, which belongs to ")
    assert "chmod u+rwx store/closed, " in messages["closed"]


def test_an_unreadable_run_is_listed_as_unreadable_and_never_removed(messages):
    assert messages["status"] == "['unreadable']"
    assert messages["unneeded"].startswith(f"store/run/{'a' * 16}/result.json: no permission to read it, ")


def test_a_folder_that_cannot_be_written_is_named(messages):
    assert messages["is_locked"] == "False"  # an old lock that names no process
    assert "no permission to write store/fixed" in messages["lock"]
    assert messages["writable"].startswith(
        "ConfigError: store=store/fixed: cannot write there (no permission to write store/fixed, which belongs to user "
    )
    assert messages["writable"].endswith(": chmod u+rwx store/fixed, or give store=DIR")


def test_a_run_names_the_teacher_that_it_cannot_read(earlier_run, tmp_path):
    shutil.copytree(earlier_run.parent.parent, tmp_path / "store")
    (teacher,) = (tmp_path / "store" / "teacher").iterdir()
    teacher.chmod(0)
    words = [sys.executable, str(ROOT / "run.py"), *TINY, "store=store", "seed=1"]
    done = as_another_user(words, tmp_path)
    teacher.chmod(0o700)
    assert done.returncode == 1
    assert done.stderr.startswith(f"store/teacher/{teacher.name}/")
    assert f"no permission to search store/teacher/{teacher.name}, which belongs to user " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_for_somebody_elses_file_the_message_names_its_owner(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(permissions, "_uid", lambda: os.geteuid() + 1)
    monkeypatch.setattr(permissions, "may", lambda path, mode: mode != os.R_OK)
    message = permissions.explain(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "file")))
    assert "; this process is user " in message
    assert f": ask user {_owner(tmp_path)} for it (chmod a+r {tmp_path / 'file'}), or give a folder" in message


def _owner(path: Path) -> str:
    return path.owner()


def test_a_read_only_file_system_is_named_as_the_reason():
    error = OSError(errno.EROFS, "Read-only file system", "/boot/x")
    assert permissions.explain(error).startswith("/boot/x: it is on a read-only file system: give another folder")
    with pytest.raises(permissions.FileError, match="read-only file system"), permissions.in_words():
        raise error


def test_errors_that_say_nothing_about_the_content_are_not_called_damage(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files", "it.json")

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(OSError, match="Too many open files") as caught:
        files.read_json(tmp_path / "it.json")
    assert not isinstance(caught.value, DamagedError)


# --- full disks ---


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    ("fullest", "expected"),
    [("tmp", "TMPDIR={}: free some, or set TMPDIR to another folder"),
     ("cache", "HF_HOME={}: free some, or set HF_HOME to another folder"),
     ("store", "store={}: free some (fitnets clean shows what is not needed), or give another store=DIR"),
     ("here", "{}: free some, or use another folder")],
)  # fmt: skip
def test_the_full_folder_is_named(tmp_path, monkeypatch, fullest, expected, number):
    places = {name: tmp_path / name for name in ("tmp", "cache", "store", "here")}
    for place in places.values():
        place.mkdir()
    monkeypatch.setattr(permissions, "_temporary", lambda: places["tmp"])
    monkeypatch.setenv("HF_HOME", str(places["cache"]))
    monkeypatch.chdir(places["here"])
    monkeypatch.setattr(permissions, "_room", lambda folder: 0.0 if folder.resolve() == places[fullest] else 1e9)
    with pytest.raises(resources.ResourceError) as caught, resources.short_errors(places["store"]):
        raise OSError(number, "full")
    place = "." if fullest == "here" else places[fullest]
    what = "no room left on the disk of" if number == errno.ENOSPC else "the disk quota is used up for"
    assert str(caught.value).startswith(f"{what} {expected.format(place)}; ")


def test_an_error_that_names_its_file_names_the_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(permissions, "_temporary", lambda: tmp_path / "tmp")
    monkeypatch.setattr(permissions, "_room", lambda folder: pytest.fail("the error names the file"))
    for path, place in (("store/run/x", f"store={tmp_path / 'store'}"), ("tmp/x/y", f"TMPDIR={tmp_path / 'tmp'}")):
        error = OSError(errno.ENOSPC, "full", str(tmp_path / path))
        assert f"the disk of {place}: " in permissions.full_disk(error, tmp_path / "store")
    error = OSError(errno.ENOSPC, "full", "/elsewhere/out/card.md")
    assert "the disk of /elsewhere/out: " in permissions.full_disk(error, tmp_path / "store")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_errors_of_the_stores_writers_name_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        files.MetricsFile(tmp_path / "metrics.jsonl").append({"epoch": 1})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
