"""The parts of a store that only its writer has: ledger writer, rejected lines, own journal, drain."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from blobs import BlobStore
from tracestore.database import Database
from tracestore.database.reader import Reader
from tracestore.database.writer import Writer
from tracestore.ingest import Drained, Ingest
from tracestore.journal import JournalFollower, Position, RejectedLines, SegmentWriter
from tracestore.layout import StoreLayout
from tracestore.record import NS_PER_MS


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
    ) -> None:
        self.rows = Writer(database)
        rejects = stack.enter_context(
            RejectedLines.open(str(layout.rejected), reader.rejected_file_bytes(), reader.counts()["rejected"])
        )
        self.ingest = Ingest(self.rows, blobs, rejects, now_ns)
        self._directory = layout.journal
        self._journal = SegmentWriter(layout.journal, lambda: now_ns() // NS_PER_MS)
        self._follower: JournalFollower | None = None
        stack.callback(self._close)

    def insert(self, lines: Sequence[bytes]) -> Drained:
        """Append lines to this process's own segment, make them durable, and drain it."""
        appended = self._journal.append(lines)
        self._journal.sync()
        if self._follower is None:
            positions = [Position(**row) for row in self.rows.positions()]
            self._follower = JournalFollower(str(self._directory), positions)
        total = Drained()
        for unread in self._follower.poll().unread:
            for drained in self.ingest.drain(unread, self._follower.commit):
                if unread.segment.path == appended.path:
                    total += drained
        return total

    def _close(self) -> None:
        self._journal.close()
        if self._follower is not None:
            self._follower.close()
