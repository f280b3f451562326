"""`fitnets clean`, rerun=true and exports remove only what fitnets made: folders are compared before and after."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fitnets.composition import loading
from fitnets.experiment import pipeline
from fitnets.store import directories, files, layout, ownership
from support.runs import TINY
from support.stores import add_run, hashed

FLAGS = [list(flags) for n in range(3) for flags in itertools.combinations(["--unfinished", "--data"], n)]
HASH = "0123456789abcdef"


def tree(root: Path) -> dict[str, str]:
    """Every path below a folder with its content; for a link, its target."""

    def content(path: Path) -> str:
        if path.is_symlink():
            return f"link to {os.readlink(path)}"
        return path.read_bytes().hex() if path.is_file() else "folder"

    return {path.relative_to(root).as_posix(): content(path) for path in sorted(root.rglob("*"))}


def write(path: Path, content: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def make_store(root: Path, earlier_run: Path) -> Path:
    """Make a store with a finished run and a teacher that no run needs."""
    shutil.copytree(earlier_run.parent.parent, root, dirs_exist_ok=True, symlinks=True)
    (teacher,) = ownership.artifacts_of(root / "teacher")
    shutil.copytree(teacher, root / "teacher" / hashed("orphan"))
    return root


# Each of these functions fills an empty folder, in most cases with a store among other files, and returns the folder to
# clean. run: the directory of a finished run


def photos_below_data(root, run):
    write(root / "p/data/my_photos/cat.jpg")
    return root / "p"


def photos_below_run_of_another_tool(root, run):
    write(root / "p/run/exp1/weights.pt")
    write(root / "p/cache/http/abc")
    return root / "p"


def artifacts_of_another_tool_named_like_ours(root, run):
    write(root / "p/run" / HASH / "result.txt")
    write(root / "p/cache" / HASH / "answers.npy")
    return root / "p"


def the_folder_above_a_store(root, run):
    make_store(root / "p/outputs", run)
    write(root / "p/data/train/cat.jpg")
    return root / "p"


def the_root_of_a_file_system(root, run):
    """A small `/`: a system's folders, with a store somewhere below."""
    for name in ("run/lock", "data/db", "cache/apt", "etc/passwd", "home/me/outputs/x"):
        write(root / name)
    make_store(root / "home/me/outputs", run)
    return root


def a_user_s_data_inside_a_store(root, run):
    store_root = make_store(root / "o", run)
    for kind in layout.KINDS:
        write(store_root / kind / "mine" / "cat.jpg")
    write(store_root / "notes.txt")
    return store_root


def a_user_s_folder_with_the_name_of_an_artifact(root, run):
    store_root = make_store(root / "o", run)
    for kind in layout.KINDS:
        write(store_root / kind / HASH / "cat.jpg")
    return store_root


def a_user_s_file_inside_artifacts(root, run):
    store_root = make_store(root / "o", run)
    for kind in ("teacher", "data", "cache"):
        for artifact in ownership.artifacts_of(store_root / kind):
            write(artifact / "notes.txt")
    write(add_run(store_root, "killed", status="running") / "notes.txt")
    return store_root


def a_user_s_file_in_a_sub_folder_of_ours(root, run):
    store_root = make_store(root / "o", run)
    write(add_run(store_root, "killed", status="running") / "export" / "paper.pdf")
    write(add_run(store_root, "stopped", status="stopped") / "wandb" / "my_table.csv")
    return store_root


def a_user_s_file_among_checkpoints(root, run):
    store_root = make_store(root / "o", run)
    write(store_root / f"teacher/.{HASH}.checkpoints/teacher/best.pt")
    write(store_root / f"run/.{HASH}.partial-{'0' * 32}/cat.jpg")
    return store_root


def hidden_files_of_other_tools(root, run):
    store_root = make_store(root / "o", run)
    for name in (".git/config", "run/.mine.partial-1/x", "teacher/.old.checkpoints/x", "data/.cache/x", "run/.x.lock"):
        write(store_root / name)
    return store_root


def a_kind_that_is_a_link(root, run):
    """A store whose teachers and cache are links to those of another store. Runs of the other store need them."""
    other = make_store(root / "other", run)
    store_root = root / "o"
    shutil.copytree(other / "run", store_root / "run")
    (store_root / "teacher").symlink_to(other / "teacher", target_is_directory=True)
    (store_root / "cache").symlink_to("../other/cache", target_is_directory=True)
    return store_root


def artifacts_that_are_links(root, run):
    store_root = make_store(root / "o", run)
    write(root / "elsewhere" / "teacher.safetensors")
    for kind in layout.KINDS:
        (store_root / kind / HASH).symlink_to(root / "elsewhere", target_is_directory=True)
    return store_root


def links_inside_artifacts(root, run):
    store_root = make_store(root / "o", run)
    target = write(root / "elsewhere.safetensors")
    for artifact in ownership.artifacts_of(store_root / "teacher"):
        (artifact / "teacher.safetensors").unlink()
        (artifact / "teacher.safetensors").symlink_to(target)
    return store_root


def a_link_that_leads_nowhere(root, run):
    store_root = make_store(root / "o", run)
    (store_root / "data" / HASH).symlink_to(root / "gone")
    return store_root


def a_store_reached_by_a_link(root, run):
    make_store(root / "disk/outputs", run)
    write(root / "disk/outputs/data/mine/cat.jpg")
    (root / "outputs").symlink_to("disk/outputs", target_is_directory=True)
    return root / "outputs"


def a_store_in_a_project(root, run):
    """A repository in which a run was started with store=."""
    for name in ("run/train.sh", "data/raw/a.csv", "teacher/slides.pdf", "cache/pip/x", "hint/readme"):
        write(root / "p" / name)
    return make_store(root / "p", run)


def an_emptied_store_with_a_user_s_folders(root, run):
    write(root / "o/data/photos/cat.jpg")
    ownership.mark(root / "o")
    return root / "o"


def a_file_where_a_kind_would_be(root, run):
    write(root / "o/data")
    write(root / "o/run")
    ownership.mark(root / "o")
    return root / "o"


def names_almost_like_ours(root, run):
    store_root = make_store(root / "o", run)
    for name in (HASH[:-1], HASH + "0", HASH.upper(), "g" * 16):
        write(store_root / "data" / name / "images.npy")
        write(store_root / "data" / name / "fitted.safetensors")
    return store_root


def a_damaged_marker(root, run):
    write(root / "p/.fitnets-store.json", "{")
    write(root / "p/data" / HASH / "photo.jpg")
    return root / "p"


TREES: list[Callable[[Path, Path], Path]] = [
    photos_below_data, photos_below_run_of_another_tool, artifacts_of_another_tool_named_like_ours,
    the_folder_above_a_store, the_root_of_a_file_system, a_user_s_data_inside_a_store,
    a_user_s_folder_with_the_name_of_an_artifact, a_user_s_file_inside_artifacts,
    a_user_s_file_in_a_sub_folder_of_ours, a_user_s_file_among_checkpoints, hidden_files_of_other_tools,
    a_kind_that_is_a_link, artifacts_that_are_links, links_inside_artifacts, a_link_that_leads_nowhere,
    a_store_reached_by_a_link, a_store_in_a_project, an_emptied_store_with_a_user_s_folders,
    a_file_where_a_kind_would_be, names_almost_like_ours, a_damaged_marker,
]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
@pytest.mark.parametrize("plant", TREES, ids=lambda plant: plant.__name__)
def test_clean_removes_nothing_foreign(plant, flags, fitnets, tmp_path, earlier_run):
    target = plant(tmp_path / "world", earlier_run)
    before = tree(tmp_path / "world")
    fitnets("clean", target, *flags, "--yes")
    after = tree(tmp_path / "world")
    gone = {name: before[name] for name in before if name not in after}
    assert all(after[name] == before[name] for name in after)
    removed_by_mistake = [
        name for name, content in gone.items() if content == b"mine".hex() or content.startswith("link to")
    ]
    assert removed_by_mistake == []
    ours = [path.name for kind in layout.KINDS for path in ownership.artifacts_of(earlier_run.parent.parent / kind)]
    ours += [hashed(name) for name in ("orphan", "killed", "stopped", "teacher of killed", "teacher of stopped")]
    assert [name for name in gone if not any(one in name for one in ours)] == []


def test_clean_removes_artifacts_beside_foreign_folders(fitnets, tmp_path, earlier_run):
    target = a_user_s_data_inside_a_store(tmp_path, earlier_run)
    code, out, _ = fitnets("clean", target, "--data", "--yes")
    assert code == 0
    assert not (target / "teacher" / hashed("orphan")).exists()
    assert list(ownership.artifacts_of(target / "data")) == []
    assert "removed, " in out


def test_clean_says_what_stays_and_why(fitnets, tmp_path, earlier_run):
    target = a_user_s_file_inside_artifacts(tmp_path, earlier_run)
    _, out, _ = fitnets("clean", target, "--unfinished", "--yes")
    assert f"{target / 'run' / hashed('killed')} stays: it holds notes.txt, which is not ours" in out


def test_a_folder_with_sub_folders_like_a_store_is_refused(fitnets, tmp_path, earlier_run):
    code, _, error = fitnets("clean", photos_below_data(tmp_path, earlier_run), "--data", "--yes")
    assert (code, len(error.splitlines())) == (1, 1)
    assert "no store" in error


def test_a_store_of_an_earlier_version_without_marker_is_cleaned(fitnets, tmp_path, earlier_run):
    target = make_store(tmp_path / "o", earlier_run)
    (target / layout.MARKER).unlink()
    assert fitnets("clean", target, "--yes").code == 0
    assert not (target / "teacher" / hashed("orphan")).exists()


def test_a_store_keeps_its_marker(tmp_path):
    directories.check_writable(tmp_path / "o")
    first = ownership.marker(tmp_path / "o")
    directories.check_writable(tmp_path / "o")
    assert first is not None
    assert ownership.marker(tmp_path / "o") == first


@pytest.mark.parametrize("status", ["finished", "stopped"])
def test_a_rerun_keeps_a_user_s_files(tmp_path, earlier_run, status):
    root = tmp_path / "o"
    shutil.copytree(earlier_run.parent.parent, root)
    directory = root / "run" / earlier_run.name
    result = files.read_json(directory / "result.json")
    files.write_json(directory / "result.json", result | {"status": status})
    write(directory / "notes.txt")
    write(directory / "figures" / "a.png")
    again = pipeline.run(loading.load([*TINY, f"store={root}", "rerun=true"]))
    assert again["status"] == "finished"
    assert (directory / "notes.txt").read_text() == (directory / "figures" / "a.png").read_text() == "mine"


def test_a_failed_rerun_restores_the_run_with_a_user_s_files(tmp_path):
    directory = tmp_path / "run" / HASH
    write(directory / "result.json", '{"status": "finished", "old": 1}')
    write(directory / "notes.txt")

    def fail() -> None:
        with directories.replace_run(directory):
            write(directory / "result.json", '{"status": "running"}')
            write(directory / "late.txt")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files.read_json(directory / "result.json")["old"] == 1
    assert (directory / "notes.txt").exists()
    assert (directory / "late.txt").exists()


def test_an_export_refuses_a_folder_with_other_files(fitnets, tmp_path, earlier_run):
    out = tmp_path / "out"
    write(out / "export.json", "{}")
    write(out / "paper.pdf")
    code, _, error = fitnets("export", earlier_run, "--out", out)
    assert code == 1
    assert "it holds other files than those of an export" in error
    assert (out / "paper.pdf").exists()


def test_a_user_s_wandb_folder_is_no_mirrored_front(tmp_path):
    folder = tmp_path / "wandb"
    write(folder / "offline-run-1-abc" / "run.wandb")
    assert not ownership.is_mirrored_front(folder)  # a user may have written it
    write(folder / "told.json", "{}")
    assert ownership.is_mirrored_front(folder)
    write(folder / "my_table.csv")
    assert not ownership.is_mirrored_front(folder)
