"""Keeps what a rebuild needs: the latest snapshot, the removals since it, and the segments behind it.

A snapshot is due once per ``SNAPSHOT_BYTES`` of new journal, and once a day while there is any. Own
segments of the journal go as soon as a snapshot covers them, unless they are to be kept. While a
backup copies them, all stay as they are: the next snapshot is put off until it has ended.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tracestore.database.connection import Database
from tracestore.database.reader import Reader
from tracestore.database.writer import Writer
from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreBroken, StoreLocked
from tracestore.journal.position import Position
from tracestore.journal.scan import scan
from tracestore.journal.writer import remove_segments
from tracestore.layout import StoreLayout
from tracestore.maintenance import snapshot
from tracestore.maintenance.pin import Removing, SnapshotRequest
from tracestore.maintenance.removals import Removal, forget_removals, note_removal
from tracestore.maintenance.snapshot import Snapshot

SNAPSHOT_BYTES = 64 * 1024 * 1024
"""As much new journal as one segment of ours holds."""
SNAPSHOT_EVERY_NS = 24 * 3600 * 10**9


def read_journals(layout: StoreLayout) -> list[str]:
    """Return the journals elsewhere that were followed; nothing where none is noted. StoreUnavailable, StoreBroken."""
    path = layout.journals
    with disk_errors_translated("read which journals were followed", path):
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError:
            found = None
    if not isinstance(found, list):
        raise StoreBroken(f"{path}: wanted a list of journals, found none; remove the file to go on without it")
    return [str(journal) for journal in found]


class Recovery:
    """The recoverable side of one store; its writer's thread."""

    def __init__(
        self,
        layout: StoreLayout,
        database: Database,
        reader: Reader,
        rows: Writer,
        now_ns: Callable[[], int],
        *,
        keep_journal: bool,
    ) -> None:
        self._layout = layout
        self._database = database
        self._reader = reader
        self._rows = rows
        self._now_ns = now_ns
        self._keep_journal = keep_journal
        self._removing = Removing(layout)
        self._request = SnapshotRequest(layout)
        self._taking = threading.Lock()
        self._latest = snapshot.latest(layout.snapshots)
        self._since_ns = self._latest.taken_at_ns if self._latest else reader.oldest_insert_ns() or now_ns()
        self._new_bytes = sum(position.offset - self._covered(position) for position in self._positions())

    def note_journal(self, path: str) -> None:
        """Note, durably, that a journal elsewhere is followed: a rebuild reads it again, if it is still there."""
        known = read_journals(self._layout)
        path = os.path.realpath(path)
        if path in known or path == os.path.realpath(self._layout.journal):
            return
        with disk_errors_translated("note the journal", self._layout.journals):
            durable.write_file(self._layout.journals, json.dumps([*known, path], indent=1).encode() + b"\n")

    def note_drained(self, journal_bytes: int) -> None:
        """Take note that so much more of the journal became rows."""
        self._new_bytes += journal_bytes

    @contextmanager
    def removal(self, *, expired_before_ns: int | None = None, evicted: Sequence[bytes] = ()) -> Iterator[None]:
        """Note, durably, what is about to be removed, and remove it inside the block.

        No snapshot is taken meanwhile: it would hold what is removed, and drop the note of it.
        """
        with self._taking:
            changed = [position for position in self._positions() if position.offset != self._covered(position)]
            since = self._latest.path.name if self._latest else ""
            note_removal(self._layout.removals, Removal(since, expired_before_ns, evicted, changed))
            yield

    def removing_allowed(self) -> AbstractContextManager[bool]:
        """Give False while a backup copies this store: nothing that it names may go then."""
        return self._removing.allowed()

    def take_if_due(self) -> Snapshot | None:
        """Take a snapshot when there is enough new journal, some and a day has passed, or a backup asks."""
        if not self._is_due():
            return None
        with self._request.answering(), self._removing.allowed() as is_allowed:
            return self._take() if is_allowed else None

    def take(self, *, drop_segments: bool = False) -> Snapshot:
        """Take a snapshot now, and let go what it makes needless; StoreUnavailable leaves the earlier one.

        ``drop_segments`` lets covered segments go even where they are to be kept. StoreLocked while
        a backup copies the earlier snapshot.
        """
        with self._request.answering(), self._removing.allowed() as is_allowed:
            if not is_allowed:
                raise StoreLocked(f"{self._layout.root}: wanted to take a snapshot, found a backup; wait for its end")
            return self._take(drop_segments=drop_segments)

    def _take(self, *, drop_segments: bool = False) -> Snapshot:
        with self._taking:
            self._latest = snapshot.take(self._database, self._layout.snapshots, self._now_ns())
            forget_removals(self._layout.removals)
            self._new_bytes, self._since_ns = 0, self._now_ns()
            if drop_segments or not self._keep_journal:
                self._drop_segments(self._latest)
            return self._latest

    def _is_due(self) -> bool:
        if self._new_bytes >= SNAPSHOT_BYTES or self._request.is_waiting():
            return True
        if self._new_bytes <= 0:
            return False
        now_ns = self._now_ns()
        self._since_ns = min(self._since_ns, now_ns)  # a clock that was set back
        return now_ns - self._since_ns >= SNAPSHOT_EVERY_NS

    def _positions(self) -> list[Position]:
        return [Position(**row) for row in self._reader.positions()]

    def _covered(self, position: Position) -> int:
        return self._latest.offsets.get(position.segment_id, 0) if self._latest else 0

    def _drop_segments(self, taken: Snapshot) -> None:
        """Remove own segments that were read to their end when the snapshot was taken."""
        by_inode = {(position.device, position.inode): position for position in self._positions()}
        for directory in (self._layout.journal, self._layout.inserted):
            read = {
                file.path: position
                for file in scan(os.fspath(directory)) or ()
                if (position := by_inode.get(file.identity))
                and position.offset == file.size_bytes == taken.offsets.get(position.segment_id)
            }
            gone = remove_segments(directory, {path: position.offset for path, position in read.items()})
            if gone:
                self._rows.forget_positions([read[path].segment_id for path in gone])
