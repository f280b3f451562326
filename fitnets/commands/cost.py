"""Count the parameters and multiplications of teacher and student; nothing is trained."""

import json
from typing import Any

from fitnets.commands.arguments import with_overrides
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.models import costs
from fitnets.system import process


def main(words: list[str]) -> None:
    parser = with_overrides("cost", __doc__, "as for fitnets run: teacher=... student=... dataset=...")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    config = loading.load(arguments.overrides, arguments.config_dir)
    sides: dict[str, Any] = {
        side: {"name": getattr(config, side).name} | counts for side, counts in costs.costs_by_network(config).items()
    }
    if arguments.json:
        process.write_result(json.dumps(sides, indent=2))
        return
    labels = {
        "parameters": "parameters, with biases",
        "multiplications": "multiplications an image",
        "paper_parameters": "parameters as the paper counts",
        "paper_multiplications": "multiplications as the paper counts",
    }
    rows = []
    for key, label in labels.items():
        counts = [side[key] for side in sides.values()]
        compression = [f"{counts[0] / counts[1]:.2f} x"] if len(counts) > 1 else []
        rows.append([label, *(f"{count:,}" for count in counts), *compression])
    title = "The paper counts weights only, and every maxout layer with 2 pieces."
    header = ["", *(f"{side} {sides[side]['name']}" for side in sides), *(["compression"] if len(sides) > 1 else [])]
    Terminal().table(title, header, rows)
