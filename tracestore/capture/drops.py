"""What was not recorded: counted by reason, to the exact number."""

from collections import Counter
from typing import Final, Literal, TypeAlias

Reason: TypeAlias = Literal["queue_full", "disk", "too_large", "invalid"]

REASONS: Final[dict[Reason, str]] = {
    "queue_full": "the queue was full; records are made faster than the disk takes them",
    "disk": "the disk took no more; free some space or look at its permissions",
    "too_large": "over 32 MiB in one line; of a body that large, only the body is dropped",
    "invalid": "it could not be written as JSON, or had no name",
}
"""Why a record is dropped, and what can be done about it."""


class Drops:
    """Counts of what was dropped; not thread-safe, its owner holds a lock."""

    def __init__(self) -> None:
        self.ever: Counter[Reason] = Counter()
        self._untold: Counter[Reason] = Counter()

    def count(self, reason: Reason, records: int = 1) -> bool:
        """Count drops; tells whether they are the first ever."""
        is_first = not self.ever
        self.ever[reason] += records
        self._untold[reason] += records
        return is_first

    def untold(self) -> "Counter[Reason]":
        """Return a copy of what no record in the journal says yet."""
        return self._untold.copy()

    def told(self, counts: "Counter[Reason]") -> None:
        """Take off what a record in the journal says now."""
        self._untold -= counts
