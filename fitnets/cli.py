"""The `fitnets` command: `fitnets cost ...`."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

_USAGE = """usage: fitnets COMMAND [OVERRIDES] [OPTIONS]

  cost   parameters and multiplications of teacher and student, without training:
         fitnets cost teacher=maxout_mnist student=fitnet_mnist dataset=mnist [--json]

OVERRIDES are those of `python run.py`; `fitnets COMMAND --help` says more."""


def main() -> int:
    """Exit code: 0, or 1 for a mistake of the user, 2 for a wrong command line."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if words else 2
    if words[0] not in _COMMANDS:
        print(f"fitnets {words[0]}: no such command (commands: {', '.join(_COMMANDS)})", file=sys.stderr)
        return 2
    from fitnets import compose  # Hydra: not for --help

    return compose.command_line(lambda: _COMMANDS[words[0]](words[1:]))


def cost(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets cost", description="Parameters and multiplications; nothing is trained.")
    parser.add_argument("overrides", nargs="*", help="as for run.py: teacher=... student=... dataset=...")
    parser.add_argument("--config-dir", help="folder with options of your own, as for run.py")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)

    from fitnets import build, compose, costs
    from fitnets.terminal import Terminal

    config = compose.load(arguments.overrides, arguments.config_dir)
    dataset = config.dataset
    shape = (dataset.channels, dataset.height, dataset.width)
    sides: dict[str, Any] = {
        side: {"name": net.name} | asdict(costs.cost(build.network(net, dataset), shape))
        for side, net in (("teacher", config.teacher), ("student", config.student))
    }
    if arguments.json:
        print(json.dumps(sides, indent=2))
        return
    labels = {
        "parameters": "parameters, with biases",
        "multiplications": "multiplications an image",
        "paper_parameters": "parameters as the paper counts",
        "paper_multiplications": "multiplications as the paper counts",
    }
    rows = []
    for key, label in labels.items():
        teacher, student = (sides[side][key] for side in ("teacher", "student"))
        rows.append([label, f"{teacher:,}", f"{student:,}", f"{teacher / student:.2f} x"])
    title = "The paper counts weights only, and every maxout layer with 2 pieces."
    header = ["", f"teacher {sides['teacher']['name']}", f"student {sides['student']['name']}", "compression"]
    Terminal().table(title, header, rows)


_COMMANDS: dict[str, Callable[[list[str]], None]] = {"cost": cost}


if __name__ == "__main__":
    sys.exit(main())
