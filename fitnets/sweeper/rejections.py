"""Counts a worker's rejected proposals in a row, and stops the worker when there are too many."""

from fitnets.errors import ConfigError
from fitnets.sweeper import probes
from fitnets.sweeper.journal import Say

MAX_REJECTED = 1000
"""rejected proposals in a row before the worker gives up"""
FIRST_NOTICE, NEXT_NOTICE = 20, 100
"""proposals over budget in a row before the first notice to the user, and before each further notice"""
DUPLICATES_BEFORE_UNSEEN = 10
"""duplicates in a row before the sampler is replaced by one that draws unseen points"""


class Rejections:
    """Proposals in a row that were over budget, duplicates or over quota.

    say: shows a line to the user
    """

    def __init__(self, study_name: str, say: Say):
        self._study_name, self._say = study_name, say
        self._in_row = self._over_budget_in_row = self._duplicates_in_row = 0
        self.cheapest: probes.Cheapest | None = None
        """the proposal over budget that came closest to the budgets"""

    @property
    def wants_unseen(self) -> bool:
        """Return whether the sampler repeats itself, so that the next proposal should be a point that no trial has
        tried."""
        return self._duplicates_in_row >= DUPLICATES_BEFORE_UNSEEN

    def add(self) -> None:
        """Count a rejected proposal. Raises ConfigError after MAX_REJECTED in a row."""
        self._in_row += 1
        if self._in_row > MAX_REJECTED:
            raise ConfigError(
                f"study {self._study_name}: the last {MAX_REJECTED} proposals were over budget or repeated"
                f"{self._cheapest_in_words()}: {probes.LARGER}"
            )

    def note_duplicate(self) -> None:
        self._duplicates_in_row += 1

    def note_over_budget(self) -> None:
        """Notify the user after FIRST_NOTICE proposals over budget in a row, and after every NEXT_NOTICE more."""
        self._over_budget_in_row += 1
        beyond = self._over_budget_in_row - FIRST_NOTICE
        if beyond >= 0 and beyond % NEXT_NOTICE == 0:
            self._say(
                f"the last {self._over_budget_in_row} proposals were over budget{self._cheapest_in_words()}; if none "
                f"can be cheaper, {probes.LARGER}"
            )

    def reset_duplicates(self) -> None:
        """Call this when a proposal is no duplicate."""
        self._duplicates_in_row = 0

    def reset(self) -> None:
        """Call this when a proposal was trained, successfully or not."""
        self._in_row = self._over_budget_in_row = 0

    def _cheapest_in_words(self) -> str:
        return "" if self.cheapest is None else f"; the cheapest {self.cheapest.words}"
