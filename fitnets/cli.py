"""The `fitnets` command. It imports the subcommand that is called, so that help and listings stay fast."""

import sys
from importlib import import_module

from fitnets.system import process

_USAGE = """usage: fitnets COMMAND [OVERRIDES] [OPTIONS]

  run    train a teacher and its student, or a sweep of them (-m); the same as `python run.py`:
         fitnets run dataset=mnist dataset.path=DIR [-m] [--help] [--cfg job]
  cost   parameters and multiplications of teacher and student, without training:
         fitnets cost teacher=maxout_mnist student=fitnet_mnist dataset=mnist [--json]
  layers the layers of teacher and student, and the pairs for hints that suggest themselves:
         fitnets layers teacher=resnet student=thin dataset=cifar10 [hint_layer=middle] [--json]
  doctor one batch through everything before a long run: shapes, classes, losses, memory, time, disk:
         fitnets doctor [OVERRIDES] [--json]
  runs   the runs of a store and their status:
         fitnets runs [STORE] [--sort valid --reverse] [--filter method=kd] [--limit 10] [--json]
  report one page, figures and tables of a store's runs:
         fitnets report [STORE] [--out DIR]
  eval   a finished student on a split of its data, or on other data:
         fitnets eval RUN [--split train|valid|test] [dataset=folder dataset.path=DIR ...] [--json]
  predict
         the classes that a finished student gives to image files, or to all images of a folder:
         fitnets predict RUN IMAGE... [--top K] [--json]
  export a finished student as ONNX and torch.export files, checked and measured, with a model card:
         fitnets export RUN [--out DIR] [--int8] [--json]
  bench  speed of training, against plain PyTorch, the machine's matrix product and other frameworks:
         fitnets bench [--students fitnet1,fitnet4] [--batch 128] [--rounds 5] [--peer repdistiller=DIR]
                       [--epochs] [--startup] [--json FILE] [--markdown FILE] [OVERRIDES]
  reproduce
         a table or figure of the paper, run and written beside the paper's, at full length or in small:
         fitnets reproduce table4 [--scale epochs=0.1] [--seeds 3] [--plan] [OVERRIDES]
  results
         the pages of analysis/results and the README's tables, written from stored results (in a checkout):
         fitnets results
  clean  remove what no run of a store needs; shows it, and asks:
         fitnets clean [STORE] [--unfinished] [--data] [--yes]
  prepare
         16x16 patches for dataset=aflw from the licensed AFLW and a folder of images without faces:
         fitnets prepare aflw --aflw DIR --negatives DIR [--out DIR]

OVERRIDES are `key=value` and `group=option`: `fitnets run --help` lists them. `fitnets COMMAND --help` says more,
`fitnets --version` which version this is; `python -m fitnets` is the same as `fitnets`."""


def main() -> int:
    """Exit code: 0, 1 for what is told in short, 2 for a wrong command line, 130 for Ctrl-C."""
    trains = sys.argv[1:2] in (["run"], ["reproduce"]) and process.is_training(sys.argv[2:])
    return process.run(_main, trains=trains)


def _main() -> int:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"fitnets {_version()}")
        return 0
    if words[0] not in _COMMANDS:
        from fitnets.errors import near

        known = list(_COMMANDS)
        print(
            f"fitnets {words[0]}: no such command{near(words[0], known)} (commands: {', '.join(known)})",
            file=sys.stderr,
        )
        return 2
    from fitnets.composition import entry_point  # Hydra: not for --help

    if words[0] in ("report", "reproduce", "results"):
        process.ignore_plot_settings()
    command = import_module(f"fitnets.commands.{_COMMANDS[words[0]]}")
    stopped = entry_point.GOES_ON if words[0] in ("run", "reproduce") else ""
    return entry_point.command_line(lambda: command.main(words[1:]), stopped)


def _version() -> str:
    """The version of the installed package; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fitnets")
    except PackageNotFoundError:
        return "(not installed)"


_COMMANDS = {  # by their modules
    "run": "run",
    "cost": "cost",
    "layers": "layers",
    "doctor": "doctor",
    "runs": "runs",
    "eval": "evaluate",
    "predict": "predict",
    "report": "report",
    "export": "export",
    "bench": "bench",
    "reproduce": "reproduce",
    "results": "results",
    "clean": "clean",
    "prepare": "prepare",
}


if __name__ == "__main__":
    sys.exit(main())
