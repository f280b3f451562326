"""The exceptions that reach the user as a short message, and helpers for the wording of messages.

This module imports the standard library alone, so that `--help` and `--cfg job` stay fast.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

# --- exceptions: the general one first, then configuration and files, then training, then analysis ---


class UserError(Exception):
    """An error that is shown to the user as its message alone, without a traceback."""


class ConfigError(UserError, ValueError):
    """The user has to change something: each line of the message names one problem and its remedy."""


class BudgetError(ConfigError):
    """A student costs more than its budget at any width."""


class DamagedError(ConfigError):
    """A file of the store cannot be read."""


class LostLockError(UserError, RuntimeError):
    """Another process took over this process's work, because this one had not renewed its lock for too long."""


class DivergedError(UserError, RuntimeError):
    """A loss is not finite; no weights from after that loss are kept."""


class LostProcessError(UserError, RuntimeError):
    """Another process of this run has failed or died; the message says which one, and why."""


class PrunedError(UserError, RuntimeError):
    """An epoch callback, such as a study's pruner, ended the training early."""


class StageStoppedError(UserError, RuntimeError):
    """An epoch callback ended a stage early. The run goes on as another one, with `schedule.STAGE.stop_after`.

    epochs: epochs after which the stage ends
    checkpoints: folder with a checkpoint after these epochs; None: there is none"""

    def __init__(self, stage: str, epoch: int):
        super().__init__(f"stopped early: see the run with schedule.{stage}.stop_after={epoch + 1}")
        self.stage = stage
        self.epochs = epoch + 1
        self.checkpoints: Path | None = None


class NotEnoughError(ValueError):
    """There are too few runs or trials for the requested analysis. The message is a sentence for the user."""


# --- messages ---

_PASSWORDS = re.compile(r"(://[^:/\s]*:)\S*@|(password=)[^&\s]+")


def without_passwords(text: str) -> str:
    """Replace the passwords of URLs by ***."""
    return _PASSWORDS.sub(lambda match: f"{match[1]}***@" if match[1] else f"{match[2]}***", text)


_MOST_LISTED = 5
"""Number of problems that a longer list shows, so that a message stays within six lines."""


def list_first(problems: Sequence[str]) -> str:
    """Return the first problems, one a line, and the number of those that are left out."""
    left_out = len(problems) - _MOST_LISTED
    return "\n".join(problems if left_out <= 1 else [*problems[:_MOST_LISTED], f"and {left_out} more"])


def printable(text: str) -> str:
    """Return a file name on one line: control characters and bytes that are not UTF-8 are escaped."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in readable)


def suggest(name: str, names: Sequence[str] | Mapping[str, str]) -> str:
    """Return '; did you mean conv1?' for the most similar name, or '' if none is similar.

    names: a mapping gives the name to show for each name that is compared"""
    close = get_close_matches(name, list(names), n=1)
    if not close:
        return ""
    return f"; did you mean {names[close[0]] if isinstance(names, Mapping) else close[0]}?"
