"""Classify images with a finished student (or teacher), preprocessed like the images of its training."""

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

_MOST_LISTED = 5
"""Lines about broken files in an error message."""
_OVERRIDE = re.compile(r"(engine\.\w+|store)=")


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets predict", description=__doc__)
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("images", nargs="+", help="image files, and folders of them; also engine.device=..., store=...")
    parser.add_argument(
        "--top", type=positive, default=1, metavar="K", help="number of classes shown for each image; default: 1"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)
    if arguments.json:
        process.reserve_stdout()

    overrides = [word for word in arguments.images if _OVERRIDE.match(word) and not Path(word).exists()]
    paths = [expanded(word) for word in arguments.images if word not in overrides]
    network = find_run(arguments.run, overrides)
    settings, terminal = loading.load(overrides), Terminal(aside=arguments.json)
    files, others = image_files.split_by_kind(paths)
    if not files:
        raise ConfigError(
            f"no image in {', '.join(map(str, paths)) or 'nothing'}: give image files, or folders of them"
        )
    store = settings.store if any(word.startswith("store=") for word in overrides) else None
    predictions: list[Prediction] = []
    with evaluation.working_store(network, store) as root, short_errors(root):
        settings = replace(settings, store=str(root))
        for image in prediction.predict(network, files, arguments.top, settings, terminal):
            predictions.append(image)
            if image.reason is None and not arguments.json:
                terminal.say(_line(image))
    notes = _notes(network, others)
    broken = [image for image in predictions if image.reason is not None]
    if arguments.json:
        process.write_result(json.dumps(_content(predictions, notes), indent=2))
    else:
        for note in notes:
            terminal.say(f"note: {note}")
    if broken:
        listed = "\n".join(f"  {_printable(str(image.file))} ({image.reason})" for image in broken[: _MOST_LISTED - 1])
        more = f"\n  and {len(broken) - _MOST_LISTED + 1} more" * (len(broken) >= _MOST_LISTED)
        raise ConfigError(f"{len(broken)} of {len(predictions)} files cannot be decoded:\n{listed}{more}")


def _line(image: Prediction) -> str:
    guesses = ", ".join(f"{_printable(guess.name)} {100 * guess.probability:.2f} %" for guess in image.guesses)
    return f"{_printable(str(image.file))}: {guesses}"


def _notes(network: earlier_runs.StoredNetwork, others: list[Path]) -> list[str]:
    names = class_names.of_network(network)
    unknown = "the network's class names are unknown: classes have their numbers" if names.names is None else None
    left_out = f"{len(others)} other files were left out, {_printable(str(others[0]))} the first" if others else None
    notes = (names.note or unknown, image_files.resizing_note(network.config.dataset), left_out)
    return [note for note in notes if note is not None]


def _content(predictions: list[Prediction], notes: list[str]) -> dict[str, object]:
    """Return the content of `--json`. `top` holds every guess; the first one is the class."""
    return {
        "predictions": [
            {
                "file": str(image.file),
                "class": image.guesses[0].name,
                "probability": image.guesses[0].probability,
                "top": [asdict(guess) for guess in image.guesses],
            }
            for image in predictions
            if image.reason is None
        ],
        "broken": [
            {"file": str(image.file), "reason": image.reason} for image in predictions if image.reason is not None
        ],
        "notes": notes,
    }


def _printable(text: str) -> str:
    """Escape control characters and bytes that are not UTF-8, so that the text is one line on any stream."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
