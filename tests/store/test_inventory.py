"""`fitnets runs` lists a store, `fitnets clean` removes what no run needs, `fitnets eval` evaluates a network."""

import json
import shutil
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from fitnets.composition import loading
from fitnets.experiment import pipeline
from fitnets.store import directories, files, inventory, layout, locks
from support.datasets import write_images, write_parquet
from support.runs import TINY
from support.stores import add_run, hashed


@pytest.fixture
def root(tmp_path, earlier_run) -> Path:
    """A store with one finished run."""
    shutil.copytree(earlier_run.parent.parent, tmp_path / "outputs")
    return tmp_path / "outputs"


class TestRuns:
    def test_every_run_is_listed_with_its_status(self, root, fitnets):
        add_run(root, "killed", "seed=7", status="running")
        add_run(root, "stopped", status="stopped", error="stopped by SIGTERM")
        add_run(root, "diverged", status="diverged", error="the student stage diverged\nand more")
        (add_run(root, "damaged") / "result.json").write_text("{")
        shutil.copytree(root / "run" / hashed("killed"), root / "run" / ".hidden")
        code, out, _ = fitnets("runs", root, "--json")
        listed = {Path(run["directory"]).name: run for run in json.loads(out)}
        finished = next(run for run in listed.values() if run["status"] == "finished")
        assert code == 0
        assert {name: run["status"] for name, run in listed.items() if run is not finished} == {
            hashed(name): name for name in ("killed", "stopped", "diverged", "damaged")
        }
        assert (finished["dataset"], finished["method"], finished["student"]) == ("digits", "hints", "thin")
        assert 0 < finished["test_accuracy"] < 1
        assert (listed[hashed("killed")]["seed"], listed[hashed("killed")]["valid_accuracy"]) == (7, None)
        _, table, _ = fitnets("runs", root)
        assert f"{100 * finished['test_accuracy']:.2f} %" in table
        assert f"{hashed('diverged')} diverged: the student stage diverged\n" in table

    def test_a_run_whose_lock_is_held_is_running(self, root):
        directory = add_run(root, "alive", status="running")
        with locks.locked(directory, "this run", print):
            assert [run.status for run in inventory.runs(root) if run.directory == str(directory)] == ["running"]

    @pytest.mark.parametrize("command", ["runs", "clean"])
    def test_a_folder_that_is_no_store_is_refused(self, fitnets, tmp_path, command):
        code, _, error = fitnets(command, tmp_path)
        assert (code, len(error.splitlines())) == (1, 1)
        assert f"{tmp_path}: no store" in error


class TestClean:
    def removed(self, fitnets, root, *words) -> set[str]:
        """Clean the store and return the removed paths. Check that exactly these were listed before, and that
        nothing is removed without --yes."""
        before = {path.relative_to(root).as_posix() for path in root.glob("*/*")}
        code, shown, _ = fitnets("clean", root, *words)
        assert code == 0
        assert {path.relative_to(root).as_posix() for path in root.glob("*/*")} == before
        fitnets("clean", root, *words, "--yes")
        gone = before - {path.relative_to(root).as_posix() for path in root.glob("*/*")}
        names = {name.split("/")[1].lstrip(".").split(".")[0] for name in gone}
        assert names == {line.split(",")[0].rsplit("/", 1)[1] for line in shown.splitlines() if "B: " in line}
        return gone

    def test_what_the_runs_need_stays(self, root, fitnets):
        assert self.removed(fitnets, root) == set()

    def test_what_no_run_needs_is_removed(self, root, fitnets):
        (teacher,), (hint,) = (root / "teacher").iterdir(), (root / "hint").iterdir()
        orphan, partial = hashed("orphan"), f".{hashed('dead')}.partial-{uuid4().hex}"
        shutil.copytree(teacher, root / "teacher" / orphan)
        shutil.copytree(hint, root / "hint" / orphan)
        (root / "run" / partial).mkdir()
        (root / "teacher" / f".{hashed('dead')}.checkpoints").mkdir()
        (hint.parent / f".{hint.name}.checkpoints").mkdir()  # the process died after it had made the artifact
        assert self.removed(fitnets, root) == {
            f"teacher/{orphan}", f"hint/{orphan}", f"run/{partial}", f"teacher/.{hashed('dead')}.checkpoints",
            f"hint/.{hint.name}.checkpoints",
        }  # fmt: skip

    def test_a_half_made_export_is_removed_once_its_process_is_dead(self, root, fitnets):
        (finished,) = (root / "run").iterdir()
        with locks.locked(finished / "export", "an export", print):
            half_made = layout.temporary_path(finished / "export")
            half_made.mkdir()
            fitnets("clean", root, "--yes")
            assert half_made.exists()
        _, shown, _ = fitnets("clean", root, "--yes")
        assert f"{finished / 'export'}, 0 B: a process that died left files beside it" in shown.replace("\n", "")
        assert (half_made.exists(), directories.is_finished(finished)) == (False, True)

    def test_a_killed_run_keeps_its_checkpoints_unless_unfinished_runs_are_removed(self, root, fitnets):
        directory = add_run(root, "killed", status="running")
        (root / "run" / f".{hashed('killed')}.checkpoints").mkdir()
        assert self.removed(fitnets, root) == set()
        assert directory.exists()
        assert self.removed(fitnets, root, "--unfinished") == {
            f"run/{hashed('killed')}", f"run/.{hashed('killed')}.checkpoints",
            f"teacher/.{hashed('teacher of killed')}.checkpoints",
        }  # fmt: skip

    def test_a_backup_is_restored_when_its_killed_successor_is_removed(self, root, fitnets):
        (finished,) = (root / "run").iterdir()
        finished.rename(root / "run" / f".{finished.name}.earlier")
        add_run(root, "successor", status="running").rename(finished)
        fitnets("clean", root, "--unfinished", "--yes")
        assert directories.is_finished(finished)

    def test_a_teacher_that_a_configuration_names_stays(self, root, fitnets):
        (teacher,) = (root / "teacher").iterdir()
        shutil.copytree(teacher, root / "teacher" / hashed("named"))
        add_run(root, "taught", "teacher=run", f"teacher.path={root / 'teacher' / hashed('named')}", status="running")
        assert self.removed(fitnets, root) == set()

    def test_data_removes_decoded_images_and_cached_outputs(self, root, fitnets):
        made = {f"{kind}/{path.name}" for kind in ("data", "cache") for path in (root / kind).iterdir()}
        assert self.removed(fitnets, root, "--data") == made
        assert pipeline.run(loading.load([*TINY, f"store={root}"]))["status"] == "finished"

    def test_an_artifact_whose_lock_is_held_stays(self, root, fitnets):
        with locks.locked(root / "teacher" / hashed("made"), "the teacher", print) as lock:
            lock.checkpoints.mkdir()
            assert self.removed(fitnets, root) == set()

    def test_clean_refuses_a_store_with_a_damaged_run(self, root, fitnets):
        (add_run(root, "damaged") / "result.json").write_text("{")
        code, _, error = fitnets("clean", root)
        assert (code, len(error.splitlines())) == (1, 1)
        assert f"{hashed('damaged')}: its result.json or config.yaml is damaged" in error


class TestEval:
    def evaluate(self, fitnets, *words) -> dict:
        code, out, error = fitnets("eval", *words, "--json")
        assert code == 0, error
        return json.loads(out)

    @pytest.mark.parametrize("split", ["valid", "test"])
    def test_eval_returns_the_measures_of_the_run(self, root, fitnets, split):
        (run,) = (root / "run").iterdir()
        result = files.read_json(run / "result.json")
        evaluated = self.evaluate(fitnets, run, "--split", split, f"store={root}")
        for metric in ("accuracy", "error", "loss", "calibration_error"):
            assert evaluated[metric] == pytest.approx(result["student"][f"{split}_{metric}"], abs=1e-6)
        assert evaluated["images"] == result["images"][split]
        _, table, _ = fitnets("eval", run, "--split", split, f"store={root}")
        assert f"{100 * evaluated['accuracy']:.2f} %" in table

    def test_eval_takes_teachers_and_the_training_split(self, root, fitnets):
        (teacher,) = (root / "teacher").iterdir()
        assert self.evaluate(fitnets, teacher, "--split", "train", f"store={root}")["images"] == 437

    def test_other_data_is_preprocessed_like_the_training_data(self, fitnets, tmp_path):
        generator = np.random.default_rng(0)
        for name, shift in (("own", 0), ("other", 40)):
            for part, count in (("train", 60), ("test", 30)):
                images = generator.integers(0, 200, (count, 8, 8), dtype=np.uint8) + np.uint8(shift)
                write_parquet(tmp_path / name, part, images, [row % 10 for row in range(count)])
        parquet = ["dataset=mnist", "dataset.height=8", "dataset.width=8", "teacher=maxout_digits", "student=thin"]
        own = [*parquet, f"dataset.path={tmp_path / 'own'}", "dataset/preprocessing=standardize"]
        tiny = [word for word in TINY if not word.startswith("dataset.validation_images")]
        settings = [f"store={tmp_path / 'store'}", "dataset.validation_images=20"]
        batches = [f"schedule.{stage}.batch_size=8" for stage in ("teacher", "hint", "student")]
        result = pipeline.run(loading.load([*own, *tiny, *settings, *batches]))
        run = tmp_path / "store" / "run" / result["hashes"]["run"]
        again = self.evaluate(fitnets, run, settings[0])
        assert again["loss"] == pytest.approx(result["student"]["test_loss"])
        moved = tmp_path / "moved"
        shutil.copytree(tmp_path / "own", moved)
        assert self.evaluate(fitnets, run, settings[0], f"dataset.path={moved}") == again
        other = self.evaluate(fitnets, run, settings[0], f"dataset.path={tmp_path / 'other'}")
        assert other["loss"] != again["loss"]
        composed = self.evaluate(
            fitnets,
            run,
            *parquet[:3],
            "dataset.validation_images=20",
            f"dataset.path={tmp_path / 'other'}",
            settings[0],
        )
        assert composed == other

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["dataset=mnist"], "dataset=mnist: dataset.height=28, and the network was trained with 8"),
            (["dataset.tset=3"], "dataset.tset: no such key; did you mean test_images? (keys of dataset"),
            (["dataset=cifar"], "dataset=cifar: no such option; did you mean cifar10?"),
        ],
    )
    def test_mistakes_have_short_messages(self, root, fitnets, words, message):
        (run,) = (root / "run").iterdir()
        code, _, error = fitnets("eval", run, f"store={root}", *words)
        assert code == 1
        assert message in error
        assert len(error.splitlines()) <= 3

    def test_eval_refuses_an_unfinished_run(self, root, fitnets):
        directory = add_run(root, "killed", status="running")
        code, _, error = fitnets("eval", directory)
        assert code == 1
        assert "no trained network there" in error


def test_eval_refuses_a_folder_with_other_class_names(root, fitnets, tmp_path):
    folder = tmp_path / "images"
    write_images(folder)
    (run,) = (root / "run").iterdir()
    code, _, error = fitnets(
        "eval", run, f"store={root}", "dataset=folder", f"dataset.path={folder}", "dataset.classes=3"
    )
    assert code == 1
    assert (
        f"dataset.path={folder}: the network does not know the classes cat, dog, owl: it was trained on 0, 1, 2"
        in error
    )
