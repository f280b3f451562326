"""One batch through everything before the long run."""

import json
from dataclasses import asdict

from fitnets.commands.arguments import with_overrides
from fitnets.composition import loading
from fitnets.console.quantities import duration, size
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal
from fitnets.planning import doctor
from fitnets.planning.doctor import Examination
from fitnets.system import process
from fitnets.system.resources import short_errors

_MOST_CLASSES = 20
"""that are shown one by one"""


def main(words: list[str]) -> None:
    described = "One batch through everything: shapes, classes, losses, memory, time, disk. Nothing is trained."
    parser = with_overrides("doctor", described, "as for fitnets run")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    config, terminal = loading.load(arguments.overrides, arguments.config_dir), Terminal(aside=arguments.json)
    with short_errors(config.root):
        found = doctor.examine(config, terminal)
    if arguments.json:
        process.write_result(json.dumps(asdict(found) | {"total_s": found.total_s}, indent=2))
        return
    for table in (_images(found), _shapes(found), _teacher(found), _losses(found), _cache(found), _times(found)):
        if table.rows:
            terminal.show(table)
    terminal.say(
        f"about {duration(found.total_s)} in all if no stage stops early, {size(found.cache_bytes)} of new tables "
        f"on the disk, {size(found.peak_bytes)} of memory"
    )
    for warning in found.warnings:
        terminal.say(f"note: {warning}")


def _images(found: Examination) -> Table:
    low, mean, high = found.pixels
    title = f"images of each class; values after preprocessing {low:.3g} to {high:.3g}, mean {mean:.3g}"
    rows = [["all", *(str(count) for count in found.images.values())]]
    if len(found.class_names) <= _MOST_CLASSES:
        rows += [
            [name, *(str(counts[index]) for counts in found.classes.values())]
            for index, name in enumerate(found.class_names)
        ]
    else:
        for label, pick in (("rarest class", min), ("most frequent class", max)):
            rows.append([label, *(str(pick(counts)) for counts in found.classes.values())])
    return Table(title, ["", *found.images], rows)


def _shapes(found: Examination) -> Table:
    rows = [[entry.what, entry.name, "x".join(map(str, entry.shape))] for entry in found.shapes]
    return Table("shapes, of one image", ["", "", "shape"], rows)


def _teacher(found: Examination) -> Table:
    ready, title = found.teacher, "the teacher on the validation split, before anything is trained"
    if ready is None:
        return Table(title, [], [])
    rows = [
        [label, f"{count} of {ready.images}", f"{100 * count / ready.images:.2f} %"]
        for label, count in (("correct", ready.correct), ("of the most frequent class", ready.commonest))
    ]
    return Table(title, ["", "images", "share"], rows)


def _losses(found: Examination) -> Table:
    rows = [
        [loss.stage, loss.term, f"{loss.value:.4g}", f"{loss.weight:g}", f"{loss.gradient:.3g}"]
        for loss in found.losses
    ]
    title = "losses of one batch before training (in nats; hint and mimic: squared distances)"
    return Table(title, ["stage", "loss", "value", "weight", "norm of the weighted gradient"], rows)


def _cache(found: Examination) -> Table:
    rows = [
        [table.stage, table.layer, size(table.bytes), "yes" if table.looked_up else table.reason]
        for table in found.cache
    ]
    return Table("the teacher's answers on the disk", ["stage", "layer", "size", "computed once"], rows)


def _times(found: Examination) -> Table:
    rows = [["until training", "", "", duration(found.preparing_s)]]
    rows += [
        [stage.name, f"{1000 * stage.step_s:.1f} ms", _epoch(stage.epoch_s), duration(stage.total_s)]
        for stage in found.times
    ]
    if found.tracking_s:
        rows.append(["W&B, beginning and end", "", "", duration(found.tracking_s)])
    rows.append(["evaluation", "", "", duration(found.evaluation_s)])
    return Table("time here, measured on a few updates", ["stage", "an update", "an epoch", "in all"], rows)


def _epoch(duration_s: float) -> str:
    """An epoch may take a tenth of a second or a day."""
    return f"{duration_s:.1f} s" if duration_s < 60 else duration(duration_s)
