"""Grids print a line before each job and a table at the end; hydra.job.chdir moves no path of this project."""

import os
from pathlib import Path

from fitnets.store.files import read_json
from fitnets.sweeper import grid
from support.runs import TINY
from support.studies import BASE, STUDY, opened

GRID = ("-m", *TINY, "engine.threads=1", "method=backprop")


class TestAGrid:
    def test_each_job_has_a_line_and_an_outcome_in_the_table(self, command, tmp_path):
        finished = command(*GRID, "schedule.student.optimizer.lr=1e-3,1e30", "seed=1")
        assert finished.code == 1
        words = [f"schedule.student.optimizer.lr={lr}" for lr in ("0.001", "1e+30")]
        for number, word in enumerate(words):
            assert f"job {number} ({number + 1} of 2): {word}\n" in finished.out
        assert "2 jobs, 1 failed" in finished.out
        rows = [line for line in finished.out.splitlines() if line.startswith("│") and "lr=" in line]
        (run,) = (
            path for path in (tmp_path / "store" / "run").glob("[!.]*")
            if read_json(path / "result.json")["status"] == "finished"
        )  # fmt: skip
        student = read_json(run / "result.json")["student"]
        cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
        accuracies = [f"{100 * student[f'{name}_accuracy']:.2f} %" for name in ("valid", "test")]
        assert cells == [
            ["0", words[0], "finished", *accuracies, run.name],
            ["1", words[1], "diverged", "-", "-", "-"],
        ]
        assert finished.err.startswith("job 1 failed: the student stage diverged")
        assert finished.err.endswith("1 of 2 jobs failed\n")
        assert "HYDRA" not in finished.out + finished.err

    def test_table_shows_the_runs_of_several_seeds(self, command):
        finished = command(*GRID, "sweep.seeds=2", "seed=0,10", "return_measures=accuracy")
        assert finished.code == 0, finished.err
        rows = [line for line in finished.out.splitlines() if line.startswith("│") and "seed=" in line]
        assert [len(row.split("│")[-2].split()) for row in rows] == [2, 2]

    def test_stopped_grid_shows_the_jobs_that_ended(self, command, monkeypatch):
        from fitnets.sweeper import job

        real, ran = job.run, []

        def stopped(config):
            if ran:
                raise KeyboardInterrupt
            ran.append(config.seed)
            return real(config)

        monkeypatch.setattr(job, "run", stopped)
        finished = command(*GRID, "seed=0,1,2")
        assert finished.code == 130
        rows = [line for line in finished.out.splitlines() if line.startswith("│") and "seed=" in line]
        assert [row.split("│")[3].strip() for row in rows] == ["finished", "unfinished", "unfinished"]

    def test_overrides_that_all_jobs_share_are_left_out(self):
        recorder = grid._RecordingLauncher(launcher=None)
        recorder.announce([["a=1", "b=2", "c=x"], ["a=1", "b=3", "c=x"]])
        assert [job.overrides for job in recorder.jobs] == [["b=2"], ["b=3"]]
        alone = grid._RecordingLauncher(launcher=None)
        alone.announce([["a=1", "db=postgresql://me:secret@host/x"]])
        assert alone.jobs[0].overrides == ["a=1", "db=postgresql://me:***@host/x"]


class TestAnotherFolderForJobs:
    """With hydra.job.chdir=true jobs run in another folder."""

    def test_grid_writes_into_the_store_of_the_command(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        finished = command(*GRID, "hydra.job.chdir=true", "seed=0,1", store=Path("mine"))
        assert finished.code == 0, finished.err
        assert os.listdir() == ["mine"]
        assert len(list(Path("mine/run").glob("[!.]*"))) == 2
        assert len(list(Path("mine/teacher").glob("[!.]*"))) == 1
        assert Path.cwd() == tmp_path

    def test_study_prunes_in_its_own_relative_storage(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        finished = command(
            *STUDY, "student.depth=3", "student.width=4", "hydra.job.chdir=true", "hydra.sweeper.n_trials=1",
            "hydra.sweeper.objectives=[accuracy]", 'hydra.sweeper.storage="sqlite:///s.db"',
            "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 2}", store=Path("mine"),
        )  # fmt: skip
        assert finished.code == 0, finished.err
        assert sorted(os.listdir()) == ["mine", "s.db"]
        assert [trial.state.name for trial in opened(f"sqlite:///{tmp_path}/s.db").trials] == ["PRUNED"]

    def test_relative_teacher_path_is_found(self, command, earlier_run, tmp_path, monkeypatch):
        monkeypatch.chdir(earlier_run.parents[2])
        path = earlier_run.relative_to(earlier_run.parents[2])
        words = [word for word in (*BASE, "student=thin", "student.depth=3") if not word.startswith("teacher")]
        words += ["teacher=run", f"teacher.path={path}", "student.width=5", "method=kd"]
        finished = command("-m", *words, "hydra.job.chdir=true", "seed=0")
        assert finished.code == 0, finished.err
