"""The `fitnets` command: `fitnets cost ...`, `fitnets prepare ...`."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

_USAGE = """usage: fitnets COMMAND [OVERRIDES] [OPTIONS]

  cost   parameters and multiplications of teacher and student, without training:
         fitnets cost teacher=maxout_mnist student=fitnet_mnist dataset=mnist [--json]
  prepare
         16x16 patches for dataset=aflw from the licensed AFLW and a folder of images without faces:
         fitnets prepare aflw --aflw DIR --negatives DIR [--out DIR]

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

    from fitnets import build, compose, costs, teachers
    from fitnets.terminal import Terminal

    config = compose.load(arguments.overrides, arguments.config_dir)
    dataset = config.dataset
    shape = (dataset.channels, dataset.height, dataset.width)
    sides: dict[str, Any] = {
        side: {"name": getattr(config, side).name} | asdict(costs.cost(network, shape))
        for side, network in (
            ("teacher", teachers.network(config)),
            ("student", build.network(config.student, dataset, "student")),
        )
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


def prepare(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets prepare", description="Patches for dataset=aflw, as Parquet files.")
    parser.add_argument("dataset", choices=["aflw"])
    parser.add_argument("--aflw", type=Path, required=True, help="folder with aflw.sqlite and the images")
    parser.add_argument("--negatives", type=Path, required=True, help="folder of images without faces")
    parser.add_argument("--out", type=Path, default=Path("aflw-patches"), help="default: aflw-patches")
    parser.add_argument("--count", type=_positive, help="patches without faces; default: as many as faces")
    parser.add_argument("--seed", type=int, default=0, help="of the patches without faces and of the split; default: 0")
    parser.add_argument("--skip-broken", action="store_true", help="leave out rows and images that give no patch")
    arguments = parser.parse_args(words)

    from fitnets import aflw
    from fitnets.terminal import Terminal

    terminal = Terminal()
    parts, skipped = aflw.prepare(
        arguments.aflw,
        arguments.negatives,
        arguments.out,
        count=arguments.count,
        seed=arguments.seed,
        skip_broken=arguments.skip_broken,
        track=terminal.track,
    )
    for reason in skipped:
        terminal.say(f"left out: {reason}")
    for part, classes in parts.items():
        terminal.say(f"{part}: " + ", ".join(f"{count} patches with {name}" for name, count in classes.items()))
    terminal.say(f"python run.py dataset=aflw dataset.path={arguments.out}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


_COMMANDS: dict[str, Callable[[list[str]], None]] = {"cost": cost, "prepare": prepare}


if __name__ == "__main__":
    sys.exit(main())
