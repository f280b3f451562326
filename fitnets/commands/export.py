"""Write a finished student as ONNX and torch.export files, check and time them, and write a model card."""

import argparse
import json

from fitnets.commands.arguments import RUN_HELP, find_run, path
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.exporting import card
from fitnets.library import exported
from fitnets.store import layout
from fitnets.system import process


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets export", description=__doc__)
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("overrides", nargs="*", help="engine.threads=...; store=... of the prepared data")
    parser.add_argument("--out", type=path, help="folder for the files; default: RUN/export")
    parser.add_argument("--int8", action="store_true", help="also student-int8.onnx, with its loss of accuracy")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    network = find_run(arguments.run, arguments.overrides)
    for word in arguments.overrides:
        if not word.startswith(("engine.threads=", "store=")):
            raise ConfigError(f"{word}: fitnets export takes engine.threads and store; the run determines all else")
    settings, terminal = loading.load(arguments.overrides), Terminal(aside=arguments.json)
    store = settings.store if any(word.startswith("store=") for word in arguments.overrides) else None
    out = arguments.out.resolve() if arguments.out else network.weights.parent.resolve() / layout.EXPORT
    facts = exported.export_stored(network, settings, store, out, int8=arguments.int8, progress=terminal)
    if arguments.json:
        process.write_result(json.dumps(facts, indent=2))
        return
    terminal.show(card.latencies(facts))
    terminal.show(card.speedups(facts))
    if "int8" in facts:
        terminal.say(
            f"8 bits: {100 * facts['int8']['accuracy']:.2f} % instead of {100 * facts['int8']['float_accuracy']:.2f} %"
        )
    terminal.say(f"files in {out}: {', '.join(facts['files'])}, card.md")
