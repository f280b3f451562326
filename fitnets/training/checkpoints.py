"""Checkpoints on disk: tensors and facts in one file that knows when it was damaged; the last two are kept."""

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
_DIGEST = hashlib.sha256().digest_size
_LENGTH = 8


class Checkpoints:
    """Of one stage, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        every_s: float,
        say: Callable[[str], None],
        check: Callable[[], None],
        *,
        anew_elsewhere: bool = False,
    ):
        """check: raises where this process may not write into the folder any more. anew_elsewhere: what another machine
        began is begun anew, not refused."""
        self.anew_elsewhere = anew_elsewhere
        self.folder = folder
        self.every_s = every_s
        self.say = say
        self.check = check
        self.saved_at = time.monotonic()

    def is_due(self, *, epoch_end: bool) -> bool:
        """At the end of an epoch, but not more than once a second; else every so many seconds."""
        return time.monotonic() - self.saved_at >= (min(1.0, self.every_s) if epoch_end else self.every_s)

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write a new generation whole, then let the oldest go."""
        self.check()
        told = json.dumps(facts).encode()
        cpu = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        content = len(told).to_bytes(_LENGTH) + told + save(cpu)
        generations = self._generations()
        number = int(generations[-1].stem) + 1 if generations else 0
        files.write(self.folder / layout.checkpoint_file(number), hashlib.sha256(content).digest() + content)
        for old in generations[: 1 - KEPT]:
            old.unlink()
        self.saved_at = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest whole checkpoint; damaged ones are told and removed. None: there is none."""
        for path in reversed(self._generations()):
            content = path.read_bytes()
            digest, content = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(content).digest() == digest:
                end = _LENGTH + int.from_bytes(content[:_LENGTH])
                return load(content[end:]), json.loads(content[_LENGTH:end])
            self.say(f"{path} is damaged: going on from the checkpoint before it")
            path.unlink()
        return None

    def _generations(self) -> list[Path]:
        return sorted(self.folder.glob("*.checkpoint"))
