"""Remove what no run of a store needs, after asking."""

import argparse
import sys
from pathlib import Path

from fitnets.commands.arguments import path
from fitnets.console import quantities
from fitnets.console.terminal import Terminal
from fitnets.store import inventory


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets clean", description=__doc__)
    parser.add_argument("store", nargs="?", type=path, default=Path("outputs"), help="default: outputs")
    parser.add_argument("--unfinished", action="store_true", help="also runs that did not finish")
    parser.add_argument(
        "--data",
        action="store_true",
        help="also decoded images and cached teacher outputs, which a run that needs them makes again",
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    arguments = parser.parse_args(words)

    inventory.check_store(arguments.store)
    terminal = Terminal()
    unneeded = inventory.unneeded(arguments.store, unfinished=arguments.unfinished, data=arguments.data)
    chosen = [removable for removable in unneeded if removable.kept_because is None]
    for kept in unneeded:
        if kept.kept_because is not None:
            terminal.say(f"{kept.artifact} stays: {kept.kept_because}")
    if not chosen:
        terminal.say(f"{arguments.store}: nothing to remove")
        return
    for removable in chosen:
        terminal.say(f"{removable.artifact}, {quantities.size(removable.size)}: {removable.reason}")
    total = quantities.size(sum(removable.size for removable in chosen))
    if not (arguments.yes or _confirm(f"remove these, {total} in all?")):
        terminal.say("nothing was removed")
        return
    still_unneeded = inventory.unneeded(arguments.store, unfinished=arguments.unfinished, data=arguments.data)
    removed = 0
    for removable in chosen:
        size = removable.size
        if removable in still_unneeded and removable.kept_because is None and removable.remove():
            removed += size
        else:
            terminal.say(f"{removable.artifact} stays: it is in use now")
    terminal.say(f"removed, {quantities.size(removed)} in all")


def _confirm(question: str) -> bool:
    """Return whether the user agrees; False without a terminal."""
    if not sys.stdin.isatty():
        print(f"{question} (--yes removes them)")
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
