"""The collector: moves journal lines into the store, prunes and packs on a cadence.

It looks at its journals every ``POLL_S``, drains what is there batch by batch, and reports what
happens as values; who prints them is not its business. A segment is read as far as it went at that
look, so that a producer who never pauses holds up neither other segments nor the end of a run.
What stops it is a signal, or a disk that refuses unless it is told to wait for that: a bad line never
does, a prune or a packing that fails is reported and tried again at its next turn. Packing runs beside
everything else, but for prune, which it makes way for.
Nothing is lost by a crash at any point: a position moves only in the transaction of its rows.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from tracestore.collector.background import BackgroundPacking
from tracestore.collector.events import (
    Collected,
    CollectFailed,
    Event,
    Idle,
    Packed,
    PackFailed,
    Pruned,
    PruneFailed,
    SnapshotFailed,
    Torn,
)
from tracestore.errors import StoreUnavailable, TraceStoreError
from tracestore.journal.follow import JournalFollower, Unread
from tracestore.journal.segment import SegmentChanged
from tracestore.layout import StoreLayout
from tracestore.maintenance.pin import SnapshotRequest
from tracestore.maintenance.retention import RetentionPolicy

if TYPE_CHECKING:
    from tracestore.ingest import Drained
    from tracestore.store import TraceStore

POLL_S = 0.1
PRUNE_EVERY_S = 60.0
PACK_EVERY_S = 60.0
"""So often it is looked whether there is enough to pack."""
RETRY_EVERY_S = 5.0
"""So often a disk that refused is tried again."""


Report: TypeAlias = Callable[[Event], None]


class Stop(Protocol):
    """What tells a collector to stop; a `threading.Event` is one."""

    def is_set(self) -> bool:
        """Tell whether to stop."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds, or until told to stop."""


class Collector:
    """Collects journals into one store, in the thread that calls it."""

    def __init__(
        self,
        store: "TraceStore",
        journal: str,
        report: Report,
        *,
        also: Sequence[str] = (),
        policy: RetentionPolicy | None = None,
        prune_every_s: float = PRUNE_EVERY_S,
        waits_for_disk: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``also`` are further journals, each a file or a directory as ``journal`` is.

        ``waits_for_disk``: one that refuses does not end `run`, which tries again until it is told to stop.
        """
        self._store = store
        self._journals = (journal, *also)
        self._followers = [store.follow_journal(path) for path in self._journals]
        self._waits_for_disk = waits_for_disk
        self._retry_at: float | None = None
        self._request = SnapshotRequest(StoreLayout(store.path))
        self._report = report
        self._policy = policy
        self._prune_every_s = prune_every_s
        self._clock = clock
        self._packing = BackgroundPacking(store)
        self._next_prune = self._next_pack = clock()
        self._inserted = self._duplicates = self._rejected = 0
        self._waiting_bytes = 0
        self._torn_bytes: dict[int, int] = {}

    @property
    def torn_bytes(self) -> int:
        """Bytes at the ends of segments that wait for their newline."""
        return sum(self._torn_bytes.values())

    def run(self, stop: Stop) -> None:
        """Collect until told to stop; then finish the batch and drain what is there once more."""
        while not stop.is_set():
            try:
                self._turn(stop)
            except StoreUnavailable as error:
                if not self._waits_for_disk:
                    raise
                self._retry_at = self._clock() + RETRY_EVERY_S
                self._report(CollectFailed(error, self._unread_bytes()))
        self._end_packing()
        self.drain()

    def drain(self) -> None:
        """Collect everything that is there now; what is appended meanwhile may stay."""
        self._go_on()
        done: set[int] = set()
        while waiting := [offer for offer in self._look() if offer[1].position.segment_id not in done]:
            for follower, unread in waiting:
                if self._read(follower, unread, stop=None):
                    done.add(unread.position.segment_id)

    def prune_when_due(self) -> None:
        """Prune at the start and then on the cadence, where there is a policy."""
        if self._policy is None or self._policy.is_empty or self._clock() < self._next_prune:
            return
        if self._packing.is_running:
            self._packing.stop()  # what it has packed counts; it goes on afterwards
            self._next_pack = self._clock()
        try:
            self._report(Pruned(self._store.prune(self._policy)))
        except TraceStoreError as error:
            self._report(PruneFailed(error))
        self._next_prune = self._clock() + self._prune_every_s

    def pack_when_due(self) -> None:
        """Pack in the background where there is enough to pack, and report what became of it."""
        self._report_packed()
        if self._packing.is_running or self._clock() < self._next_pack:
            return
        self._next_pack = self._clock() + PACK_EVERY_S
        if self._pack_is_due():
            self._packing.start()

    def pack_now(self) -> None:
        """Pack here and now where there is enough to pack: nobody will later."""
        if self._pack_is_due():
            try:
                self._report(Packed(self._store.pack()))
            except TraceStoreError as error:
                self._report(PackFailed(error))

    def snapshot_when_asked(self) -> None:
        """Take a snapshot for a backup that waits for one; it cannot open the database itself."""
        if not self._request.is_waiting():
            return
        try:
            self._store.snapshot()
        except TraceStoreError as error:
            self._report(SnapshotFailed(error))

    def close(self) -> None:
        """End packing, and let the journals go."""
        self._end_packing()
        for follower in self._followers:
            follower.close()

    def _turn(self, stop: Stop) -> None:
        """Do what is due and read what is there; wait where that is nothing, or the disk just refused."""
        if self._retry_at is not None and self._clock() < self._retry_at:
            stop.wait(POLL_S)
            return
        self._go_on()
        self._maintain()
        self.snapshot_when_asked()
        if not self._collect_once(stop):
            self._report(Idle())
            stop.wait(POLL_S)

    def _go_on(self) -> None:
        """Begin anew where the disk refused: nobody knew whether the last commit is there."""
        if self._retry_at is None:
            return
        self._store.reopen()
        for follower in self._followers:
            follower.close()
        self._followers = [self._store.follow_journal(path) for path in self._journals]
        self._retry_at = None

    def _unread_bytes(self) -> int:
        """Look how much waits by now; what was known before, where the disk does not even say that."""
        with suppress(StoreUnavailable):
            self._look()
        return self._waiting_bytes

    def _maintain(self) -> None:
        self.prune_when_due()
        self.pack_when_due()

    def _end_packing(self) -> None:
        self._packing.stop()
        self._report_packed()

    def _report_packed(self) -> None:
        done = self._packing.take()
        if done is not None:
            self._report(PackFailed(done) if isinstance(done, TraceStoreError) else Packed(done))

    def _pack_is_due(self) -> bool:
        try:
            return self._store.pack_is_due()
        except TraceStoreError as error:
            self._report(PackFailed(error))
            return False

    def _collect_once(self, stop: Stop) -> bool:
        """Look at the journals once and read what is there; False when that brought nothing."""
        before = self._total
        for follower, unread in self._look():
            self._read(follower, unread, stop)
            if stop.is_set():
                break
        return self._total != before

    @property
    def _total(self) -> tuple[int, int, int]:
        return self._inserted, self._duplicates, self._rejected

    def _look(self) -> list[tuple[JournalFollower, Unread]]:
        """Return what there is to read, and whose it is."""
        offers: list[tuple[JournalFollower, Unread]] = []
        for follower in self._followers:
            poll = follower.poll()
            for notice in poll.notices:
                self._report(notice)
            offers += [(follower, unread) for unread in poll.unread]
        self._waiting_bytes = sum(unread.segment.size_bytes - unread.position.offset for _, unread in offers)
        return offers

    def _read(self, follower: JournalFollower, unread: Unread, stop: Stop | None) -> bool:
        """Read a segment as far as it goes now; False when that did not succeed and a new look is due."""
        segment, offset = unread.segment, unread.position.offset
        try:
            end = segment.size_bytes
            for drained in self._store.drain(unread, follower.commit):
                offset += drained.journal_bytes
                self._note_torn(unread, drained.torn_bytes if not drained.journal_bytes else 0)
                if drained.journal_bytes:
                    self._note(drained)
                if offset >= end:
                    return True
                if stop is not None:
                    if stop.is_set():
                        return False
                    self._maintain()
        except SegmentChanged:  # it was rewritten under our eyes: the next poll says what it is now
            return False
        return True

    def _note(self, drained: "Drained") -> None:
        self._inserted += drained.inserted
        self._duplicates += drained.duplicates
        self._rejected += drained.rejected
        self._waiting_bytes = max(0, self._waiting_bytes - drained.journal_bytes)
        batch = drained.inserted, drained.duplicates, drained.rejected, drained.journal_bytes
        self._report(Collected(*batch, *self._total, self._waiting_bytes))

    def _note_torn(self, unread: Unread, torn_bytes: int) -> None:
        """Say that a line waits for its end, once and again whenever it grew."""
        segment_id = unread.position.segment_id
        if torn_bytes and torn_bytes != self._torn_bytes.get(segment_id):
            self._report(Torn(unread.segment.path, torn_bytes))
        self._torn_bytes[segment_id] = torn_bytes
        if not torn_bytes:
            del self._torn_bytes[segment_id]
