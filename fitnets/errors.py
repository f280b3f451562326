"""The exceptions that end with a short message to the user, and the words that such messages share.

Standard library only, so that `--help` and `--cfg job` stay fast.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches


class UserError(Exception):
    """An error whose message is all that a user is shown."""


class ConfigError(UserError, ValueError):
    """Something the user has to change: one line a problem, with the way out."""


class BudgetError(ConfigError):
    """A student that costs more than its budget at any width."""


class DivergedError(UserError, RuntimeError):
    """A loss that is not finite; no weights after it are kept."""


class PrunedError(UserError, RuntimeError):
    """Training that somebody who watched it has ended."""


class LostLockError(UserError, RuntimeError):
    """This process gave no sign of life for so long that another one took over what it made."""


class DamagedError(ConfigError):
    """A file of the store that cannot be read."""


class NotEnoughError(ValueError):
    """The runs or trials that there are do not suffice for what is asked. Its text is a sentence for the user."""


_PASSWORDS = re.compile(r"(://[^:/\s]*:)\S*@|(password=)[^&\s]+")


def without_passwords(text: str) -> str:
    """Those in URLs become ***."""
    return _PASSWORDS.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)


_LISTED = 5
"""of several problems, so that a message stays within six lines"""


def listed(problems: Sequence[str]) -> str:
    """The first problems, a line each, and how many more there are."""
    more = len(problems) - _LISTED
    return "\n".join(problems if more <= 1 else [*problems[:_LISTED], f"and {more} more"])


def printable(text: str) -> str:
    """A file's name on one line: control characters, and bytes that are no UTF-8, are escaped."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in readable)


def near(name: str, names: Sequence[str]) -> str:
    """'; did you mean conv1?', or nothing."""
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
