"""Loads finished students from folders and from the Hugging Face Hub."""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from fitnets.config import CustomNet
from fitnets.console.terminal import Terminal
from fitnets.data import class_names, preprocessing
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.errors import ConfigError, DamagedError
from fitnets.experiment import evaluation
from fitnets.exporting import hub_card
from fitnets.library.host import untouched
from fitnets.library.running import Result
from fitnets.library.student import Student
from fitnets.models import build
from fitnets.models.network import place
from fitnets.models.raw_images import WithPreprocessing
from fitnets.paths import expanded
from fitnets.store import earlier_runs, files, layout, weights
from fitnets.store.earlier_runs import StoredNetwork
from fitnets.system import permissions

HUB = "hub:"
"""the beginning of a name on the Hub; everything else is a folder or a hash"""
_CPU = torch.device("cpu")


def load(
    run: str | Path | Result, *, store: str | Path = "outputs", revision: str | None = None, trust_code: bool = False
) -> Student:
    """Return the student of a finished run, on the CPU and in evaluation mode.

    run: the folder of a run or of what `fitnets push` writes, a hash in the store, a Result, or "hub:USER/NAME"
    store: the folder in which a hash is looked up
    revision: branch, tag or commit on the Hub; None: the newest
    trust_code: import the code that the configuration names. Without it only networks of this package are built

    Nothing is unpickled, and no code is imported that a configuration names, unless trust_code=True. The weights must
    fit the network that the configuration describes before that network is built.

    Raises ConfigError for a folder without a finished run, for a student that needs trust_code, and for files that do
    not fit."""
    if isinstance(run, str) and run.startswith(HUB):
        folder = _downloaded(run.removeprefix(HUB), revision, trust_code=trust_code)
    else:
        folder = folder_of(run, store)
    with untouched():
        return _load(folder, trust_code=trust_code)


def folder_of(run: str | Path | Result, store: str | Path) -> Path:
    """The folder of a run. Raises ConfigError if there is none; a wrong path is never looked up on the Hub."""
    if isinstance(run, Result):
        return run.folder
    path = expanded(run)
    return path if path.is_dir() else Path(earlier_runs.locate(str(run), expanded(store), "run"))


def stored_student(folder: Path) -> StoredNetwork:
    """The student in a folder. Raises ConfigError if there is none, or only a teacher."""
    earlier_runs.find_network.cache_clear()  # the folder may have other files than at an earlier call
    network = earlier_runs.find_network(str(folder), "run")
    if not network.is_student:
        raise ConfigError(f"{folder}: this is a teacher's folder: give the folder of a run, outputs/run/HASH")
    return network


def fitted_values(stored: StoredNetwork) -> FittedPreprocessing:
    """The values of the preprocessing: of the file beside the weights, or of the run's record. If both lack them, they
    are fitted again on the run's images."""
    beside = stored.weights.with_name(layout.FITTED)
    if beside.exists():
        try:
            return load_file(beside)
        except (OSError, SafetensorError) as error:
            raise DamagedError(f"{beside} cannot be read ({error})") from error
    recorded = stored.read_record().get("fitted")
    if recorded is not None:
        return preprocessing.from_json(recorded)
    with evaluation.working_store(stored, None) as root:
        return evaluation.fitted_values(stored, root, Terminal(quiet=True))


def _load(folder: Path, *, trust_code: bool) -> Student:
    stored = stored_student(folder)
    dataset, net = stored.config.dataset, stored.net
    if isinstance(net, CustomNet) and not trust_code:
        raise ConfigError(
            f"{folder}: its student is student.target={net.target}, and building it executes code: give "
            "trust_code=True if you trust that code"
        )
    try:
        if not isinstance(net, CustomNet):
            _check_sizes(stored)
        network = build.network(net, dataset, "student")
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{folder / layout.CONFIG} describes no network that can be built ({error})") from error
    weights.read_weights(stored.weights, network)
    values = files.read_json(stored.record)
    place(network, _CPU, values.get("timing", {}).get("precision", "fp32"))
    fitted = fitted_values(stored)
    network.set_preprocessing(dataset.preprocessing, fitted)
    names = values["classes"] if "classes" in values else class_names.of_network(stored).names
    return Student(
        WithPreprocessing(network, dataset, fitted),
        dataset,
        classes=class_names.number_labels(names, dataset.classes),
        folder=folder,
        values=values,
        card=lambda: hub_card.of_folder(folder, stored.config, values),
    )


def _check_sizes(stored: StoredNetwork) -> None:
    """Raise DamagedError unless the weight file has exactly the tensors of the network.

    Only the file's header is read, and the network is built without memory, so that a configuration cannot make this
    process allocate more than the file has."""
    with torch.device("meta"):
        network = build.network(stored.net, stored.config.dataset, "student")
    expected = {name: list(values.shape) for name, values in network.state_dict().items()}
    permissions.check_readable(stored.weights)
    try:
        with safe_open(stored.weights, "pt") as file:
            present = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"{stored.weights} cannot be read as weights ({error})") from error
    if present != expected:
        different = sorted(name for name in {*present, *expected} if present.get(name) != expected.get(name))
        name = different[0]
        raise DamagedError(
            f"{stored.weights} does not fit {layout.CONFIG} beside it: {name} has shape {present.get(name)} in the "
            f"file and {expected.get(name)} in the network"
        )


def _downloaded(name: str, revision: str | None, *, trust_code: bool) -> Path:
    """Download the files of a pushed student, and no others. Returns their folder."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if trust_code:
        if revision is None:
            raise ConfigError(
                f"{HUB}{name}: trust_code=True executes code: give revision=COMMIT, the one you have read"
            )
        warnings.warn(f"{HUB}{name}: trust_code=True imports the code that its config.yaml names", stacklevel=3)
    try:
        folder: Any = snapshot_download(name, revision=revision, allow_patterns=[*hub_card.FILES])
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{HUB}{name}: cannot be downloaded ({reason})") from error
    return Path(folder)
