"""Try one batch before a long run: show shapes, classes and losses, and estimate time, memory and disk space."""

import json
from dataclasses import asdict

from fitnets.commands.arguments import path, with_overrides
from fitnets.composition import loading
from fitnets.console.quantities import duration, size
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.planning import doctor
from fitnets.planning.doctor import Examination
from fitnets.planning.plan import prepare
from fitnets.planning.sheet import contact_sheet
from fitnets.reporting.figures import sheet
from fitnets.system import process
from fitnets.system.resources import short_errors

_MOST_CLASSES = 20
"""Number of classes up to which each has its own row."""


def main(words: list[str]) -> None:
    parser = with_overrides("doctor", __doc__, "as for fitnets run")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--sheet", type=path, metavar="FILE.png", help="also draw what the networks will see")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    if arguments.sheet is not None and arguments.sheet.suffix not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"--sheet {arguments.sheet}: give a file that ends in .png, .pdf or .svg")
    config, terminal = loading.load(arguments.overrides, arguments.config_dir), Terminal(aside=arguments.json)
    with short_errors(config.root):
        examination = doctor.examine(config, terminal)
        if arguments.sheet is not None:
            sheet.save(contact_sheet(prepare(config, terminal)), arguments.sheet)
    if arguments.json:
        process.write_result(json.dumps(asdict(examination) | {"total_s": examination.total_s}, indent=2))
        return
    for make_table in (_images, _input, _shapes, _teacher, _losses, _cache, _times):
        table = make_table(examination)
        if table.rows:
            terminal.show(table)
    terminal.say(
        f"about {duration(examination.total_s)} in all if no stage stops early, "
        f"{size(examination.cache_bytes)} of new tables on the disk, {size(examination.peak_bytes)} of memory"
    )
    if examination.faster is not None:
        terminal.say(f"note: {examination.faster}")
    for warning in examination.warnings:
        terminal.say(f"note: {warning}")


def _images(examination: Examination) -> Table:
    low, mean, high = examination.pixels
    title = f"images of each class; values after preprocessing {low:.3g} to {high:.3g}, mean {mean:.3g}"
    rows = [["all", *(str(count) for count in examination.images.values())]]
    if len(examination.class_names) <= _MOST_CLASSES:
        rows += [
            [name, *(str(counts[index]) for counts in examination.classes.values())]
            for index, name in enumerate(examination.class_names)
        ]
    else:
        for label, pick in (("rarest class", min), ("most frequent class", max)):
            rows.append([label, *(str(pick(counts)) for counts in examination.classes.values())])
    return Table(title, ["", *examination.images], rows)


def _input(examination: Examination) -> Table:
    given, title = examination.input, "images on their way into the student"
    if given is None:
        return Table(title, [], [])
    place = "read from their file batch by batch" if given.is_streamed else "all at hand"
    limit = "the input" if given.images_per_s < 2 * given.trained_per_s else "the network"
    rows = [
        ["stored", size(given.stored_bytes), place],
        ["the input alone", f"{given.images_per_s:.0f} images/s", "selected, augmented, preprocessed"],
        ["training", f"{given.trained_per_s:.0f} images/s", f"{limit} takes most of the time"],
    ]
    return Table(title, ["", "", ""], rows)


def _shapes(examination: Examination) -> Table:
    rows = [[entry.what, entry.name, "x".join(map(str, entry.shape))] for entry in examination.shapes]
    return Table("shapes, of one image", ["", "", "shape"], rows)


def _teacher(examination: Examination) -> Table:
    teacher, title = examination.teacher, "the teacher on the validation split, before anything is trained"
    if teacher is None:
        return Table(title, [], [])
    rows = [
        [label, f"{count} of {teacher.images}", f"{100 * count / teacher.images:.2f} %"]
        for label, count in (("correct", teacher.correct), ("of the most frequent class", teacher.commonest))
    ]
    return Table(title, ["", "images", "share"], rows)


def _losses(examination: Examination) -> Table:
    rows = [
        [loss.stage, loss.term, f"{loss.value:.4g}", f"{loss.weight:g}", f"{loss.gradient:.3g}"]
        for loss in examination.losses
    ]
    title = "losses of one batch before training, each in the unit of its equation"
    return Table(title, ["stage", "loss", "value", "weight", "norm of the weighted gradient"], rows)


def _cache(examination: Examination) -> Table:
    rows = [
        [table.stage, table.layer, size(table.bytes), "yes" if table.looked_up else table.reason]
        for table in examination.cache
    ]
    return Table("cached teacher outputs, on the disk", ["stage", "layer", "size", "computed once"], rows)


def _times(examination: Examination) -> Table:
    rows = [["until training", "", "", duration(examination.preparing_s)]]
    rows += [
        [stage.name, f"{1000 * stage.step_s:.1f} ms", _epoch(stage.epoch_s), duration(stage.total_s)]
        for stage in examination.times
    ]
    if examination.tracking_s:
        rows.append(["W&B, beginning and end", "", "", duration(examination.tracking_s)])
    rows.append(["evaluation", "", "", duration(examination.evaluation_s)])
    return Table("time here, measured on a few updates", ["stage", "an update", "an epoch", "in all"], rows)


def _epoch(duration_s: float) -> str:
    """Format seconds; short epochs keep tenths of a second."""
    return f"{duration_s:.1f} s" if duration_s < 60 else duration(duration_s)
