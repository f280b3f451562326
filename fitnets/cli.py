"""The `fitnets` command. It imports only the subcommand that is called, so that help and listings stay fast."""

import os
import sys
from importlib import import_module

from fitnets.system import process

_USAGE = """usage: fitnets COMMAND [OVERRIDES] [OPTIONS]

  run    train a teacher and its student, or run a sweep of them (-m); the same as `python run.py`:
         fitnets run dataset=mnist dataset.path=DIR [-m] [--help] [--cfg job]
  cost   count the parameters and multiplications of teacher and student, without training:
         fitnets cost teacher=maxout_mnist student=fitnet_mnist dataset=mnist [--json]
  layers list the layers of teacher and student, and suggest pairs of them for hints:
         fitnets layers teacher=resnet student=thin dataset=cifar10 [hint_layer=middle] [--json]
  doctor try one batch before a long run, and estimate the run's time, memory and disk space:
         fitnets doctor [OVERRIDES] [--json]
  runs   list the runs of a store and their status:
         fitnets runs [STORE] [--sort valid --reverse] [--filter method=kd] [--limit 10] [--json]
  report write a page with the figures and tables of a store's runs:
         fitnets report [STORE] [--out DIR] [--open]
  plot   draw one figure of a store into a file (trade_off, depth, curves, similarity, sweep):
         fitnets plot trade_off [STORE] [-o FILE.{png,svg,pdf}]
  eval   evaluate a finished student on a split of its data, or on other data:
         fitnets eval RUN [--split train|valid|test] [dataset=folder dataset.path=DIR ...] [--json]
  predict
         classify image files, or all images of a folder, with a finished student:
         fitnets predict RUN IMAGE... [--top K] [--json]
  export write a finished student as ONNX and torch.export files, check and time them, and write a model card:
         fitnets export RUN [--out DIR] [--int8] [--json]
  push   push a finished student to the Hugging Face Hub, or write what would be pushed into a folder:
         fitnets push RUN USER/NAME [--dry-run] [--to FOLDER] [--public] [--license NAME]
  bench  time training against plain PyTorch, the machine's matrix product and other frameworks:
         fitnets bench [--students fitnet1,fitnet4] [--batch 128] [--rounds 5] [--peer repdistiller=DIR]
                       [--epochs] [--startup] [--json FILE] [--markdown FILE] [OVERRIDES]
  reproduce
         run a table or figure of the paper, in full or scaled down, and write the results beside the paper's:
         fitnets reproduce table4 [--scale epochs=0.1] [--seeds 3] [--plan] [OVERRIDES]
  results
         write the pages of analysis/results and the README's tables from stored results (in a checkout):
         fitnets results
  clean  list what no run of a store needs, and remove it after asking:
         fitnets clean [STORE] [--unfinished] [--data] [--yes]
  prepare
         cut 16x16 patches for dataset=aflw from the licensed AFLW and a folder of images without faces:
         fitnets prepare aflw --aflw DIR --negatives DIR [--out DIR]

Tab completion in bash: eval "$(fitnets -sc install=bash)"
OVERRIDES are `key=value` and `group=option`: `fitnets run --help` lists them. `fitnets COMMAND --help` describes a
command's options, `fitnets --version` prints the version; `python -m fitnets` is the same as `fitnets`."""


def main() -> int:
    """Run the command and return the exit code.

    0: success; 1: an error with a short message; 2: a wrong command line; 128 + number: a signal (130 for Ctrl-C)
    """
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
    if words[0] in ("-sc", "--shell-completion"):
        return _complete(words)
    if words[0] not in _COMMANDS:
        from fitnets.errors import suggest

        names = list(_COMMANDS)
        print(
            f"fitnets {words[0]}: no such command{suggest(words[0], names)} (commands: {', '.join(names)})",
            file=sys.stderr,
        )
        return 2
    from fitnets.composition import entry_point  # imports Hydra, which --help does not need

    if words[0] in ("report", "plot", "reproduce", "results"):
        process.ignore_plot_settings()
    command = import_module(f"fitnets.commands.{_COMMANDS[words[0]]}")
    after_signal = entry_point.RESUMES if words[0] in ("run", "reproduce") else ""
    return entry_point.command_line(lambda: command.main(words[1:]), after_signal)


def _complete(words: list[str]) -> int:
    """Answer the shell's request for completions: names of commands here, what follows `fitnets run` by Hydra."""
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()[1:]
    if words[-1].startswith("query=") and (typed[:1] != ["run"] or line.endswith("run")):
        print(" ".join(_COMMANDS))
        return 0
    os.environ["COMP_LINE"] = line.replace(" run", "", 1)  # Hydra takes all words after the first
    from fitnets.commands import run

    run.main(words)
    return 0


def _version() -> str:
    """Return the version of the installed package; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fitnets")
    except PackageNotFoundError:
        return "(not installed)"


_COMMANDS = {  # name on the command line: module of fitnets.commands
    "run": "run",
    "cost": "cost",
    "layers": "layers",
    "doctor": "doctor",
    "runs": "runs",
    "eval": "evaluate",
    "predict": "predict",
    "report": "report",
    "plot": "plot",
    "export": "export",
    "push": "push",
    "bench": "bench",
    "reproduce": "reproduce",
    "results": "results",
    "clean": "clean",
    "prepare": "prepare",
}


if __name__ == "__main__":
    sys.exit(main())
