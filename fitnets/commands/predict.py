"""The classes of image files."""

import argparse
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

from fitnets.commands.arguments import RUN_HELP, find_run, positive
from fitnets.composition import loading
from fitnets.console.terminal import Terminal
from fitnets.data import class_names, image_files
from fitnets.errors import ConfigError
from fitnets.experiment import evaluation, prediction
from fitnets.experiment.prediction import Prediction
from fitnets.paths import expanded
from fitnets.store import earlier_runs
from fitnets.system import process
from fitnets.system.resources import short_errors

_LISTED = 5
_OVERRIDE = re.compile(r"(engine\.\w+|store)=")


def main(words: list[str]) -> None:
    described = "The classes that a finished student (or teacher) gives to images, prepared as those it was trained on."
    parser = argparse.ArgumentParser("fitnets predict", description=described)
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("images", nargs="+", help="image files, and folders of them; also engine.device=..., store=...")
    parser.add_argument("--top", type=positive, default=1, metavar="K", help="classes for each image; default: 1")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    overrides = [word for word in arguments.images if _OVERRIDE.match(word) and not Path(word).exists()]
    places = [expanded(word) for word in arguments.images if word not in overrides]
    network = find_run(arguments.run, overrides)
    settings, terminal = loading.load(overrides), Terminal(aside=arguments.json)
    files, others = image_files.listed(places)
    if not files:
        raise ConfigError(
            f"no image in {', '.join(map(str, places)) or 'nothing'}: give image files, or folders of them"
        )
    given = settings.store if any(word.startswith("store=") for word in overrides) else None
    found: list[Prediction] = []
    with evaluation.working_store(network, given) as root, short_errors(root):
        for one in prediction.predict(network, files, arguments.top, replace(settings, store=str(root)), terminal):
            found.append(one)
            if one.reason is None and not arguments.json:
                terminal.say(_line(one))
    notes = _notes(network, others)
    broken = [one for one in found if one.reason is not None]
    if arguments.json:
        process.write_result(json.dumps(_content(found, notes), indent=2))
    else:
        for note in notes:
            terminal.say(f"note: {note}")
    if broken:
        listed = "\n".join(f"  {_printable(str(one.file))} ({one.reason})" for one in broken[: _LISTED - 1])
        more = f"\n  and {len(broken) - _LISTED + 1} more" * (len(broken) >= _LISTED)
        raise ConfigError(f"{len(broken)} of {len(found)} files cannot be decoded:\n{listed}{more}")


def _line(one: Prediction) -> str:
    guesses = ", ".join(f"{_printable(guess.name)} {100 * guess.probability:.2f} %" for guess in one.guesses)
    return f"{_printable(str(one.file))}: {guesses}"


def _notes(network: earlier_runs.StoredNetwork, others: list[Path]) -> list[str]:
    names = class_names.of_network(network)
    unknown = "the network's class names are unknown: classes have their numbers" if names.names is None else None
    left_out = f"{len(others)} other files were left out, {_printable(str(others[0]))} the first" if others else None
    notes = (names.note or unknown, image_files.resizing_note(network.config.dataset), left_out)
    return [note for note in notes if note is not None]


def _content(found: list[Prediction], notes: list[str]) -> dict[str, object]:
    """For machines: every guess; the first is the class."""
    return {
        "predictions": [
            {
                "file": str(one.file),
                "class": one.guesses[0].name,
                "probability": one.guesses[0].probability,
                "top": [asdict(guess) for guess in one.guesses],
            }
            for one in found
            if one.reason is None
        ],
        "broken": [{"file": str(one.file), "reason": one.reason} for one in found if one.reason is not None],
        "notes": notes,
    }


def _printable(text: str) -> str:
    """Bytes that are no UTF-8, and control characters, escaped: one line on any stream."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
