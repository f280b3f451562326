"""The files of a student on the Hub: weights, configuration, figures, ONNX file and card, without anything private."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save

from fitnets.config import Config, CustomNet, LibraryTeacher, NoTracker, OwnImages, options
from fitnets.console.quantities import size
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.errors import ConfigError
from fitnets.exporting import hub_card, student
from fitnets.models.raw_images import WithPreprocessing
from fitnets.store import files, layout
from fitnets.store.earlier_runs import StoredNetwork

ELSEWHERE = "elsewhere"
"""stands for the path of a file or folder, which belongs to this machine"""


@contextmanager
def assembled(
    stored: StoredNetwork,
    fitted: FittedPreprocessing,
    *,
    name: str | None = None,
    licence: str = hub_card.LICENCE,
    earlier: str = "",
) -> Iterator[Path]:
    """A temporary folder with exactly the files `hub_card.FILES` while the block runs. Nothing is asked of a network.

    name, licence, earlier: see `hub_card.text`

    Raises ConfigError if the student cannot be exported."""
    values = shareable(files.read_json(stored.record))
    with TemporaryDirectory(prefix="fitnets-push-") as temporary:
        folder = Path(temporary)
        (folder / layout.STUDENT_WEIGHTS).write_bytes(stored.weights.read_bytes())
        (folder / layout.FITTED).write_bytes(save({key: one.contiguous() for key, one in fitted.items()}))
        files.write_json(folder / layout.RESULT, values)
        files.write(folder / layout.CONFIG, files.as_yaml(without_places(stored.config)))
        network = student.trained_network(stored)
        network.set_preprocessing(stored.config.dataset.preprocessing, fitted)
        graph = WithPreprocessing(network, stored.config.dataset, fitted)
        student.write_checked_onnx(graph, folder / hub_card.ONNX, stored.config.dataset, values["classes"])
        card = hub_card.text(stored.config, values, name=name, licence=licence, earlier=earlier)
        (folder / hub_card.CARD).write_text(card, encoding="utf-8")
        _check_private(folder, stored)
        yield folder


def shareable(result: dict[str, Any]) -> dict[str, Any]:
    """The content of result.json without the timing of this machine. The precision stays: it is part of the student."""
    timing = {"precision": result.get("timing", {}).get("precision", "fp32")}
    return {"classes": None, **result, "timing": timing}


def without_places(config: Config) -> Config:
    """The configuration without paths, accounts and arguments of a user's own code, none of which loading needs."""
    copied = options.absolute(config, Path("/"))
    for option, name, _ in options.locations(copied):
        value = getattr(option, name)
        setattr(option, name, None if value is None else [] if isinstance(value, list) else ELSEWHERE)
    copied = replace(copied, store="outputs", tracker=NoTracker())
    if isinstance(copied.dataset, OwnImages):
        copied.dataset.args = {}
    if isinstance(copied.teacher, CustomNet):
        copied.teacher.args = {}
    if isinstance(copied.teacher, LibraryTeacher) and Path(copied.teacher.model).exists():
        copied.teacher.model = ELSEWHERE
    return copied


def _check_private(folder: Path, stored: StoredNetwork) -> None:
    """Raise ConfigError if a file names the home folder or the store, such as in an argument of the user's own code."""
    places = {str(Path.home()), str(stored.weights.resolve().parents[2])} - {"/"}
    for name in hub_card.FILES:
        content = (folder / name).read_bytes()
        for place in places:
            if place.encode() in content:
                raise ConfigError(f"{name} would show the path {place}: keep paths out of args and names")


def lines(folder: Path) -> list[str]:
    """One line for each file: its name and size."""
    width = max(map(len, hub_card.FILES))
    return [f"{name:<{width}}  {size((folder / name).stat().st_size)}" for name in hub_card.FILES]
