"""A whole run: teacher, stage 1, stage 2, evaluation, files. `run(config)` is what every entry point calls."""

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
from fitnets.data.preprocessing import recordable
from fitnets.data.splits import Data
from fitnets.data.test_split import has_test
from fitnets.errors import ConfigError, DivergedError, PrunedError
from fitnets.experiment import announcement, results, stage_progress
from fitnets.experiment.run_log import EpochCallback, EpochObserver, RunLog
from fitnets.machine import environment as machine_environment
from fitnets.models.hint_pair import hint_pair
from fitnets.models.network import freeze
from fitnets.planning.identity import teacher_seed
from fitnets.planning.plan import Plan, new_student, new_teacher, prepare
from fitnets.store import directories, files, layout, locks, weights
from fitnets.store.locks import Lock
from fitnets.system.resources import short_errors
from fitnets.tracking.wandb_mirror import Tracker, is_on, tracking, unfinished_id
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.loop import fit
from fitnets.training.similarity import Diagnosis
from fitnets.training.stages import TrainingStage
from fitnets.training.teacher_outputs import LiveTeacher

StageSummary = dict[str, Any]
Stages = dict[str, StageSummary]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCallbacks:
    """Who wants a run: is handed the row of every epoch, reads what is said, and has notes for `environment.json`."""

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
    """Do what the configuration says, or find that it is done. Gives the content of `result.json`.

    on_epoch: is handed the row of every epoch; a PrunedError that it raises ends the run. notes: go into
    `environment.json`.

    Raises ConfigError for what the user has to change, DivergedError for a loss that is not finite, ResourceError for
    memory or disk that ran out, and Stopped, once a checkpoint is written, when SIGINT or SIGTERM came."""
    with signals.listening(), short_errors(config.root):
        return _run(config, RunCallbacks(on_epoch=on_epoch, terminal=terminal or Terminal(), notes=notes or {}))


def _run(config: Config, caller: RunCallbacks) -> dict[str, Any]:
    started, terminal = time.perf_counter(), caller.terminal
    is_on(config.tracker)  # a WANDB_MODE that there is not ends nothing half-way
    plan = prepare(config, terminal)
    if not plan.run_is_finished:
        announcement.announce(plan, terminal)
    elif not _needs_test_figures(plan):
        return _load_finished(plan, caller)
    with locks.locked(plan.run_directory, "this run", terminal.say, start_over=config.rerun) as claim:
        if plan.run_is_finished:  # but for its figures on test, or by the process that was waited for
            return _load_finished(plan, caller)
        result = _train_run(plan, claim, caller, started)
    announcement.conclude(result, terminal)
    terminal.narrate(f"done in {duration(result['timing']['run_seconds'])}; files in {plan.run_directory}")
    return result


def _needs_test_figures(plan: Plan) -> bool:
    """Whether a finished run has no figures on this test split, and they are wanted."""
    if not has_test(plan.config):
        return False
    told = files.read_json(plan.run_directory / layout.RESULT)["hashes"].get("test")
    return bool(told != splits.test_identity(plan.config.dataset, plan.config.root))


def _load_finished(plan: Plan, caller: RunCallbacks) -> dict[str, Any]:
    """The stored result, with figures on test added where they are wanted and were not."""
    directory, terminal = plan.run_directory, caller.terminal
    result = files.read_json(directory / layout.RESULT)
    if _needs_test_figures(plan):
        if not plan.teacher_is_trained:
            raise ConfigError(
                f"{plan.teacher_directory} is gone, and the teacher's figures on test are wanted: give rerun=true"
            )
        with files.made_again(directory):
            weights.read_weights(directory / layout.STUDENT_WEIGHTS, plan.student)
        plan.load_teacher()
        results.add_test(plan, plan.student, result, terminal)
        with files.made_again(directory):
            told = files.read_json(directory / layout.ENVIRONMENT)
        environment = told | caller.notes | {key: told[key] for key in ("trial",) if key in told}
        files.write_json(directory / layout.ENVIRONMENT, environment)
        files.write_json(directory / layout.RESULT, result)
    announcement.conclude(result, terminal)
    terminal.narrate(f"found, nothing was trained (rerun=true trains it again); files in {directory}")
    return result


def _train_run(plan: Plan, claim: Lock, caller: RunCallbacks, started: float) -> dict[str, Any]:
    """Train and measure in the run's directory. `result.json` is there from the start, with a `status`."""
    config = plan.config
    facts = results.facts(plan)
    late: BaseException | None = None
    continued = None if config.rerun else unfinished_id(plan.run_directory)
    with directories.replace_run(plan.run_directory) as directory:
        files.write_json(directory / layout.RESULT, {"status": "running"} | facts)
        files.write_config(directory / layout.CONFIG, config)
        files.write_json(directory / layout.ENVIRONMENT, machine_environment.environment(plan.device) | caller.notes)
        try:
            name = f"{config.student.name}-{plan.hashes.run}"
            tracked = tracking(config, directory, name, caller.terminal.say, continued)
            with tracked as tracker, _failure_told(tracker, plan, facts):
                log = RunLog(claim, tracker, caller.on_epoch)
                result = _train_and_measure(plan, claim, log, caller.terminal)
                result["timing"]["run_seconds"] = log.earlier_s + time.perf_counter() - started
                claim.check()
                files.write_json(directory / layout.RESULT, result)
                tracker.summarise(result)
                tracker.keep_student()
        except BaseException as error:
            claim.check()
            if not directories.is_finished(directory):
                with suppress(OSError):  # a full disk: that is what is raised
                    files.write_json(directory / layout.RESULT, _failure(error) | facts)
                raise
            late = error  # a signal while W&B was told: the run is finished
    if late is not None:
        raise late
    return result


@contextmanager
def _failure_told(tracker: Tracker, plan: Plan, facts: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not directories.is_finished(plan.run_directory):
            tracker.summarise(_failure(error) | facts)
        raise


def _failure(error: BaseException) -> dict[str, Any]:
    """The result of a run that such an error ended."""
    status = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
    for kind, name in ((DivergedError, "diverged"), (PrunedError, "pruned")):
        if isinstance(error, kind):
            status = name
    return {"status": status, "error": str(error) or type(error).__name__}


def _train_and_measure(plan: Plan, claim: Lock, log: RunLog, terminal: Terminal) -> dict[str, Any]:
    """Train what is not trained yet, then measure."""
    trainer = Trainer(plan, claim, log, terminal)
    teacher = _teacher(plan, log, terminal)
    if plan.teacher is not None:
        freeze(plan.teacher)
    diagnosis = Diagnosis(plan.teacher, hint_pair(plan.config), plan.data.valid, plan.config.engine.eval_batch_size)
    diagnoses = {"initial": diagnosis.of(plan.student)}
    *first, whole = plan.stages
    stages = teacher["stages"]
    if plan.hint_directory is not None:
        stages |= _stage_1(plan, plan.hint_directory, first, log, terminal)["stages"]
        diagnoses["hint"] = diagnosis.of(plan.student)
    stages |= trainer.train([whole], plan.config.seed)
    diagnoses["student"] = diagnosis.of(plan.student)
    logits = None if plan.teacher is None else plan.teacher_cache(terminal).logits(plan.data.valid)
    valid = results.measured(plan, plan.student, "valid", plan.data.valid, logits)
    if "teacher" in valid:
        valid["teacher"] |= teacher["valid"]
    student = plan.student
    if plan.config.schedule.retrain_student:
        student, student_stages = new_student(plan.config, plan.teacher, plan.device, plan.precision)
        student.set_preprocessing(plan.config.dataset.preprocessing, plan.data.fitted)
        stages |= trainer.retrain(student_stages, plan.config.seed, stages)
    weights.write_weights(plan.run_directory / layout.STUDENT_WEIGHTS, student)
    return results.result(plan, student, terminal, stages=stages, valid=valid, diagnoses=diagnoses)


class Trainer:
    """Trains the stages of an artifact one after the other, from its checkpoints where there are any, and tells the
    keepers and the run's log of every epoch."""

    def __init__(self, plan: Plan, claim: Lock, log: RunLog, terminal: Terminal, keepers: Sequence[EpochCallback] = ()):
        self.plan = plan
        self.claim = claim
        self.log = log
        self.terminal = terminal
        self.keepers = [*keepers, log.append]

    def train(self, stages: Sequence[TrainingStage], seed: int) -> Stages:
        """A summary of each stage, by its name."""
        return {stage.name: self._fit(stage, self.plan.data, seed) for stage in stages}

    def retrain(self, stages: Sequence[TrainingStage], seed: int, found: Stages) -> Stages:
        """The same from fresh networks, on training and validation images, with the epochs that were found."""
        whole = self.plan.data.whole()
        return {
            f"retrain_{stage.name}": self._fit(stage, whole, seed, found[stage.name]["best_epoch"] + 1)
            for stage in stages
        }

    def _fit(self, stage: TrainingStage, data: Data, seed: int, known_epochs: int | None = None) -> StageSummary:
        started = time.perf_counter()
        steps = len(data.train) // stage.settings.batch_size
        name = stage.name if known_epochs is None else f"retrain {stage.name}"
        checkpoints = Checkpoints(
            self.claim.checkpoints / name.replace(" ", "_"),
            self.plan.config.engine.checkpoint_seconds,
            self.terminal.say,
            self.claim.check,
            anew_elsewhere=self.plan.config.engine.on_other_machine == "restart",
        )
        need = self.plan.cache_plan(stage, data)
        if need is not None:
            stage.teacher_outputs = self.plan.teacher_cache(self.terminal).outputs(need, data)
        with stage_progress.shown(self.terminal, name, known_epochs or stage.settings.epochs, steps) as progress:
            fitted = fit(
                stage,
                data,
                seed=seed,
                eval_batch_size=self.plan.config.engine.eval_batch_size,
                observer=EpochObserver(progress, self.keepers),
                views=self.plan.views(stage),
                known_epochs=known_epochs,
                checkpoints=checkpoints,
            )
        if stage.teacher is not None:
            stage.teacher_outputs = LiveTeacher(stage.teacher)  # the tables are let go
        told = asdict(fitted)
        earlier_s = told.pop("earlier_s")
        self.log.earlier_s += earlier_s
        return told | {"timing": {"seconds": earlier_s + time.perf_counter() - started}}


def _teacher(plan: Plan, log: RunLog, terminal: Terminal) -> dict[str, Any]:
    """The teacher's weights come into `plan.teacher`. Gives its `stages` and, where it was retrained on the validation
    images too, under `valid` the quality of the network that was selected on them."""
    stage, seed, network = plan.teacher_stage, teacher_seed(plan.config), plan.teacher
    if stage is None or seed is None or network is None:  # of earlier runs: its weights are there
        return {"stages": {}, "valid": {}}

    def make(trainer: Trainer) -> dict[str, Any]:
        stages, valid = trainer.train([stage], seed), {}
        if plan.config.schedule.retrain_teacher:
            valid = results.quality("valid", *results.predicted(plan, network, plan.data.valid))
            network.load_state_dict(new_teacher(plan.config).state_dict())
            stages |= trainer.retrain([stage], seed, stages)
        classes, fitted = plan.class_names.names, recordable(plan.data.fitted)
        hashes = {"data": plan.data.digest}
        return {"stages": stages, "valid": valid, "hashes": hashes, "classes": classes, "fitted": fitted}

    with locks.locked(plan.teacher_directory, "the teacher", terminal.say) as claim:
        if plan.config.rerun and not plan.teacher_is_trained:
            claim.delete_checkpoints()
        return _artifact(plan, claim, {"teacher": network}, make, log=log, terminal=terminal)


def _stage_1(
    plan: Plan, directory: Path, stages: list[TrainingStage], log: RunLog, terminal: Terminal
) -> dict[str, Any]:
    """Stage 1's student comes into `plan.student`. Its regressor or classifier is stored beside it."""
    (stage,) = stages
    heads = {name: layer for name, layer in stage.layers.items() if name not in plan.student.trainable_parts()}

    def make(trainer: Trainer) -> dict[str, Any]:
        return {"stages": trainer.train([stage], plan.config.seed)}

    with locks.locked(directory, "stage 1", terminal.say, start_over=plan.config.rerun) as claim:
        return _artifact(plan, claim, {"hint": plan.student, **heads}, make, log=log, terminal=terminal)


def _artifact(
    plan: Plan,
    claim: Lock,
    modules: dict[str, nn.Module],
    make: Callable[[Trainer], dict[str, Any]],
    *,
    log: RunLog,
    terminal: Terminal,
) -> dict[str, Any]:
    """What `make` trains into the modules and says of it: from the claimed directory, or made into it. The first module
    names the file of what is said. The epochs become part of the run's log either way."""
    directory = claim.directory
    told = layout.record_file(next(iter(modules)))
    if directory.exists() and not claim.start_over:
        with files.made_again(directory):
            for name, module in modules.items():
                weights.read_weights(directory / layout.weights_file(name), module)
            for row in files.read_metrics(directory / layout.METRICS):
                log.append(row)
            return files.read_json(directory / told)
    with directories.fill(directory, replace=claim.start_over) as partial:
        found = make(Trainer(plan, claim, log, terminal, [files.MetricsFile(partial / layout.METRICS).append]))
        for name, module in modules.items():
            weights.write_weights(partial / layout.weights_file(name), module)
        files.write_json(partial / told, found)
        files.write_json(partial / layout.ENVIRONMENT, machine_environment.environment(plan.device))
        files.write_config(partial / layout.CONFIG, plan.config)
        claim.check()
    return found
