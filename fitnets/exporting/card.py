"""Writes the model card of an exported student: its origin, accuracy, speed and limits."""

import json
import shlex
from typing import Any

from fitnets.config import Config, Dataset
from fitnets.console.quantities import number, size
from fitnets.console.tables import Table


def text(config: Config, result: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return the card in Markdown.

    result: content of the run's result.json
    facts: content of export.json
    """
    student = result["student"]
    parts = [
        f"# {student['name']}, {result['method']} on {result['dataset']}",
        origin(config.dataset, result, facts),
        *(
            table.markdown()
            for table in (figures(result), _parity(facts), latencies(facts), speedups(facts))
            if table.rows
        ),
        _limits(result, facts),
        _files(facts),
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def origin(dataset: Dataset, result: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return lines about data, classes, input, teacher and recipe."""
    teacher, hint = result["teacher"], result["hint"]
    classes = ", ".join(map(_quoted, facts["classes"])) if facts["classes"] else f"{dataset.classes}, by number"
    split = ", ".join(f"{count} {name}" for name, count in result["images"].items())
    lines = [
        f"- **Data**: {dataset.name} ({split} images; digest {result['hashes']['data'][:16]}). Classes: {classes}.",
        f"- **Input**: `images`, uint8 (N, {dataset.channels}, {dataset.height}, {dataset.width}), pixels 0 to "
        f"{dataset.pixel_max:g}; preprocessing ({dataset.preprocessing.name}) is in the file. "
        f"**Output**: `logits` (N, {dataset.classes}), in the order of the classes.",
        f"- **Images**: {facts['input']}. Prepare images in the same way before they go into the file.",
        "- **Teacher**: "
        + (
            f"{teacher['name']}, {number(teacher['parameters'])} parameters, "
            f"{number(teacher['multiplications'])} multiplications an image."
            if teacher
            else "none."
        ),
        f"- **Recipe**: method={result['method']}, schedule={result['schedule']}, seeds {result['seeds']}"
        + (
            f"; student layer {hint['student_layer']} learnt teacher layer {hint['teacher_layer']} through "
            f"{hint['regressor']}"
            if hint
            else ""
        )
        + ". All hyperparameters are in the run's config.yaml.",
        f"- **Made by**: `fitnets export {shlex.quote(str(facts['run']))}`, run hash {result['hashes']['run']}.",
    ]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    """Quote a class name for a comma-separated list, if it has a comma or unprintable characters."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return json.dumps(text, ensure_ascii=False) if "," in text or not text.isprintable() else text


def figures(result: dict[str, Any]) -> Table:
    rows, sides = [], [side for side in ("teacher", "student") if result[side]]
    for split in ("valid", "test"):
        for metric, label in (("accuracy", "accuracy"), ("calibration_error", "calibration error")):
            key = f"{split}_{metric}"
            if key in result["student"]:
                cells = [f"{100 * result[side][key]:.2f} %" for side in sides]
                rows.append([f"{'validation' if split == 'valid' else split} {label}", *cells])
    for key in ("parameters", "multiplications"):
        rows.append([key, *(number(result[side][key]) for side in sides)])
    return Table("Results of the run (one seed, no interval):", ["", *sides], rows)


def _parity(facts: dict[str, Any]) -> Table:
    images = facts["images"]
    whose = "random images" if images["split"] is None else f"of {images['of']} {images['split']} images"
    title = f"The files against PyTorch, on {images['checked']} {whose}:"
    rows = [
        [name, f"{facts['difference'][name]:.1e}" if name in facts["difference"] else "", _percent(accuracy)]
        for name, accuracy in facts["accuracy"].items()
    ]
    if "int8" in facts:
        int8 = facts["int8"]
        cost = 100 * (int8["float_accuracy"] - int8["accuracy"])
        rows.append(["student-int8.onnx", "", f"{100 * int8['accuracy']:.2f} % ({cost:.2f} points lost)"])
    return Table(title, ["", "largest difference, by the largest logit", "accuracy there"], rows)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def latencies(facts: dict[str, Any]) -> Table:
    rows = [
        [
            latency["file"],
            str(latency["batch"]),
            str(latency["threads"]),
            f"{latency['p50_ms']:.3f} ms",
            f"{latency['p95_ms']:.3f} ms",
        ]
        for latency in sorted(facts["latency"], key=lambda latency: (latency["batch"], latency["threads"]))
    ]
    title = f"Latency of a batch in ONNX Runtime on {facts['machine']}, all files in alternation:"
    return Table(title, ["file", "batch", "threads", "p50", "p95"], rows)


def speedups(facts: dict[str, Any]) -> Table:
    """Return the student's speed-up over the exported teacher, for the networks alone and with preprocessing.

    The table has no rows if the teacher was not exported.
    """
    p50 = {(latency["file"], latency["batch"], latency["threads"]): latency["p50_ms"] for latency in facts["latency"]}
    sizes = sorted({(batch, threads) for _, batch, threads in p50})
    rows = [
        [
            str(batch),
            str(threads),
            *(
                f"{p50[f'teacher{part}', batch, threads] / p50[f'student{part}', batch, threads]:.2f} x"
                for part in (", network only", "")
            ),
        ]
        for batch, threads in sizes
        if ("teacher", batch, threads) in p50
    ]
    title = "Speed-up over the exported teacher (medians):"
    return Table(title, ["batch", "threads", "network only", "with preprocessing"], rows)


def _limits(result: dict[str, Any], facts: dict[str, Any]) -> str:
    lines = ["Limits:", ""]
    lines.append("- The figures come from one training run: another seed gives others.")
    if "test_accuracy" not in result["student"]:
        lines.append("- There is no test split: the figures come from the images that selected the epoch.")
    lines.append(
        "- Images unlike the training images get a class all the same. The calibration error says how well the softmax "
        "of the logits matches the accuracy."
    )
    if "missing" in facts["images"]:
        lines.append(f"- The files were checked only on random images: {facts['images']['missing']}.")
    if facts["no_teacher"]:
        lines.append(f"- The teacher could not be exported for comparison: {facts['no_teacher']}")
    return "\n".join(lines) + "\n"


def _files(facts: dict[str, Any]) -> str:
    rows = [[name, size(file["bytes"]), file["sha256"]] for name, file in facts["files"].items()]
    return Table("Files:", ["", "size", "SHA-256"], rows).markdown()
