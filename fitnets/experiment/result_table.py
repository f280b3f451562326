"""Prints the table after a run: teacher and student side by side."""

from typing import Any

from fitnets.console import quantities
from fitnets.console.terminal import Terminal
from fitnets.experiment import chance

_ACCURACIES = (("validation", "valid_accuracy"), ("test", "test_accuracy"))
_BATCHES = (1, 128)


def show(result: dict[str, Any], terminal: Terminal) -> None:
    """Print accuracies, costs and latencies of a run, and a note for a network at chance.

    result: the content of `result.json`"""
    if terminal.quiet:
        return
    if result["teacher"] is None:
        _show_alone(result, terminal)
        return
    teacher, student, timing = result["teacher"], result["student"], result["timing"]
    rows = [
        [
            f"{label} accuracy",
            *(f"{100 * side[key]:.2f} %" for side in (teacher, student)),
            _points(teacher[key], student[key]),
        ]
        for label, key in _ACCURACIES
        if key in student
    ]
    for key in ("parameters", "multiplications"):
        rows.append(
            [
                key,
                quantities.number(teacher[key]),
                quantities.number(student[key]),
                _ratio(teacher[key], student[key], "fewer", "more"),
            ]
        )
    rows.append(["weight file", *(quantities.size(side["weights_bytes"]) for side in (teacher, student)), ""])
    for size in _BATCHES:
        teacher_ms, student_ms = (timing["latency"][side][f"batch_{size}_p50_ms"] for side in ("teacher", "student"))
        speedup = _ratio(teacher_ms, student_ms, "faster", "slower")
        rows.append([f"latency, batch {size}", f"{teacher_ms:.2f} ms", f"{student_ms:.2f} ms", speedup])
    title = (
        f"{result['method']} on {result['dataset']}; latencies are medians on {timing['device']}, {timing['precision']}"
    )
    if any(name.startswith("retrain_") for name in result["stages"]):
        title += "\nvalidation: of the networks before they were retrained on these images too; test: after"
    header = ["", f"teacher\n{teacher['name']}", f"student\n{student['name']}", "student\nagainst teacher"]
    terminal.table(title, header, rows)
    for side in ("teacher", "student"):
        _note_chance(result, side, terminal)


def _show_alone(result: dict[str, Any], terminal: Terminal) -> None:
    """Print the student of a run with teacher=none."""
    student, timing = result["student"], result["timing"]
    rows = [[f"{label} accuracy", f"{100 * student[key]:.2f} %"] for label, key in _ACCURACIES if key in student]
    rows += [[key, quantities.number(student[key])] for key in ("parameters", "multiplications")]
    rows.append(["weight file", quantities.size(student["weights_bytes"])])
    for size in _BATCHES:
        rows.append([f"latency, batch {size}", f"{timing['latency']['student'][f'batch_{size}_p50_ms']:.2f} ms"])
    title = f"{result['method']} on {result['dataset']}, without a teacher; latencies are medians on {timing['device']}"
    terminal.table(title, ["", f"student\n{student['name']}"], rows)
    _note_chance(result, "student", terminal)


def _note_chance(result: dict[str, Any], side: str, terminal: Terminal) -> None:
    """Print a note if the network is no better than always naming the commonest class of the validation images."""
    images = result.get("images", {}).get("valid")
    if chance.is_no_better((result[side]["valid_accuracy"], result.get("commonest_class"), images)):
        terminal.say(f"note: the {side} is no better than always naming one class: it has not begun to learn")


def _points(teacher: float, student: float) -> str:
    return f"{100 * (student - teacher):+.2f} points"


def _ratio(teacher: float, student: float, less: str, more: str) -> str:
    return f"{teacher / student:.2f} x {less}" if student <= teacher else f"{student / teacher:.2f} x {more}"
