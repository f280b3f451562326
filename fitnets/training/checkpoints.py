"""Checkpoints on disk: tensors and JSON facts in one file with a digest; the last two files are kept."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from fitnets.store import files, layout

KEPT = 2
"""number of checkpoints that are kept"""
_DIGEST = hashlib.sha256().digest_size
_LENGTH = 8


class Checkpoints:
    """The checkpoints of one stage, in a folder for this stage alone.

    A file holds the SHA-256 digest of the rest, the length of the facts in bytes, the facts as JSON, and the tensors in
    safetensors format."""

    def __init__(
        self,
        folder: Path,
        every_s: float,
        say: Callable[[str], None],
        check: Callable[[], None],
        *,
        restart_on_other_machine: bool = False,
    ):
        """every_s: seconds between two checkpoints inside an epoch.
        say: shows a message to the user.
        check: raises an error if this process may no longer write into the folder.
        restart_on_other_machine: restart a stage that another machine began, instead of refusing to resume it."""
        self.restart_on_other_machine = restart_on_other_machine
        self.folder = folder
        self.every_s = every_s
        self.say = say
        self.check = check
        self.saved_at = time.monotonic()

    def is_due(self, *, epoch_end: bool) -> bool:
        """Return whether to save now: every `every_s` seconds, and at the end of an epoch at most once a second."""
        return time.monotonic() - self.saved_at >= (min(1.0, self.every_s) if epoch_end else self.every_s)

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write a new checkpoint, then delete the oldest one."""
        self.check()
        encoded_facts = json.dumps(facts).encode()
        cpu = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        content = len(encoded_facts).to_bytes(_LENGTH) + encoded_facts + save(cpu)
        generations = self._generations()
        number = int(generations[-1].stem) + 1 if generations else 0
        files.write(self.folder / layout.checkpoint_file(number), hashlib.sha256(content).digest() + content)
        for old in generations[: 1 - KEPT]:
            old.unlink()
        self.saved_at = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the newest intact checkpoint, or None. Damaged ones are reported and deleted."""
        for path in reversed(self._generations()):
            content = path.read_bytes()
            digest, content = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(content).digest() == digest:
                end = _LENGTH + int.from_bytes(content[:_LENGTH])
                return load(content[end:]), json.loads(content[_LENGTH:end])
            self.say(f"{path} is damaged: resuming from the checkpoint before it")
            path.unlink()
        return None

    def _generations(self) -> list[Path]:
        return sorted(self.folder.glob("*.checkpoint"))
