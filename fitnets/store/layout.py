"""Every folder and file name of a store.

| path | content |
|---|---|
| `.fitnets-store.json` | the marker: a random name of the store |
| `run/HASH` | a run: result, configuration, environment, metrics, student weights, `wandb`, `tensorboard`, `export` |
| `teacher/HASH`, `hint/HASH` | a trained teacher; a student after stage 1 |
| `data/HASH`, `cache/HASH` | decoded or preprocessed images; cached teacher outputs |
| `digests/HASH.json` | the SHA-256 of a data file |
| `sweeps/NAME` | a study |

Processes leave hidden entries beside an artifact: its lock, its checkpoints, half-made folders, a backup.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

KINDS = ("run", "hint", "teacher", "data", "cache")
"""folders that hold artifacts"""

# Files of runs, teachers and first stages
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
# Files of a run
RESULT = "result.json"
WANDB_ID = "wandb.json"
STUDENT_WEIGHTS = "student.safetensors"
# Folders of a run
WANDB = "wandb"
TENSORBOARD = "tensorboard"
EXPORT = "export"
# Files of a teacher and of a stage 1
TEACHER_WEIGHTS = "teacher.safetensors"
TEACHER_RECORD = "teacher.json"
HINT_WEIGHTS = "hint.safetensors"
HINT_RECORD = "hint.json"
# Files of decoded and preprocessed images, and of cached teacher outputs
META = "meta.json"
IMAGES = "images.npy"
ROWS = "rows.npy"
DECODING = "decoding.json"
"""how far a half-made folder of images is"""
LABELS = "labels.npy"
FITTED = "fitted.safetensors"
TEACHER_OUTPUTS = "answers.npy"
# Files of a study
STUDY = "study.json"
FRONT = "front.json"
MIRRORED_FRONT = "told.json"
"""in the study's `wandb` folder: the front that W&B has"""
# Files of an export
EXPORT_RECORD = "export.json"
CARD = "card.md"

MARKER = ".fitnets-store.json"

# Names of entries
HASH_NAME = re.compile(r"[0-9a-f]{16}")
HIDDEN_NAME = re.compile(r"\.([0-9a-f]{16}|export)\.(partial-[0-9a-f]{32}|checkpoints|lock|earlier)")
"""hidden entries beside an artifact or an export; groups: the artifact's name, the kind of entry"""
TEMPORARY_FILE_NAME = re.compile(r"\.[\w.-]+\.[0-9a-f]{32}")
CHECKPOINT_NAME = re.compile(r"\d{8}\.checkpoint")


def weights_file(name: str) -> str:
    """The file name of a network's weights: `student`, `teacher`, `hint` or a head of stage 1."""
    return f"{name}.safetensors"


def checkpoint_file(number: int) -> str:
    """The file name of a stage's checkpoint."""
    return f"{number:08d}.checkpoint"


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """The paths of a store."""

    root: Path

    @property
    def marker(self) -> Path:
        return self.root / MARKER

    def folder(self, kind: str) -> Path:
        """The folder of all artifacts of one kind, see `KINDS`."""
        return self.root / kind

    def run(self, hashed: str) -> Path:
        return self.folder("run") / hashed

    def teacher(self, hashed: str) -> Path:
        return self.folder("teacher") / hashed

    def hint(self, hashed: str) -> Path:
        """The folder of a stage 1."""
        return self.folder("hint") / hashed

    def data(self, hashed: str) -> Path:
        """The folder of decoded or preprocessed images."""
        return self.folder("data") / hashed

    def cache(self, hashed: str) -> Path:
        """The folder of cached teacher outputs."""
        return self.folder("cache") / hashed

    def digest(self, hashed: str) -> Path:
        """The file with the SHA-256 of a data file. hashed: hash of the data file's path, size and times of change"""
        return self.root / "digests" / f"{hashed}.json"

    def study(self, name: str) -> Path:
        return self.root / "sweeps" / name


# --- beside an artifact ---


def lock_file(directory: Path) -> Path:
    """The file that names the process which makes the artifact."""
    return directory.with_name(f".{directory.name}.lock")


def checkpoint_folder(directory: Path) -> Path:
    """The folder for checkpoints of an artifact while it is made."""
    return directory.with_name(f".{directory.name}.checkpoints")


def backup_path(directory: Path) -> Path:
    """The folder that keeps a finished run while a new run is made in its place."""
    return directory.with_name(f".{directory.name}.earlier")


def temporary_path(directory: Path) -> Path:
    """A new name for a half-made folder beside an artifact (or beside its backup)."""
    name = directory.name.removeprefix(".").removesuffix(".earlier")
    return directory.with_name(f".{name}.partial-{uuid4().hex}")


def resumed_path(directory: Path) -> Path:
    """The name of a half-made folder beside an artifact that a later process goes on to fill."""
    return directory.with_name(f".{directory.name}.partial-{'0' * 32}")


def is_temporary_path(path: Path, directory: Path) -> bool:
    """Return whether the path is a half-made folder of the artifact that no later process goes on to fill."""
    return (
        path != resumed_path(directory)
        and re.fullmatch(rf"\.{re.escape(directory.name)}\.partial-[0-9a-f]{{32}}", path.name) is not None
    )


def temporary_file(path: Path) -> Path:
    """A new name beside a file, for its content until it is complete."""
    return path.with_name(f".{path.name.removeprefix('.')}.{uuid4().hex}")
