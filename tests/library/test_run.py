"""`fitnets.run`: callbacks, STOP, and a process that stays as it was."""

import multiprocessing
import os
import random
import signal
import threading

import numpy as np
import pytest
import torch

import fitnets
from fitnets.store.files import read_json
from support.processes import cold
from support.runs import TINY, outcome, without_timing

THREE = (*TINY, "schedule.student.epochs=3")


def epochs(rows):
    return [(row["stage"], row["epoch"]) for row in rows]


ALL = [("teacher", 0), ("hint", 0), ("student", 0), ("student", 1), ("student", 2)]


class Odd(Exception):
    pass


class TestOnEpoch:
    def test_each_epoch_comes_once_in_plain_numbers_and_again_when_the_run_is_found(self, tmp_path):
        rows, again = [], []
        words = [*THREE, f"store={tmp_path}"]
        first = fitnets.run(words, rows.append, quiet=True)
        second = fitnets.run(words, again.append, quiet=True)
        assert epochs(rows) == ALL
        assert all(type(value) in (int, float, str, bool, dict) for row in rows for value in row.values())
        assert again == rows == list(first.epochs)
        assert (first.trained, second.trained) == (True, False)
        assert first.values == second.values
        assert first.folder == second.folder
        rows[0]["epoch"] = 99  # a copy
        assert first.epochs[0]["epoch"] == 0

    @pytest.mark.parametrize(
        "error", [Odd("mine"), OSError(28, "No space left"), KeyboardInterrupt("mine"), SystemExit(3)]
    )
    def test_what_it_raises_comes_out_as_it_is(self, error, tmp_path, watched):
        def on_epoch(row):
            if row["stage"] == "student":
                raise error

        with pytest.raises(type(error)) as raised:
            fitnets.run([*TINY, f"store={tmp_path}"], on_epoch, quiet=True)
        assert raised.value is error
        (folder,) = (path for path in (tmp_path / "run").iterdir() if not path.name.startswith("."))
        assert read_json(folder / "result.json")["status"] == (
            "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        )
        assert not list((tmp_path / "run").glob(".*.lock"))

    def test_it_may_draw_flip_and_run_without_changing_bits(self, tmp_path, watched):
        def on_epoch(row):
            torch.rand(3), np.random.rand(3), random.random()
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)
            if row["stage"] == "hint":
                fitnets.run([*TINY, f"store={tmp_path / 'inner'}", "seed=7", "engine.kernels=off"], quiet=True)

        state = torch.get_rng_state(), np.random.get_state(), random.getstate()
        fitnets.run([*TINY, f"store={tmp_path / 'plain'}"], quiet=True)
        fitnets.run([*TINY, f"store={tmp_path / 'busy'}"], on_epoch, quiet=True)
        assert not torch.equal(torch.get_rng_state(), state[0])  # the callback's draws belong to the caller
        assert torch.get_default_dtype() == torch.float64
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_rng_state(state[0]), np.random.set_state(state[1]), random.setstate(state[2])
        assert outcome(tmp_path / "plain") == outcome(tmp_path / "busy")


class TestStop:
    def stop_at(self, *place):
        return lambda row: fitnets.STOP if (row["stage"], row["epoch"]) == place else None

    def test_the_run_is_finished_marked_and_never_the_whole_one(self, tmp_path):
        words = [*THREE, f"store={tmp_path}"]
        stopped = fitnets.run(words, self.stop_at("student", 1), quiet=True)
        assert stopped.stopped_early
        assert stopped.values["status"] == "finished"
        assert epochs(stopped.epochs) == ALL[:-1]
        assert stopped.values["stages"]["student"]["stopped_by"] == "stop_after"
        whole = fitnets.run(words, quiet=True)
        assert (whole.stopped_early, whole.hash != stopped.hash) == (False, True)
        assert whole.values["hashes"]["setting"] == stopped.values["hashes"]["setting"]
        assert whole.values["hashes"]["method"] != stopped.values["hashes"]["method"]
        assert epochs(whole.epochs) == ALL
        again = fitnets.run(words, self.stop_at("student", 1), quiet=True)
        assert (again.hash, again.trained) == (stopped.hash, False)
        assert set(fitnets.runs(tmp_path)["status"]) == {"finished"}

    def test_it_is_the_run_that_stop_after_makes(self, tmp_path):
        words = [*THREE, "schedule.teacher.epochs=2"]
        stopped = fitnets.run([*words, f"store={tmp_path / 'a'}"], self.stop_at("teacher", 0), quiet=True)
        typed = fitnets.run([*words, f"store={tmp_path / 'b'}", "schedule.teacher.stop_after=1"], quiet=True)
        assert stopped.hash == typed.hash
        assert without_timing(stopped.values) == without_timing(typed.values)
        assert stopped.values["hashes"]["teacher"] == typed.values["hashes"]["teacher"]
        for name in ("run", "teacher"):
            hashed = stopped.values["hashes"][name]
            file = f"{'student' if name == 'run' else 'teacher'}.safetensors"
            assert (tmp_path / "a" / name / hashed / file).read_bytes() == (
                tmp_path / "b" / name / hashed / file
            ).read_bytes()

    def test_the_last_epoch_of_a_stage_ends_it_anyway(self, tmp_path):
        words = [*TINY, f"store={tmp_path}"]
        results = [fitnets.run(words, lambda row: fitnets.STOP, quiet=True) for _ in range(2)]
        assert [result.stopped_early for result in results] == [False, False]

    def test_the_whole_run_resumes_where_it_was_stopped(self, tmp_path, capsys):
        words = [*THREE, f"store={tmp_path / 'a'}"]
        fitnets.run(words, self.stop_at("student", 1), quiet=True)
        capsys.readouterr()
        resumed = fitnets.run(words, quiet=True)
        assert "resumes from a checkpoint, at epoch 3" in capsys.readouterr().out
        plain = fitnets.run([*THREE, f"store={tmp_path / 'b'}"], quiet=True)
        assert without_timing(resumed.values) == without_timing(plain.values)


class TestTheProcess:
    def test_stays_as_it_was_and_changes_no_bits(self, tmp_path, watched, monkeypatch):
        streams = torch.get_rng_state(), np.random.get_state(), random.getstate()
        fitnets.run([*TINY, f"store={tmp_path / 'plain'}"], quiet=True)
        torch.manual_seed(5), np.random.seed(5), random.seed(5)
        torch.set_float32_matmul_precision("high")
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = True
        try:
            before = torch.get_rng_state()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                fitnets.run([*TINY, f"store={tmp_path / 'odd'}"], quiet=True)
                assert not torch.is_grad_enabled()
            assert torch.equal(torch.get_rng_state(), before)
            assert torch.get_default_dtype() == torch.float64
            assert torch.get_float32_matmul_precision() == "high"
        finally:
            torch.set_float32_matmul_precision("highest")
            torch.set_default_dtype(torch.float32)
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.benchmark = False
        assert outcome(tmp_path / "plain") == outcome(tmp_path / "odd")
        monkeypatch.undo()
        torch.set_rng_state(streams[0]), np.random.set_state(streams[1]), random.setstate(streams[2])

    def test_compose_load_runs_report_and_export_leave_it_alone(self, finished, tmp_path, watched):
        fitnets.compose(["dataset=digits"])
        student = fitnets.load(finished)
        store = finished.folder.parent.parent
        assert len(fitnets.runs(store)) == 1
        assert fitnets.report(store, tmp_path / "report").exists()
        fitnets.export(student.train(), out=tmp_path / "export", int8=True)
        assert student.training

    def test_a_worker_thread_can_run(self, tmp_path, watched):
        results = []
        thread = threading.Thread(target=lambda: results.append(fitnets.run([*TINY, f"store={tmp_path}"], quiet=True)))
        thread.start()
        thread.join()
        assert results[0].values["status"] == "finished"
        assert multiprocessing.active_children() == []

    def test_an_interrupt_is_raised_and_the_same_call_ends_with_the_same_numbers(self, tmp_path, watched):
        def interrupt(row):
            if row["stage"] == "hint":
                signal.raise_signal(signal.SIGINT)

        words = [*THREE, f"store={tmp_path / 'a'}"]
        with pytest.raises(KeyboardInterrupt):
            fitnets.run(words, interrupt, quiet=True)
        assert not list((tmp_path / "a").glob("*/.*.lock"))
        resumed = fitnets.run(words, quiet=True)
        plain = fitnets.run([*THREE, f"store={tmp_path / 'b'}"], quiet=True)
        assert without_timing(resumed.values) == without_timing(plain.values)

    def test_nothing_of_a_run_stays_in_memory(self, tmp_path):
        import gc
        import weakref

        from fitnets.models.network import Network

        fitnets.run([*TINY, f"store={tmp_path}"], quiet=True)
        networks = [weakref.ref(thing) for thing in gc.get_objects() if isinstance(thing, Network)]
        files = len(os.listdir("/proc/self/fd"))
        fitnets.run([*TINY, f"store={tmp_path}", "seed=1"], quiet=True)
        gc.collect()
        new = [thing for thing in gc.get_objects() if isinstance(thing, Network)]
        assert len(new) <= len([one for one in networks if one() is not None])
        assert len(os.listdir("/proc/self/fd")) <= files


SCRIPT = """
import multiprocessing, sys
multiprocessing.set_start_method("spawn")
print("begin")
import torch
import fitnets
result = fitnets.run({words!r}, lambda row: None, quiet=True)
assert result.values["status"] == "finished"
assert multiprocessing.get_start_method() == "spawn"
assert multiprocessing.active_children() == []
assert "wandb" not in sys.modules and "tensorboard" not in sys.modules
"""


def test_a_script_without_a_guard_begins_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(words=[*TINY, "store=store"]))
    done = cold(str(script), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begin") == 1


def test_several_seeds_are_refused():
    with pytest.raises(fitnets.ConfigError, match=r"sweep.seeds=2: a run has one seed"):
        fitnets.run([*TINY, "sweep.seeds=2"])
