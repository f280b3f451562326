"""Evaluate a finished student (or teacher) on a split of its data, or on other images."""

import argparse
import json
from dataclasses import replace
from typing import Any

from fitnets import checks, errors
from fitnets.commands.arguments import RUN_HELP, find_run
from fitnets.composition import loading
from fitnets.config import Dataset, Folder
from fitnets.console.quantities import plural
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal
from fitnets.data.reading import folder_layout
from fitnets.experiment import evaluation
from fitnets.system import process
from fitnets.system.resources import short_errors

_MOST_CONFUSED = 20
"""Number of classes up to which the confusion matrix is shown as a table."""


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets eval", description=__doc__)
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("overrides", nargs="*", help="as for fitnets run: other data, engine.device=..., store=...")
    parser.add_argument(
        "--split",
        choices=["train", "valid", "test"],
        help="default: test for the data that the network was trained on; all images of other data",
    )
    parser.add_argument("--config-dir", help="folder with your own options, as for fitnets run")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    network = find_run(arguments.run, arguments.overrides)
    _check_overrides(arguments.overrides)
    dataset = _dataset(network.config.dataset, arguments.overrides, arguments.config_dir)
    checks.check_dataset(replace(network.config, dataset=_with_two_classes(dataset)))
    others = [word for word in arguments.overrides if not word.startswith("dataset")]
    settings, terminal = loading.load(others), Terminal(aside=arguments.json)
    store = settings.store if any(word.startswith("store=") for word in others) else None
    with evaluation.working_store(network, store) as root, short_errors(root):
        settings = replace(settings, store=str(root))
        result = evaluation.evaluate(network, dataset, arguments.split, settings, terminal)
    if arguments.json:
        process.write_result(json.dumps(result, indent=2))
        return
    images = "all" if result["split"] == "all" else f"{result['split']}:"
    title = f"{network.net.name} of {arguments.run}"
    terminal.table(title, ["", f"{result['dataset']}, {images} {plural(result['images'], 'image')}"], _figures(result))
    for table in (_classes(result), _confusion(result)):
        if table.rows:
            terminal.show(table)
    for note in result["notes"]:
        terminal.say(f"note: {note}")


def _check_overrides(words: list[str]) -> None:
    for word in words:
        key = word.split("=")[0]
        if key not in ("dataset", "store") and not key.startswith(("dataset.", "engine.")) or "preprocessing" in key:
            raise errors.ConfigError(
                f"{word}: fitnets eval takes dataset, dataset.*, engine.* and store; images are preprocessed like the "
                "images that the network was trained on"
            )


def _dataset(trained_on: Dataset, words: list[str], config_dir: str | None) -> Dataset:
    """Compose the data set to evaluate on.

    trained_on: the data set that the network was trained on
    words: the overrides of the command line

    If the overrides choose no other data set, `trained_on` supplies every key that they leave out. Otherwise only a
    folder of images inherits keys: channels, height and width, the shape that its images get. The classes of a folder
    are counted unless the overrides give their number.
    """
    changes = [word for word in words if word.startswith("dataset.")]
    names = [word.removeprefix("dataset=") for word in words if word.startswith("dataset=")]
    if names in ([], [trained_on.name]):
        dataset = loading.adapted(_without_split_file(trained_on, changes), "dataset", changes)
    else:
        composed = loading.load([word for word in words if word.startswith("dataset")], config_dir).dataset
        shared = ("channels", "height", "width") if isinstance(composed, Folder) else ()
        inherited = {key: getattr(trained_on, key) for key in shared if not _gives(changes, key)}
        dataset = replace(composed, **inherited)
    if isinstance(dataset, Folder) and not _gives(changes, "classes"):
        dataset = replace(dataset, classes=len(folder_layout.structure(dataset.path).classes))
    return dataset


def _without_split_file(dataset: Dataset, changes: list[str]) -> Dataset:
    """Remove the split file of a folder whose path changes: it belongs to the earlier folder."""
    return replace(dataset, split_file=None) if isinstance(dataset, Folder) and _gives(changes, "path") else dataset


def _gives(changes: list[str], key: str) -> bool:
    return any(word.split("=")[0] == f"dataset.{key}" for word in changes)


def _with_two_classes(dataset: Dataset) -> Dataset:
    """Let a folder of a single class pass the checks: it can be evaluated, though not trained on."""
    return replace(dataset, classes=2) if isinstance(dataset, Folder) and dataset.classes == 1 else dataset


def _figures(result: dict[str, Any]) -> list[list[str]]:
    return [
        ["accuracy", f"{100 * result['accuracy']:.2f} %"],
        ["error", f"{100 * result['error']:.2f} %"],
        ["loss", f"{result['loss']:.4f} nats"],
        ["calibration error", f"{100 * result['calibration_error']:.2f} %"],
    ]


def _classes(result: dict[str, Any]) -> Table:
    accuracies = ["-" if value is None else f"{100 * value:.2f} %" for value in result["class_accuracy"]]
    counts = [str(count) for count in result["class_images"]]
    rows = [list(row) for row in zip(result["classes"], counts, accuracies, strict=True)]
    return Table("each class", ["class", "images", "accuracy"], rows)


def _confusion(result: dict[str, Any]) -> Table:
    """Return the confusion matrix. Its columns are headed by class numbers, which are narrower than names."""
    names = result["classes"]
    if len(names) > _MOST_CONFUSED:
        return Table("", [], [])
    rows = [[f"{label} {name}", *map(str, result["confusion"][label])] for label, name in enumerate(names)]
    return Table("confusion matrix", ["true / predicted", *map(str, range(len(names)))], rows)
