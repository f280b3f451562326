"""A whole run: it trains the teacher, stage 1 and stage 2, evaluates, and writes the run's folder.

Every entry point calls `run(config)`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fitnets import signals
from fitnets.config import Config
from fitnets.console.quantities import duration
from fitnets.console.terminal import Terminal
from fitnets.data import splits
from fitnets.data.preprocessing import to_json
from fitnets.data.splits import Data
from fitnets.data.unread import has_test
from fitnets.errors import ConfigError, DivergedError, PrunedError, StageStoppedError
from fitnets.experiment import announcement, following, result_table, results, stage_progress
from fitnets.experiment.run_log import EpochCallback, EpochObserver, RunLog
from fitnets.machine import environment as machine_environment
from fitnets.models.hint_pair import hint_pair
from fitnets.models.network import freeze
from fitnets.parallel import group
from fitnets.planning.identity import teacher_seed
from fitnets.planning.plan import Plan, fit_whitening, new_teacher, prepare
from fitnets.store import directories, files, layout, locks, weights
from fitnets.store.locks import Lock
from fitnets.system.resources import short_errors
from fitnets.tracking import opening
from fitnets.tracking.tracker import Tracker
from fitnets.tracking.wandb_mirror import id_to_resume
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.loop import fit
from fitnets.training.similarity import Diagnosis
from fitnets.training.stages import Stage
from fitnets.training.teacher_outputs import LiveTeacher

StageSummary = dict[str, Any]
"""the fields of `StageOutcome`, and `timing`"""
Stages = dict[str, StageSummary]
"""summaries by stage name, as in `result.json`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCallbacks:
    """Everything that the caller of a run supplies.

    on_epoch: receives the row of every epoch; may be None
    terminal: shows progress and messages
    notes: extra entries for `environment.json`"""

    on_epoch: EpochCallback | None
    terminal: Terminal
    notes: dict[str, Any]


def run(
    config: Config,
    *,
    on_epoch: EpochCallback | None = None,
    terminal: Terminal | None = None,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and measure what the configuration describes, or load the run if the store has it.

    on_epoch: receives the row of every epoch; a PrunedError that it raises ends the run, a StageStoppedError too
    terminal: shows progress and messages; None creates one for standard output
    notes: extra entries for `environment.json`

    Returns the content of `result.json`.

    Raises ConfigError for everything that the user has to change, DivergedError for a loss that is not finite,
    ResourceError if memory or disk space run out, and Stopped after SIGINT or SIGTERM, once a checkpoint is written."""
    with signals.raise_signals(), short_errors(config.root):
        return _run(config, RunCallbacks(on_epoch=on_epoch, terminal=terminal or Terminal(), notes=notes or {}))


def _run(config: Config, callbacks: RunCallbacks) -> dict[str, Any]:
    started, terminal = time.perf_counter(), callbacks.terminal
    opening.check(config.tracker)  # now, not after the training
    plan = prepare(config, terminal)
    if not plan.run_is_finished:
        announcement.announce(plan, terminal)
    elif not _needs_test_figures(plan):
        return _load_finished(plan, callbacks)
    with locks.locked(plan.run_directory, "this run", terminal.say, start_over=config.rerun) as lock:
        # already trained: only test figures are missing, or another process finished it while this one waited
        if plan.run_is_finished:
            return _load_finished(plan, callbacks)
        result = _train_run(plan, lock, callbacks, started)
    result_table.show(result, terminal)
    terminal.narrate(f"done in {duration(result['timing']['run_seconds'])}; files in {plan.run_directory}")
    return result


def _needs_test_figures(plan: Plan) -> bool:
    """Return whether the configuration asks for test figures and the finished run has none on this test split."""
    if not has_test(plan.config):
        return False
    measured_on = files.read_json(plan.run_directory / "result.json")["hashes"].get("test")
    return bool(measured_on != splits.test_identity(plan.config.dataset, plan.config.root))


def _load_finished(plan: Plan, callbacks: RunCallbacks) -> dict[str, Any]:
    """Load the stored result. Missing test figures are measured and stored first."""
    directory, terminal = plan.run_directory, callbacks.terminal
    result = files.read_json(directory / "result.json")
    if _needs_test_figures(plan):
        if not plan.teacher_is_trained:
            raise ConfigError(
                f"{plan.teacher_directory} is missing, and the teacher's test figures need its weights: give "
                "rerun=true, which trains it again, or test=false"
            )
        with files.advise_removal(directory):
            weights.read_weights(directory / layout.STUDENT_WEIGHTS, plan.student)
        plan.load_teacher()
        results.add_test(plan, plan.student, result, terminal)
        with files.advise_removal(directory):
            stored = files.read_json(directory / "environment.json")
        # the run keeps the name of its first trial
        environment = stored | callbacks.notes | {key: stored[key] for key in ("trial",) if key in stored}
        files.write_json(directory / "environment.json", environment)
        files.write_json(directory / "result.json", result)
    result_table.show(result, terminal)
    terminal.narrate(f"found, nothing was trained (rerun=true trains it again); files in {directory}")
    return result


def _train_run(plan: Plan, lock: Lock, callbacks: RunCallbacks, started: float) -> dict[str, Any]:
    """Train and measure in the run's directory. `result.json` is written at the start too, with its `status`."""
    config = plan.config
    facts = results.facts(plan)
    late_error: BaseException | None = None
    tracker_id = None if config.rerun else id_to_resume(plan.run_directory)
    with directories.replace_run(plan.run_directory) as directory:
        files.write_json(directory / "result.json", {"status": "running"} | facts)
        files.write_config(directory / "config.yaml", config)
        files.write_json(
            directory / "environment.json", machine_environment.environment_record(plan.device) | callbacks.notes
        )
        try:
            name = f"{config.student.name}-{plan.hashes.run}"
            tracked = opening.open_tracker(config, directory, name, callbacks.terminal.say, tracker_id)
            with tracked as tracker, _failure_tracked(tracker, plan, facts):
                log = RunLog(lock, tracker, callbacks.on_epoch)
                with following.led_by_this(plan):
                    result = _train_and_measure(plan, lock, log, callbacks.terminal)
                result["timing"]["run_seconds"] = log.earlier_s + time.perf_counter() - started
                lock.check()
                files.write_json(directory / "result.json", result)
                tracker.summarise(result)
                tracker.keep_student()
        except BaseException as error:
            lock.check()
            if not directories.is_finished(directory):
                with suppress(OSError):  # if the disk is full, the original error matters more
                    files.write_json(directory / "result.json", _failure(error) | facts)
                raise
            late_error = error  # such as a signal while W&B was updated: the finished run is kept
    if late_error is not None:
        raise late_error
    return result


@contextmanager
def _failure_tracked(tracker: Tracker, plan: Plan, facts: dict[str, Any]) -> Iterator[None]:
    """If the block raises before the run is finished, send the failure to the tracker."""
    try:
        yield
    except BaseException as error:
        if not directories.is_finished(plan.run_directory):
            tracker.summarise(_failure(error) | facts)
        raise


def _failure(error: BaseException) -> dict[str, Any]:
    """The `status` and `error` of a run that ended with this error."""
    status = "stopped" if isinstance(error, KeyboardInterrupt | StageStoppedError) else "failed"
    for kind, name in ((DivergedError, "diverged"), (PrunedError, "pruned")):
        if isinstance(error, kind):
            status = name
    return {"status": status, "error": str(error) or type(error).__name__}


def _train_and_measure(plan: Plan, lock: Lock, log: RunLog, terminal: Terminal) -> dict[str, Any]:
    """Train every stage that the store does not have, measure, and return the content of `result.json`."""
    trainer = Trainer(plan, lock, log, terminal)
    teacher = _load_or_train_teacher(plan, log, terminal)
    if plan.teacher is not None:
        freeze(plan.teacher)
    diagnosis = Diagnosis(plan.teacher, hint_pair(plan.config), plan.data.valid, plan.config.engine.eval_batch_size)
    diagnoses = {"initial": diagnosis.of(plan.student)}
    *first_stages, last_stage = plan.stages
    stages = teacher["stages"]
    if plan.hint_directory is not None:
        (stage_1,) = first_stages
        stages |= _load_or_train_stage_1(plan, plan.hint_directory, stage_1, log, terminal)["stages"]
        diagnoses["hint"] = diagnosis.of(plan.student)
    stages |= trainer.train([last_stage], plan.config.seed)
    diagnoses["student"] = diagnosis.of(plan.student)
    logits = None if plan.teacher is None else plan.teacher_cache(terminal).logits(plan.data.valid)
    valid = results.measured(plan, plan.student, "valid", plan.data.valid, logits)
    if "teacher" in valid:
        valid["teacher"] |= teacher["valid"]
    student = plan.student
    if plan.config.schedule.retrain_student:
        student, student_stages = plan.fresh_student()
        stages |= trainer.retrain(student_stages, plan.config.seed, stages)
    weights.write_weights(plan.run_directory / layout.STUDENT_WEIGHTS, student)
    return results.result(plan, student, terminal, stages=stages, valid=valid, diagnoses=diagnoses)


class Trainer:
    """Trains the stages of an artifact one after the other and resumes from its checkpoints, if there are any. The row
    of every epoch goes to the run's log.

    lock: the lock of the artifact, beside which the checkpoints lie
    epoch_callbacks: receive the row of every epoch before the log does"""

    def __init__(
        self,
        plan: Plan,
        lock: Lock,
        log: RunLog,
        terminal: Terminal,
        epoch_callbacks: Sequence[EpochCallback] = (),
    ):
        self.plan = plan
        self.lock = lock
        self.log = log
        self.terminal = terminal
        self.epoch_callbacks = [*epoch_callbacks, log.append]

    def train(self, stages: Sequence[Stage], seed: int) -> Stages:
        """Train the stages and select epochs on validation. Returns their summaries, by stage name."""
        return {stage.name: self._fit(stage, self.plan.data, seed) for stage in stages}

    def retrain(self, stages: Sequence[Stage], seed: int, selected: Stages) -> Stages:
        """Train the stages, whose networks have fresh weights, on training and validation images together.

        selected: summaries of the first training; each stage trains up to its best epoch

        Returns the summaries, by `retrain_` and the stage's name."""
        training_and_validation = self.plan.data.with_validation()
        return {
            f"retrain_{stage.name}": self._fit(
                stage, training_and_validation, seed, selected[stage.name]["best_epoch"] + 1
            )
            for stage in stages
        }

    def _fit(self, stage: Stage, data: Data, seed: int, fixed_epochs: int | None = None) -> StageSummary:
        started = time.perf_counter()
        steps = len(data.train) // stage.settings.batch_size
        name = stage.name if fixed_epochs is None else f"retrain {stage.name}"
        checkpoints = Checkpoints(
            self.lock.checkpoints / name.replace(" ", "_"),
            self.plan.config.engine.checkpoint_seconds,
            self.terminal.say,
            self.lock.check,
            restart_on_other_machine=self.plan.config.engine.on_other_machine == "restart",
        )
        following.order_stage(stage, seed, fixed_epochs)
        cache_plan = self.plan.cache_plan(stage, data)
        if cache_plan is not None:
            stage.teacher_outputs = self.plan.teacher_cache(self.terminal).outputs(cache_plan, data)
        with stage_progress.shown(self.terminal, name, fixed_epochs or stage.settings.epochs, steps) as progress:
            outcome = fit(
                stage,
                data,
                seed=seed,
                eval_batch_size=self.plan.config.engine.eval_batch_size,
                observer=EpochObserver(progress, self.epoch_callbacks),
                views=self.plan.views(stage),
                fixed_epochs=fixed_epochs,
                checkpoints=checkpoints,
                group=group.current(),
            )
        if stage.teacher is not None:
            stage.teacher_outputs = LiveTeacher(stage.teacher)  # closes the cache tables
        summary = asdict(outcome)
        earlier_s, teacher_s = summary.pop("earlier_s"), summary.pop("teacher_s")
        self.log.earlier_s += earlier_s
        seconds = earlier_s + time.perf_counter() - started
        return summary | {"timing": {"seconds": seconds, "teacher_seconds": teacher_s}}


def _load_or_train_teacher(plan: Plan, log: RunLog, terminal: Terminal) -> dict[str, Any]:
    """Load the trained weights into `plan.teacher`, or train and store it.

    Returns the summaries of its training under `stages`. If it was retrained on the validation images too, `valid` has
    the network's quality on validation before the retraining."""
    stage, seed, network = plan.teacher_stage, teacher_seed(plan.config), plan.teacher
    if stage is None or seed is None or network is None:  # no teacher, or one that has its weights already
        return {"stages": {}, "valid": {}}

    def make(trainer: Trainer) -> dict[str, Any]:
        stages, valid = trainer.train([stage], seed), {}
        if plan.config.schedule.retrain_teacher:
            valid = results.quality("valid", *results.predict(plan, network, plan.data.valid))
            network.load_state_dict(new_teacher(plan.config).state_dict())
            fit_whitening(network, plan.data)
            stages |= trainer.retrain([stage], seed, stages)
        classes, fitted = plan.class_names.names, to_json(plan.data.fitted)
        hashes = {"data": plan.data.digest}
        return {"stages": stages, "valid": valid, "hashes": hashes, "classes": classes, "fitted": fitted}

    with locks.locked(plan.teacher_directory, "the teacher", terminal.say) as lock:
        if plan.config.rerun and not plan.teacher_is_trained:
            lock.delete_checkpoints()
        return _load_or_train(plan, lock, {"teacher": network}, make, log=log, terminal=terminal)


def _load_or_train_stage_1(
    plan: Plan, directory: Path, stage: Stage, log: RunLog, terminal: Terminal
) -> dict[str, Any]:
    """Load the student after stage 1 into `plan.student`, or train and store it, with its regressor or classifier in a
    file beside it. Returns the summary of the stage under `stages`."""

    def make(trainer: Trainer) -> dict[str, Any]:
        return {"stages": trainer.train([stage], plan.config.seed)}

    with locks.locked(directory, "stage 1", terminal.say, start_over=plan.config.rerun) as lock:
        return _load_or_train(plan, lock, {"hint": plan.student, **stage.heads}, make, log=log, terminal=terminal)


def _load_or_train(
    plan: Plan,
    lock: Lock,
    modules: dict[str, nn.Module],
    make: Callable[[Trainer], dict[str, Any]],
    *,
    log: RunLog,
    terminal: Terminal,
) -> dict[str, Any]:
    """Load the modules from the locked artifact, or train them with `make` and store them. Either way the rows of all
    epochs go to the run's log.

    modules: the networks to fill, by file name without extension; the first one also names the JSON summary
    make: trains the modules with the given trainer and returns their JSON summary

    Returns the JSON summary."""
    directory = lock.directory
    summary_file = f"{next(iter(modules))}.json"
    if directory.exists() and not lock.start_over:
        with files.advise_removal(directory):
            for name, module in modules.items():
                weights.read_weights(directory / layout.weights_file(name), module)
            log.replay(files.read_metrics(directory / layout.METRICS))
            return files.read_json(directory / summary_file)
    with directories.fill(directory, replace=lock.start_over) as partial:
        summary = make(Trainer(plan, lock, log, terminal, [files.MetricsFile(partial / "metrics.jsonl").append]))
        for name, module in modules.items():
            weights.write_weights(partial / f"{name}.safetensors", module)
        files.write_json(partial / summary_file, summary)
        files.write_json(partial / "environment.json", machine_environment.environment_record(plan.device))
        files.write_config(partial / "config.yaml", plan.config)
        lock.check()
    return summary
