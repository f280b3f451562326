"""A missing permission and a full disk are told as what they are: path, reason, way out; never as damage."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY

from fitnets.errors import DamagedError
from fitnets.store import files
from fitnets.system import permissions, resources

IN_CHILD = """
import json, sys
from pathlib import Path
from fitnets.store import digests, directories, earlier_runs, files, inventory, locks, weights
from fitnets.system import permissions
from torch import nn
root = Path(sys.argv[1])
def told(work):
    try:
        return repr(work())
    except PermissionError as error:
        return permissions.explained(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
teacher, run = root / "teacher" / "t", root / "run" / ("a" * 16)
def read_again():
    with files.made_again(teacher):
        weights.read_weights(teacher / "weights.safetensors", nn.Linear(1, 1))
print(json.dumps({
    "json": told(lambda: files.read_json(teacher / "facts.json")),
    "weights": told(read_again),
    "metrics": told(lambda: files.read_metrics(teacher / "metrics.jsonl")),
    "digest": told(lambda: digests.of_file(teacher / "facts.json", None)),
    "config": told(lambda: earlier_runs.read_config(teacher / "config.yaml")),
    "folders": told(lambda: earlier_runs.teacher_folders(teacher / "config.yaml")),
    "closed": told(lambda: files.read_json(root / "closed" / "x.json")),
    "status": told(lambda: [each.status for each in inventory.runs(root)]),
    "unneeded": told(lambda: inventory.unneeded(root, unfinished=True)),
    "claimed": told(lambda: locks.is_locked(root / "fixed" / ("b" * 16))),
    "claim": told(lambda: locks.locked(root / "fixed" / ("c" * 16), "it", print).__enter__()),
    "writable": told(lambda: directories.check_writable(root / "fixed")),
}))
"""


def as_another_user(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process without the power of root over files."""
    if os.geteuid() == 0:
        without_root = ["unshare", "--user", "--map-user=23456", "--map-group=23456"]
        if shutil.which("unshare") is None or subprocess.run([*without_root, "true"], capture_output=True).returncode:
            pytest.skip("root cannot give its power up here")
        words = [*without_root, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, str]:
    """What readers say of a store with files that cannot be read and folders that cannot be written."""
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
def test_a_file_without_permission_is_no_damaged_one(answers, reader, file):
    path = f"store/teacher/t/{file}"
    told = answers[reader]
    assert told.startswith(f"{path}: no permission to read it, which belongs to user ")
    assert f"chmod u+rw {path}, or give a folder of your own (store=DIR)" in told
    assert "remove" not in told
    assert len(told.splitlines()) == 1


def test_a_folder_that_cannot_be_searched_is_named(answers):
    assert answers["closed"].startswith("store/closed/x.json: no permission to search store/closed, which belongs to ")
    assert "chmod u+rwx store/closed, " in answers["closed"]


def test_a_run_that_cannot_be_read_is_called_that_and_never_removed(answers):
    assert answers["status"] == "['unreadable']"
    assert answers["unneeded"].startswith(f"store/run/{'a' * 16}/result.json: no permission to read it, ")


def test_a_folder_that_cannot_be_written_is_named(answers):
    assert answers["claimed"] == "False"  # an old lock that names nobody
    assert "no permission to write store/fixed" in answers["claim"]
    assert answers["writable"].startswith(
        "ConfigError: store=store/fixed: cannot write there (no permission to write store/fixed, which belongs to user "
    )
    assert answers["writable"].endswith(": chmod u+rwx store/fixed, or give store=DIR")


def test_a_run_names_the_teacher_that_it_may_not_read(earlier_run, tmp_path):
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


def test_somebody_elses_file_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "it").touch()
    monkeypatch.setattr(permissions, "_uid", lambda: os.geteuid() + 1)
    monkeypatch.setattr(permissions, "may", lambda path, mode: mode != os.R_OK)
    told = permissions.explained(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "it")))
    assert "; this process is user " in told
    assert f": ask user {_owner(tmp_path)} for it (chmod a+r {tmp_path / 'it'}), or give a folder" in told


def _owner(path: Path) -> str:
    return path.owner()


def test_a_read_only_file_system_is_called_that():
    error = OSError(errno.EROFS, "Read-only file system", "/boot/x")
    assert permissions.explained(error).startswith("/boot/x: it is on a read-only file system: give another folder")
    with pytest.raises(permissions.FileError, match="read-only file system"), permissions.in_words():
        raise error


def test_errors_that_say_nothing_of_the_content_are_no_damage(tmp_path, monkeypatch):
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
def test_the_folder_that_is_full_is_named(tmp_path, monkeypatch, fullest, expected, number):
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


def test_an_error_that_names_its_file_needs_no_guess(tmp_path, monkeypatch):
    monkeypatch.setattr(permissions, "_temporary", lambda: tmp_path / "tmp")
    monkeypatch.setattr(permissions, "_room", lambda folder: pytest.fail("no need"))
    for path, place in (("store/run/x", f"store={tmp_path / 'store'}"), ("tmp/x/y", f"TMPDIR={tmp_path / 'tmp'}")):
        error = OSError(errno.ENOSPC, "full", str(tmp_path / path))
        assert f"the disk of {place}: " in permissions.full_disk(error, tmp_path / "store")
    error = OSError(errno.ENOSPC, "full", "/elsewhere/out/card.md")
    assert "the disk of /elsewhere/out: " in permissions.full_disk(error, tmp_path / "store")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")
def test_writers_of_the_store_name_their_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        files.MetricsFile(tmp_path / "metrics.jsonl").append({"epoch": 1})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
