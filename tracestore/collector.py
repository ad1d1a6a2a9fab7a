"""The collector: moves journal lines into the store, and prunes on a cadence.

It looks at the journal every ``POLL_S``, drains what is there batch by batch, and reports what
happens as values; who prints them is not its business. What stops it is a signal or a disk that
refuses: a bad line never does, a prune that fails is reported and tried again at its next turn.
Nothing is lost by a crash at any point: a position moves only in the transaction of its rows.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tracestore.errors import TraceStoreError
from tracestore.journal import Notice, SegmentChanged
from tracestore.maintenance.retention import RetentionPolicy
from tracestore.maintenance.summary import PruneSummary

if TYPE_CHECKING:
    from tracestore.store import TraceStore

POLL_S = 0.1
PRUNE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Collected:
    """One durable batch, and the totals of this run."""

    inserted: int
    duplicates: int
    rejected: int
    journal_bytes: int
    total_inserted: int
    total_duplicates: int
    total_rejected: int


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes at the end of a segment that wait for their newline."""

    path: str
    torn_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """A prune on the cadence."""

    summary: PruneSummary


@dataclass(frozen=True, slots=True)
class PruneFailed:
    """A prune that did not succeed; the next one tries again."""

    error: TraceStoreError


Event: TypeAlias = Collected | Torn | Pruned | PruneFailed | Notice
Report: TypeAlias = Callable[[Event], None]


class Collector:
    """Collects one journal into one store, in the thread that calls it."""

    def __init__(
        self,
        store: "TraceStore",
        journal: str,
        report: Report,
        *,
        policy: RetentionPolicy | None = None,
        prune_every_s: float = PRUNE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._follower = store.follow_journal(journal)
        self._report = report
        self._policy = policy
        self._prune_every_s = prune_every_s
        self._clock = clock
        self._next_prune = clock()
        self._inserted = self._duplicates = self._rejected = 0

    def run(self, stop: threading.Event) -> None:
        """Collect until told to stop; then finish the batch and drain what is there once more."""
        while not stop.is_set():
            self.prune_when_due()
            if not self._drain(stop):
                stop.wait(POLL_S)
        self.drain()

    def drain(self) -> None:
        """Collect everything that is there now."""
        while self._drain(None):
            pass

    def prune_when_due(self) -> None:
        """Prune at the start and then on the cadence, where there is a policy."""
        if self._policy is None or self._policy.is_empty or self._clock() < self._next_prune:
            return
        self._next_prune = self._clock() + self._prune_every_s
        try:
            self._report(Pruned(self._store.prune(self._policy)))
        except TraceStoreError as error:
            self._report(PruneFailed(error))

    def close(self) -> None:
        """Let the journal go."""
        self._follower.close()

    def _drain(self, stop: threading.Event | None) -> bool:
        """Look at the journal once and read what is there; False when it brought nothing."""
        poll = self._follower.poll()
        for notice in poll.notices:
            self._report(notice)
        progress = False
        for unread in poll.unread:
            try:
                for drained in self._store.drain(unread, self._follower.commit):
                    if not drained.journal_bytes:
                        self._report_torn(unread.segment.path, drained.torn_bytes)
                        continue
                    progress = True
                    self._inserted += drained.inserted
                    self._duplicates += drained.duplicates
                    self._rejected += drained.rejected
                    self._report(
                        Collected(
                            drained.inserted, drained.duplicates, drained.rejected, drained.journal_bytes,
                            self._inserted, self._duplicates, self._rejected,
                        )
                    )  # fmt: skip
                    if stop is not None and stop.is_set():
                        return True
                    if stop is not None:
                        self.prune_when_due()
            except SegmentChanged:  # it was rewritten under our eyes: the next poll says what it is now
                progress = True
        return progress

    def _report_torn(self, path: str, torn_bytes: int) -> None:
        if torn_bytes:
            self._report(Torn(path, torn_bytes))
