"""The parts of a store that only its writer has: own journal, drain, ledger writer, recovery."""

import os
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from typing import Any

from blobs import BlobStore
from tracestore.database.connection import Database
from tracestore.database.reader import Reader
from tracestore.database.writer import Writer
from tracestore.ingest import Drained, Ingest
from tracestore.journal.follow import JournalFollower, Unread
from tracestore.journal.position import Position
from tracestore.journal.rejects import RejectedLines
from tracestore.journal.scan import scan
from tracestore.journal.segment import Segment
from tracestore.journal.writer import SegmentWriter
from tracestore.layout import StoreLayout
from tracestore.maintenance.recovery import Recovery
from tracestore.record import NS_PER_MS

DRAIN_BYTES = 4 * 2**20
"""Inserted bytes that may wait in the journal: a drain of so many takes about 0.1 s."""
DRAIN_LINES = 2_000


def inserts_wait(layout: StoreLayout, positions: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether inserts wait in the journal that no position covers: their process crashed."""
    read = {(row["device"], row["inode"]): int(row["offset"]) for row in positions}
    for file in scan(os.fspath(layout.inserted)) or ():
        offset = read.get(file.identity, 0)
        if file.size_bytes > offset:
            with closing(Segment.open(file.path)) as segment:
                if segment.read_chunk(offset, max_lines=1).lines:
                    return True
    return False


class InsertSummary:
    """What one insert did: rows that are new, records that were there, records that were refused.

    The records are on disk, in the journal, when an insert returns. They become rows with the next
    read, with the next few thousand records, or at close; asking for these counts is such a read.
    """

    __slots__ = ("__weakref__", "_counts", "_settle")

    def __init__(
        self, inserted: int = 0, duplicates: int = 0, rejected: int = 0, *, settle: Callable[[], object] | None = None
    ) -> None:
        self._counts = (inserted, duplicates, rejected)
        self._settle = settle

    @property
    def inserted(self) -> int:
        """Records that became rows."""
        return self._settled()[0]

    @property
    def duplicates(self) -> int:
        """Records that were there already."""
        return self._settled()[1]

    @property
    def rejected(self) -> int:
        """Lines that are no record, or whose own id stands on another one; kept verbatim in ``rejected.ndjson``."""
        return self._settled()[2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InsertSummary) and self._settled() == other._settled()

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        if self._settle is not None:
            return "InsertSummary(durable, not yet counted)"
        return "InsertSummary(inserted={}, duplicates={}, rejected={})".format(*self._counts)

    def counted(self, inserted: int, duplicates: int, rejected: int) -> None:
        """Take note of what became of every record of this insert."""
        self._counts = (inserted, duplicates, rejected)
        self._settle = None

    def _settled(self) -> tuple[int, int, int]:
        if self._settle is not None:
            self._settle()
        return self._counts


@dataclass(slots=True)
class _Insert:
    """Lines of one insert that wait in the journal, and what became of those that no longer do."""

    path: str
    offset: int
    end_offset: int
    lines: int
    summary: weakref.ref[InsertSummary]
    inserted: int = 0
    rejected: int = 0

    def count(self, drained: Drained) -> bool:
        """Take note of a batch, which may hold a part of this insert or several; True after the last."""
        if drained.path != self.path or not drained.journal_bytes:
            return False
        self.inserted += self._within(drained.inserted_at)
        self.rejected += self._within(drained.rejected_at)
        if drained.end_offset < self.end_offset:
            return False
        if summary := self.summary():
            summary.counted(self.inserted, self.lines - self.inserted - self.rejected, self.rejected)
        return True

    def _within(self, offsets: Sequence[int]) -> int:
        return bisect_left(offsets, self.end_offset) - bisect_left(offsets, self.offset)


class WriteSide:
    """Everything that changes a store; one thread at a time."""

    def __init__(
        self,
        layout: StoreLayout,
        database: Database,
        blobs: BlobStore,
        reader: Reader,
        now_ns: Callable[[], int],
        stack: ExitStack,
        *,
        keep_journal: bool = False,
    ) -> None:
        self.rows = Writer(database)
        self._rejects = rejects = stack.enter_context(
            RejectedLines.open(str(layout.rejected), reader.rejected_file_bytes(), reader.counts()["rejected"])
        )
        self.ingest = Ingest(self.rows, blobs, rejects, now_ns)
        self.recovery: Recovery | None = None
        if database.path is not None:
            self.recovery = Recovery(layout, database, reader, self.rows, now_ns, keep_journal=keep_journal)
        self._database = database
        self._reader = reader
        self._journal = SegmentWriter(layout.inserted, lambda: now_ns() // NS_PER_MS)
        self._segment_ids = count(max((row["segment_id"] for row in reader.positions()), default=0) + 1)
        self._inserted = str(layout.inserted)
        self._own = self.follow(self._inserted)
        self._waiting: list[_Insert] = []
        self._waiting_bytes = self._waiting_lines = 0
        self._is_behind = True
        stack.callback(self._close)

    @property
    def is_behind(self) -> bool:
        """Tell whether inserts may wait in the journal: of this process, or of one that crashed."""
        return self._is_behind

    def follow(self, journal: str) -> JournalFollower:
        """Follow a journal from where reading of it stands."""
        positions = (Position(**row) for row in self._reader.positions())
        return JournalFollower(journal, positions, segment_ids=self._segment_ids)

    def insert(self, lines: Sequence[bytes], settle: Callable[[], object]) -> InsertSummary:
        """Append lines to this process's own segment and make them durable; they become rows later."""
        if not lines:
            return InsertSummary()
        self._database.check_open()
        appended = self._journal.append(lines)
        self._is_behind = True
        self._journal.sync()
        summary = InsertSummary(settle=settle)
        self._waiting.append(
            _Insert(appended.path, appended.offset, appended.end_offset, len(lines), weakref.ref(summary))
        )
        self._waiting_bytes += appended.end_offset - appended.offset
        self._waiting_lines += len(lines)
        if self._waiting_bytes >= DRAIN_BYTES or self._waiting_lines >= DRAIN_LINES:
            self.settle()
        return summary

    def settle(self) -> None:
        """Drain what was inserted."""
        while offered := self._own.poll().unread:
            moved = [drained.journal_bytes for unread in offered for drained in self.drain(unread, self._own.commit)]
            if not any(moved):
                break  # what is left are torn lines of inserts that never returned
        self._is_behind = False
        self._waiting_bytes = self._waiting_lines = 0

    def drain(self, unread: Unread, commit: Callable[[Position], None]) -> Iterator[Drained]:
        """Move a segment into the store, batch by batch."""
        for drained in self.ingest.drain(unread, commit):
            self._waiting = [insert for insert in self._waiting if not insert.count(drained)]
            if self.recovery:
                self.recovery.note_drained(drained.journal_bytes)
                self.recovery.take_if_due()
            yield drained

    def let_segment_go(self) -> None:
        """End the segment that is appended to; the next insert starts another."""
        self._journal.close()

    def bodies_went(self, kept_in_ledger: int) -> None:
        """Take note that bodies are removed: the drain looks at the disk, and at the ledger, again."""
        self.ingest.forget_confirmed()
        self.rows.note_gone(kept_in_ledger)

    def start_again(self) -> None:
        """Go on from what the database holds: a commit had failed, and nobody knew whether it is there."""
        self.rows.look_again()
        self.ingest.forget_confirmed()
        self._rejects.go_back_to(self._reader.rejected_file_bytes(), self._reader.counts()["rejected"])
        self._own.close()
        self._own = self.follow(self._inserted)
        self._is_behind = True

    def _close(self) -> None:
        try:
            if self._waiting:
                self.settle()
        finally:
            self._own.close()
            self._journal.close()
