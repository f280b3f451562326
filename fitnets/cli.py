"""The `fitnets` command. Every subcommand imports what it needs, so that help and listings stay fast."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

_USAGE = """usage: fitnets COMMAND [OVERRIDES] [OPTIONS]

  cost   parameters and multiplications of teacher and student, without training:
         fitnets cost teacher=maxout_mnist student=fitnet_mnist dataset=mnist [--json]
  layers the layers of teacher and student, and the pairs for hints that suggest themselves:
         fitnets layers teacher=resnet student=thin dataset=cifar10 [hint_layer=middle] [--json]
  runs   the runs of a store and their status:
         fitnets runs [STORE] [--json]
  report one page, figures and tables of a store's runs:
         fitnets report [STORE] [--out DIR]
  eval   a finished student on a split of its data, or on other data:
         fitnets eval RUN [--split train|valid|test] [dataset=folder dataset.path=DIR ...] [--json]
  bench  speed of training, against plain PyTorch, the machine's matrix product and other frameworks:
         fitnets bench [--students fitnet1,fitnet4] [--batch 128] [--rounds 5] [--peer repdistiller=DIR]
                       [--epochs] [--startup] [--json FILE] [--markdown FILE] [OVERRIDES]
  clean  remove what no run of a store needs; shows it, and asks:
         fitnets clean [STORE] [--unfinished] [--data] [--yes]
  prepare
         16x16 patches for dataset=aflw from the licensed AFLW and a folder of images without faces:
         fitnets prepare aflw --aflw DIR --negatives DIR [--out DIR]

OVERRIDES are those of `python run.py`; `fitnets COMMAND --help` says more."""


def main() -> int:
    """Exit code: 0, 1 for what is told in short, 2 for a wrong command line, 130 for Ctrl-C."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if words else 2
    if words[0] not in _COMMANDS:
        print(f"fitnets {words[0]}: no such command (commands: {', '.join(_COMMANDS)})", file=sys.stderr)
        return 2
    from fitnets import compose  # Hydra: not for --help

    return compose.command_line(lambda: _COMMANDS[words[0]](words[1:]), stopped="")


def cost(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets cost", description="Parameters and multiplications; nothing is trained.")
    parser.add_argument("overrides", nargs="*", help="as for run.py: teacher=... student=... dataset=...")
    parser.add_argument("--config-dir", help="folder with options of your own, as for run.py")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)

    from fitnets import compose, costs
    from fitnets.terminal import Terminal

    config = compose.load(arguments.overrides, arguments.config_dir)
    sides: dict[str, Any] = {
        side: {"name": getattr(config, side).name} | found for side, found in costs.sides(config).items()
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


def layers(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets layers", description="Which layers there are to learn from and to guide.")
    parser.add_argument(
        "overrides", nargs="*", help="as for run.py: teacher=... student=... dataset=... hint_layer=..."
    )
    parser.add_argument("--config-dir", help="folder with options of your own, as for run.py")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)

    from fitnets import compose, pairs
    from fitnets.terminal import Terminal, count

    is_open = not any(word.startswith("hint_layer") for word in arguments.overrides)
    without_hints = ["method=kd"] if is_open else []  # there need not be a pair yet
    config, terminal = compose.load([*without_hints, *arguments.overrides], arguments.config_dir), Terminal()
    shape = (config.dataset.channels, config.dataset.height, config.dataset.width)
    sides = dict(zip(("teacher", "student"), pairs.networks(config), strict=True))
    found = {side: pairs.layer_rows(network, shape) for side, network in sides.items()}
    suggested = pairs.suggested(config)
    if arguments.json:
        told = {side: [asdict(row) for row in rows] for side, rows in found.items()}
        print(json.dumps(told | {"pairs": [asdict(pair) for pair in suggested]}, indent=2))
        return
    for side, rows in found.items():
        cells = [
            [row.name, "x".join(map(str, row.shape)), f"{100 * row.depth:.0f} %", count(row.multiplications)]
            for row in rows
        ]
        header = ["layer", "output", "depth", "multiplications up to it"]
        terminal.table(f"{side} {getattr(config, side).name}", header, cells)
    cells = [[pair.source, pair.hint, pair.guided, pair.regressor] for pair in suggested]
    terminal.table("pairs that suggest themselves", ["hint_layer", "hint layer", "guided layer", "regressor"], cells)


def runs(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets runs", description="The runs of a store and their status, oldest first.")
    parser.add_argument("store", nargs="?", type=Path, default=Path("outputs"), help="default: outputs")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_args(words)

    from fitnets import inventory

    inventory.check_store(arguments.store)
    found = inventory.runs(arguments.store)
    if arguments.json:
        print(json.dumps([asdict(run) for run in found], indent=2))
        return

    from fitnets.terminal import Terminal

    header = ["run", "status", "data", "method", "teacher", "student", "seed", "validation", "test"]
    rows = [
        [
            Path(run.directory).name,
            run.status,
            *(str(part or "-") for part in (run.dataset, run.method, run.teacher, run.student)),
            "-" if run.seed is None else str(run.seed),
            *("-" if share is None else f"{100 * share:.2f} %" for share in (run.valid_accuracy, run.test_accuracy)),
        ]
        for run in found
    ]
    terminal = Terminal()
    terminal.table(f"{arguments.store}: accuracies are the student's", header, rows)
    for run in found:
        if run.error is not None:
            terminal.say(f"{Path(run.directory).name} {run.status}: {run.error.splitlines()[0]}")


def evaluate(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets eval", description="A finished student (or teacher) on images.")
    parser.add_argument("run", help="folder of a run (outputs/run/HASH) or of a teacher")
    parser.add_argument("overrides", nargs="*", help="as for run.py: other data, engine.device=..., store=...")
    parser.add_argument("--split", choices=["train", "valid", "test"], default="test", help="default: test")
    parser.add_argument("--config-dir", help="folder with options of your own, as for run.py")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)

    from fitnets import compose, evaluation, options, rules, stored
    from fitnets.resources import told_in_short
    from fitnets.terminal import Terminal

    network = stored.find(arguments.run, "RUN")
    for word in arguments.overrides:
        if not word.startswith(("dataset=", "dataset.", "engine.", "store=")) or "preprocessing" in word:
            raise options.ConfigError(
                f"{word}: fitnets eval takes dataset, dataset.*, engine.* and store; images are preprocessed as those "
                "that the network was trained on"
            )
    is_own = not any(word.startswith("dataset=") for word in arguments.overrides)
    changes = [word for word in arguments.overrides if is_own and word.startswith("dataset.")]
    settings = compose.load([word for word in arguments.overrides if word not in changes], arguments.config_dir)
    dataset = settings.dataset
    if is_own:
        dataset = compose.adapted(network.config.dataset, "dataset", changes)
        rules.check_dataset(replace(network.config, dataset=dataset))
    terminal = Terminal()
    with told_in_short(settings.root):
        result = evaluation.evaluate(network, dataset, arguments.split, settings, terminal)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    rows = [
        ["accuracy", f"{100 * result['accuracy']:.2f} %"],
        ["error", f"{100 * result['error']:.2f} %"],
        ["loss", f"{result['loss']:.4f} nats"],
        ["calibration error", f"{100 * result['calibration_error']:.2f} %"],
    ]
    title = f"{network.net.name} of {arguments.run}"
    terminal.table(title, ["", f"{result['dataset']} {result['split']}, {result['images']} images"], rows)


def report(words: list[str]) -> None:
    from analysis import report
    from fitnets.terminal import Terminal

    raise SystemExit(report.main(words, Terminal().track))


def bench(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets bench", description="Speed of training; nothing is kept.")
    parser.add_argument("overrides", nargs="*", help="as for run.py; default: dataset=cifar10 and its teacher")
    parser.add_argument("--students", default="fitnet1,fitnet4", help="options of student; default: fitnet1,fitnet4")
    parser.add_argument("--batch", type=_positive, default=128, help="images of a step; default: 128")
    parser.add_argument("--rounds", type=_several, default=5, help="steps of each kind, in turns; default: 5")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=DIR", help="checkout to compare with")
    parser.add_argument("--epochs", action="store_true", help="epochs of whole runs too, on the data set itself")
    parser.add_argument("--startup", action="store_true", help="what processes take beyond epochs, too")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    arguments = parser.parse_intermixed_args(words)

    from fitnets import compose, engine
    from fitnets.bench import peers, runs, steps, tables
    from fitnets.terminal import Terminal

    terminal, rivals = Terminal(), list(map(peers.find, arguments.peer))
    dataset = [] if any(word.startswith("dataset=") for word in arguments.overrides) else ["dataset=cifar10"]
    configs = [
        compose.load([*dataset, f"student={student}", *arguments.overrides])
        for student in arguments.students.split(",")
    ]
    device = engine.device(configs[0].engine)
    size = {"batch": arguments.batch, "rounds": arguments.rounds}
    stepped = [one for config in configs for one in steps.measure(config, **size, peers=rivals, watcher=terminal)]
    shown = [tables.of_steps(stepped, **size, device=device), tables.of_contents(stepped)]
    epochs = [one for config in configs for one in runs.epochs(config)] if arguments.epochs else []
    if epochs:
        shown.append(tables.of_epochs(epochs, device))
    startup = runs.startup(arguments.rounds) if arguments.startup else {}
    if startup:
        shown.append(tables.of_startup(startup))
    for table in shown:
        terminal.table(table.title, table.header, table.rows)
    if arguments.json:
        told = tables.as_json(stepped, epochs, startup, device, **size)
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in shown))


def clean(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets clean", description="Remove what no run of a store needs.")
    parser.add_argument("store", nargs="?", type=Path, default=Path("outputs"), help="default: outputs")
    parser.add_argument("--unfinished", action="store_true", help="also runs that did not finish")
    parser.add_argument(
        "--data",
        action="store_true",
        help="also decoded images and teachers' answers, which are made again when needed",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args(words)

    from fitnets import inventory
    from fitnets.terminal import Terminal, megabytes

    inventory.check_store(arguments.store)
    terminal = Terminal()
    found = inventory.unneeded(arguments.store, unfinished=arguments.unfinished, data=arguments.data)
    if not found:
        terminal.say(f"{arguments.store}: nothing to remove")
        return
    for one in found:
        terminal.say(f"{one.artifact}, {megabytes(one.size)}: {one.reason}")
    total = megabytes(sum(one.size for one in found))
    if not (arguments.yes or _agreed(f"remove these, {total} in all?")):
        terminal.say("nothing was removed")
        return
    still = inventory.unneeded(arguments.store, unfinished=arguments.unfinished, data=arguments.data)
    removed = 0
    for one in found:
        size = one.size
        if one in still and one.remove():
            removed += size
        else:
            terminal.say(f"{one.artifact} is used meanwhile, it stays")
    terminal.say(f"removed, {megabytes(removed)} in all")


def _agreed(question: str) -> bool:
    """The answer of a person; no where there is none."""
    if not sys.stdin.isatty():
        print(f"{question} (--yes removes them)")
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


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


def _several(text: str) -> int:
    number = _positive(text)
    if number < 2:
        raise argparse.ArgumentTypeError("1 is no number of rounds to take quartiles of: give at least 2")
    return number


_COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "cost": cost,
    "layers": layers,
    "runs": runs,
    "eval": evaluate,
    "report": report,
    "bench": bench,
    "clean": clean,
    "prepare": prepare,
}


if __name__ == "__main__":
    sys.exit(main())
