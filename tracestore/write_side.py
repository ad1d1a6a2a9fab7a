"""The parts of a store that only its writer has: ledger writer, rejected lines, own journal, drain."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

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
        self._forget_removed(layout.journal)
        self._segment_ids = count(max((row["segment_id"] for row in self.rows.positions()), default=0) + 1)
        self._own = self.follow(str(layout.journal))
        self._drained: dict[str, int] = {}
        stack.callback(self._close)

    def follow(self, journal: str) -> JournalFollower:
        """Follow a journal from where reading of it stands."""
        positions = (Position(**row) for row in self.rows.positions())
        return JournalFollower(journal, positions, segment_ids=self._segment_ids)

    def insert(self, lines: Sequence[bytes]) -> Drained:
        """Append lines to this process's own segment, make them durable, and drain it."""
        if not lines:
            return Drained()
        appended = self._journal.append(lines)
        self._journal.sync()
        self._drained.pop(appended.path, None)  # it counts as drained only when all of it is
        total = Drained()
        # A poll offers no more segments than it may hold open, so ours may come with a later one.
        while appended.path not in self._drained and (offered := self._own.poll().unread):
            for unread in offered:
                batches = list(self.ingest.drain(unread, self._own.commit))
                if unread.segment.path == appended.path:
                    total = sum(batches, Drained())
                    self._drained[appended.path] = unread.position.segment_id
        self._drop_segments(keep=appended.path)
        return total

    def bodies_went(self, kept_in_ledger: int) -> None:
        """Take note that bodies are removed: the drain looks at the disk, and at the ledger, again."""
        self.ingest.forget_confirmed()
        self.rows.note_gone(kept_in_ledger)

    def _forget_removed(self, journal: Path) -> None:
        """Forget own segments of earlier runs that are gone: they were drained before they were removed."""
        places = {row["segment_id"]: Path(row["path"]) for row in self.rows.positions()}
        gone = [key for key, path in places.items() if path.parent == journal and not path.exists()]
        if len(gone) > 1:  # the newest stays, so one is no news
            self.rows.forget_positions(gone)

    def _drop_segments(self, keep: str | None) -> None:
        """Remove own segments that were rotated away: they are drained, and nobody else appends to them."""
        done = {path: segment_id for path, segment_id in self._drained.items() if path != keep}
        if not done:
            return
        for path in done:
            Path(path).unlink(missing_ok=True)
            del self._drained[path]
        self.rows.forget_positions(list(done.values()))

    def _close(self) -> None:
        self._own.close()
        self._journal.close()
        self._drop_segments(keep=None)
