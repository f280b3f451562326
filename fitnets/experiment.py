"""A whole run: teacher, stage 1, stage 2, evaluation, files. `run(config)` is what every entry point calls."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from fitnets import costs, data, engine, metrics, report, store
from fitnets.config import Config
from fitnets.loop import DivergedError, Epoch, fit
from fitnets.networks import freeze
from fitnets.objectives import HintObjective, Objective
from fitnets.plan import PRECISION, Plan, prepare, setting_hash
from fitnets.terminal import StageProgress, Terminal
from fitnets.tracking import Tracker, tracking

StageSummary = dict[str, Any]


class RunLog:
    """`metrics.jsonl` and its mirror: every epoch of every stage, numbered from the start of the run."""

    def __init__(self, directory: Path, tracker: Tracker):
        self.file = store.MetricsFile(directory / "metrics.jsonl")
        self.tracker = tracker
        self.step = 0

    def append(self, row: dict[str, Any]) -> None:
        self.file.append({"step": self.step, **row})
        self.tracker.log(self.step, row)
        self.step += 1


class EpochObserver:
    """Shows each epoch and hands its row to those who keep it."""

    def __init__(self, progress: StageProgress, keepers: Sequence[Callable[[dict[str, Any]], None]]):
        self.progress = progress
        self.keepers = keepers

    def on_step(self) -> None:
        self.progress.on_step()

    def on_epoch(self, epoch: Epoch) -> None:
        self.progress.on_epoch(epoch)
        for keep in self.keepers:
            keep(as_row(epoch))


def as_row(epoch: Epoch) -> dict[str, Any]:
    """A line of `metrics.jsonl`: losses in nats (hint loss: squared activations), errors as fractions."""
    return {
        "stage": epoch.stage,
        "epoch": epoch.epoch,
        "images": epoch.images,
        "lr": epoch.lr,
        **epoch.train,
        **epoch.valid,
        "best": epoch.best,
        "timing": {"seconds": epoch.seconds},
    }


def run(config: Config) -> dict[str, Any]:
    """Do what the configuration says. Gives the content of `result.json`.

    Raises ConfigError for what the user has to change, DivergedError for a loss that is not finite."""
    started = time.perf_counter()
    terminal = Terminal()
    plan = prepare(config, terminal.track)
    report.announce(plan, terminal)
    with store.replacing(plan.run_directory) as directory:
        store.write_config(directory / "config.yaml", config)
        store.write_json(directory / "environment.json", engine.environment(plan.device))
        try:
            with tracking(config, directory, f"{config.student.name}-{plan.run_hash}") as tracker:
                result = _finish(plan, RunLog(directory, tracker), terminal)
                result["timing"]["run_seconds"] = time.perf_counter() - started
                tracker.summarise(result)
        except BaseException as error:
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            store.write_json(directory / "result.json", {"status": status, "error": str(error) or type(error).__name__})
            raise
        store.write_json(directory / "result.json", result)
    report.conclude(result, directory, terminal)
    return result


def _finish(plan: Plan, log: RunLog, terminal: Terminal) -> dict[str, Any]:
    """Train what is not trained yet, then measure."""
    stages = {"teacher": _teacher(plan, log, terminal)}
    freeze(plan.teacher)
    for objective in plan.stages:
        stages[objective.name] = _train(objective, plan, plan.config.seed, [log.append], terminal)
    store.write_weights(plan.run_directory / "student.safetensors", plan.student)
    return _result(plan, stages, terminal)


def _teacher(plan: Plan, log: RunLog, terminal: Terminal) -> StageSummary:
    """The teacher's weights, from the store, or trained into it; its epochs are part of the run's log either way."""
    directory = plan.teacher_directory
    if plan.teacher_is_trained:
        store.read_weights(directory / "teacher.safetensors", plan.teacher)
        for row in store.read_metrics(directory / "metrics.jsonl"):
            log.append(row)
        return store.read_json(directory / "teacher.json")
    with store.directory(directory) as partial:
        keepers: Sequence[Callable[[dict[str, Any]], None]] = [
            store.MetricsFile(partial / "metrics.jsonl").append,
            log.append,
        ]
        summary = _train(plan.teacher_stage, plan, plan.config.teacher.seed, keepers, terminal)
        store.write_weights(partial / "teacher.safetensors", plan.teacher)
        store.write_json(partial / "teacher.json", summary)
        store.write_json(partial / "environment.json", engine.environment(plan.device))
        store.write_config(partial / "config.yaml", plan.config)
    return summary


def _train(
    objective: Objective,
    plan: Plan,
    seed: int,
    keepers: Sequence[Callable[[dict[str, Any]], None]],
    terminal: Terminal,
) -> StageSummary:
    started = time.perf_counter()
    steps = len(plan.data.train) // objective.stage.batch_size
    with terminal.stage(objective.name, objective.stage.epochs, steps) as progress:
        fitted = fit(
            objective,
            plan.data,
            seed=seed,
            eval_batch_size=plan.config.engine.eval_batch_size,
            observer=EpochObserver(progress, keepers),
        )
    return asdict(fitted) | {"timing": {"seconds": time.perf_counter() - started}}


# --- result.json ---


def _result(plan: Plan, stages: dict[str, StageSummary], terminal: Terminal) -> dict[str, Any]:
    """Accuracy and error are fractions, losses nats, `weights_bytes` the size of the weight file. What differs from run
    to run of one configuration is under `timing`."""
    config = plan.config
    splits = {"valid": plan.data.valid}
    if config.test:
        splits["test"] = data.load_test(config.dataset, plan.root, plan.device, terminal.track)
    networks = {"teacher": plan.teacher, "student": plan.student}
    files = {
        "teacher": plan.teacher_directory / "teacher.safetensors",
        "student": plan.run_directory / "student.safetensors",
    }
    sides = {
        name: {"name": getattr(config, name).name}
        | asdict(costs.cost(network, (config.dataset.channels, config.dataset.height, config.dataset.width)))
        | {"weights_bytes": files[name].stat().st_size}
        for name, network in networks.items()
    }
    for split_name, split in splits.items():
        logits = {name: metrics.predict(net, split, config.engine.eval_batch_size) for name, net in networks.items()}
        for name, (predicted, labels) in logits.items():
            sides[name] |= _quality(split_name, predicted, labels)
        sides["student"][f"{split_name}_agreement"] = metrics.agreement(logits["student"][0], logits["teacher"][0])
    latency = engine.latencies(networks, plan.data.train.images[0])
    return {
        "status": "finished",
        "dataset": config.dataset.name,
        "method": config.method.name,
        "schedule": config.schedule.name,
        "hashes": {
            "data": plan.data.digest,
            "teacher": plan.teacher_hash,
            "run": plan.run_hash,
            "setting": setting_hash(config, plan.data.digest),
        },
        "seeds": {"dataset": config.dataset.seed, "teacher": config.teacher.seed, "student": config.seed},
        "hint": next((_hint(stage) for stage in plan.stages if isinstance(stage, HintObjective)), None),
        "images": {"train": len(plan.data.train)} | {name: len(split) for name, split in splits.items()},
        "stages": {
            name: {key: item for key, item in stage.items() if key != "timing"} for name, stage in stages.items()
        },
        **sides,
        "compression": sides["teacher"]["parameters"] / sides["student"]["parameters"],
        "fewer_multiplications": sides["teacher"]["multiplications"] / sides["student"]["multiplications"],
        "timing": {
            "stage_seconds": {name: stage["timing"]["seconds"] for name, stage in stages.items()},
            "device": engine.describe(plan.device),
            "precision": PRECISION,
            "latency": latency,
            "speedup_batch_1": latency["teacher"]["batch_1_p50_ms"] / latency["student"]["batch_1_p50_ms"],
            "speedup_batch_128": latency["teacher"]["batch_128_p50_ms"] / latency["student"]["batch_128_p50_ms"],
        },
    }


def _hint(objective: HintObjective) -> dict[str, Any]:
    return {
        "teacher_layer": objective.hint_layer,
        "student_layer": objective.guided_layer,
        "regressor": objective.regressor.describe(),
    }


def _quality(split: str, logits: Tensor, labels: Tensor) -> dict[str, float]:
    error = metrics.error(logits, labels)
    return {
        f"{split}_accuracy": 1 - error,
        f"{split}_error": error,
        f"{split}_loss": metrics.cross_entropy(logits, labels),
        f"{split}_calibration_error": metrics.calibration_error(logits, labels),
    }
