"""What was not recorded: counted by reason, to the exact number."""

from collections import Counter, deque
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
    """Counts of what was dropped. Its owner calls it with a lock held that its own thread may take again.

    So only a signal handler can come in between, and a sum that it interrupts between reading and
    writing would lose what the handler adds. Therefore a drop is noted in one step, and whoever is
    counting already counts it as well.
    """

    def __init__(self) -> None:
        self._noted: deque[Reason] = deque()
        self._is_counting = False
        self._ever: Counter[Reason] = Counter()
        self._told: Counter[Reason] = Counter()

    def note(self, reason: Reason) -> bool:
        """Count one drop; tells whether it is the first ever."""
        is_first = not self._ever and not self._noted
        self._noted.append(reason)
        self._count()
        return is_first

    def ever(self) -> "Counter[Reason]":
        """Return how many were dropped."""
        self._count()
        return self._ever.copy()

    def untold(self) -> "Counter[Reason]":
        """Return how many were dropped that no record in the journal tells of."""
        return self.ever() - self._told

    def told(self, counts: "Counter[Reason]") -> None:
        """Take note that a record in the journal tells of so many more."""
        self._told += counts

    def _count(self) -> None:
        if self._is_counting:
            return
        self._is_counting = True
        try:
            while self._noted:
                self._ever[self._noted.popleft()] += 1
        finally:
            self._is_counting = False
