"""List the layers of teacher and student, and suggest pairs of them for hints."""

import json
from dataclasses import asdict
from typing import Any

from fitnets.commands.arguments import with_overrides
from fitnets.composition import loading
from fitnets.config import image_shape
from fitnets.console.quantities import number
from fitnets.console.terminal import Terminal
from fitnets.models import layer_pairs
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.system import process


def main(words: list[str]) -> None:
    parser = with_overrides("layers", __doc__, "as for fitnets run: teacher=... student=... dataset=... hint_layer=...")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    is_open = not any(word.startswith("hint_layer") for word in arguments.overrides)
    without_hints = ["method=kd"] if is_open else []  # a method that needs no pair of layers yet
    config, terminal = loading.load([*without_hints, *arguments.overrides], arguments.config_dir), Terminal()
    shape = image_shape(config.dataset)
    sides = dict(zip(("teacher", "student"), layer_pairs.networks(config), strict=True))
    layers = {side: layer_pairs.layer_rows(network, shape) for side, network in sides.items() if network is not None}
    suggested = layer_pairs.suggest_pairs(config)
    several = layer_pairs.suggest_several(layers["teacher"], layers["student"]) if "teacher" in layers else {}
    if arguments.json:
        content: dict[str, Any] = {side: [asdict(row) for row in rows] for side, rows in layers.items()}
        content["pairs"] = [asdict(pair) for pair in suggested]
        by_name = {name: {"teacher": pair.teacher, "student": pair.student} for name, pair in several.items()}
        process.write_result(json.dumps(content | {"several_pairs": by_name}, indent=2))
        return
    for side, rows in layers.items():
        cells = [
            [row.name, "x".join(map(str, row.shape)), f"{100 * row.depth:.0f} %", number(row.multiplications)]
            for row in rows
        ]
        header = ["layer", "output", "depth", "multiplications up to it"]
        terminal.table(f"{side} {getattr(config, side).name}", header, cells)
    for network in sides.values():
        if isinstance(network, CustomNetwork) and network.why_no_layers is not None:
            terminal.say(f"note: {network.why_no_layers}")
    if not suggested:
        return
    cells = [[pair.source, pair.hint, pair.guided, pair.regressor] for pair in suggested]
    terminal.table("suggested pairs", ["hint_layer", "hint layer", "guided layer", "regressor"], cells)
    for pair in suggested:
        if pair.warning is not None:
            terminal.say(f"note: hint_layer={pair.source}: {pair.warning}")
    if len(several) > 1:
        pairs = ", ".join(
            f"{name}: {{teacher: {pair.teacher}, student: {pair.student}}}" for name, pair in several.items()
        )
        terminal.say(f"a pair for each size of map: hint_layer=pairs '+hint_layer.pairs={{{pairs}}}'")
