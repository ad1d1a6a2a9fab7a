"""Rebuild: the database made again from what is durable without it.

    1 load the newest whole snapshot, if there is one
    2 derive the ledger from its rows and from the blobs that are there
    3 replay the journal: own segments, and other journals that still lie where they were read
    4 on the way repeat what was pruned since the snapshot, each removal at the place in the journal
      where it happened: what expired or was evicted does not rise again, what came later stays
    5 give the finished file its name

A crash leaves the store as it was: without a database, to be rebuilt by the next opening. Nothing is
swept here; what no row names leaves with the next prune.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from blobs import BlobStore, Digest
from tracestore.database.connection import Database, discard, publish
from tracestore.database.reader import Reader
from tracestore.database.retention import Retention, Survivors
from tracestore.database.snapshot import derive_ledger, load
from tracestore.database.writer import Writer
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreUnavailable
from tracestore.ingest import Ingest
from tracestore.journal.follow import JournalFollower, Unread
from tracestore.journal.position import Position
from tracestore.journal.rejects import RejectedLines
from tracestore.journal.scan import scan
from tracestore.journal.segment import SegmentChanged
from tracestore.layout import StoreLayout
from tracestore.maintenance import snapshot
from tracestore.maintenance.recovery import read_journals
from tracestore.maintenance.removals import read_removals

MAX_OPEN = 512
"""Segments looked at together; each has to be open."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found and made."""

    snapshot: str | None
    """Name of the snapshot it began with."""
    snapshot_records: int
    replayed_records: int
    removals: int
    """Prunes since the snapshot that were repeated."""
    records: int
    lost_bodies: int
    """Bodies that a record names and that are nowhere; `tracestore repair --from` may find them."""
    rejected_aside: str | None
    """Where the earlier file of rejected lines was copied to."""


def rebuild_database(
    layout: StoreLayout, blobs: BlobStore, now_ns: Callable[[], int], on_progress: Progress | None = None
) -> Rebuilt:
    """Make the database of a store that has none; the caller holds the store's lock.

    ``on_progress`` gets the number of records so far.
    """
    unfinished = layout.database.with_name(layout.database.name + ".new")
    aside = _copy_rejected(layout)
    discard(unfinished)
    found = snapshot.newest(layout.snapshots)
    with closing(Database(unfinished, scratch=layout.scratch)) as database:
        loaded = load(database, found.parts, found.tables) if found else 0
        with blob_errors_translated():
            # What a pack holds that the disk refuses to read is not known, so nothing is lost by that alone.
            otherwise = "present" if blobs.is_partly_unreadable else "lost"
            derive_ledger(database, lambda digests: _stored(blobs, digests), otherwise)
        with ExitStack() as stack:
            replay = _Replay(layout, database, blobs, now_ns, on_progress, stack)
            removals = [r for r in read_removals(layout.removals) if found is None or r.since == found.path.name]
            for removal in removals:
                replay.run(removal.positions)
                replay.remove(removal.expired_before_ns, removal.evicted)
            replay.run(None)
            _forget_gone_bodies(database, blobs)  # of rows that expired once more
        counts = Reader(database).counts()
        if not database.checkpoint():
            raise StoreUnavailable(f"{unfinished}: wanted a checkpoint, found readers in the way; rebuild again")
    publish(unfinished, layout.database)
    return Rebuilt(
        snapshot=found.path.name if found else None,
        snapshot_records=loaded,
        replayed_records=replay.inserted,
        removals=len(removals),
        records=counts["records"],
        lost_bodies=counts["lost_bodies"],
        rejected_aside=aside,
    )


def _stored(blobs: BlobStore, digests: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield those of the digests that have a blob, and the bytes that the ledger has for it."""
    return ((digest, blob.stored_bytes) for digest, _, blob in blobs.compare(digests) if blob is not None)


def _forget_gone_bodies(database: Database, blobs: BlobStore) -> None:
    """Drop the ledger rows of bodies that nothing names and that no sweep would find: they were given up before."""
    retention = Retention(database)
    retention.forget_gone_bodies()
    unnamed = map(Digest, retention.retired_digests(Survivors(None)))
    with blob_errors_translated():
        given_up = [digest for digest in unnamed if digest not in blobs]
    retention.forget_bodies(given_up)


def has_sources(layout: StoreLayout, blobs: BlobStore) -> bool:
    """Tell whether a store without a database holds anything to make it again from; a new one does not."""
    with disk_errors_translated("look for what a rebuild needs", layout.root):
        if layout.rejected.exists() or (layout.snapshots.is_dir() and any(layout.snapshots.iterdir())):
            return True
    if any(scan(os.fspath(directory)) for directory in (layout.journal, layout.inserted)):
        return True
    with blob_errors_translated():
        return next(iter(blobs), None) is not None


def set_database_aside(layout: StoreLayout) -> list[Path]:
    """Rename a damaged database, with its write-ahead log; returns the new paths. Nothing is deleted."""
    stamp = time.time_ns() // 1_000_000
    moved = []
    with disk_errors_translated("set the database aside", layout.database):
        for suffix in (".wal", ""):  # the log first: beside a new database it would be replayed
            path = layout.database.with_name(layout.database.name + suffix)
            if path.exists():
                moved.append(path.rename(path.with_name(f"{layout.database.name}.damaged-{stamp}{suffix}")))
    return moved


class _Replay:
    """The journal read again, from where the snapshot stands."""

    def __init__(
        self,
        layout: StoreLayout,
        database: Database,
        blobs: BlobStore,
        now_ns: Callable[[], int],
        on_progress: Progress | None,
        stack: ExitStack,
    ) -> None:
        reader, self._rows = Reader(database), Writer(database)
        counts = reader.counts()
        rejects = stack.enter_context(
            RejectedLines.open(str(layout.rejected), reader.rejected_file_bytes(), counts["rejected"])
        )
        self._written_ns = 0
        self._now_ns = now_ns
        self._ingest = Ingest(self._rows, blobs, rejects, lambda: self._written_ns)
        self._retention = Retention(database)
        self._on_progress = on_progress
        self._loaded = counts["records"]
        self.inserted = 0
        positions = [Position(**row) for row in reader.positions()]
        ids = count(max((position.segment_id for position in positions), default=0) + 1)
        self._followers = [
            JournalFollower(journal, positions, segment_ids=ids, max_open=MAX_OPEN)
            for journal in _journals(layout, positions)
        ]
        for follower in self._followers:
            stack.callback(follower.close)

    def run(self, until: Sequence[Position] | None) -> None:
        """Replay up to some positions, or everything."""
        for follower in self._followers:
            while sum(self._read(follower, unread, until) for unread in follower.poll().unread):
                pass

    def remove(self, cutoff_ns: int | None, evicted: Sequence[bytes]) -> None:
        """Repeat a removal."""
        if cutoff_ns is not None:
            self._retention.expire(cutoff_ns)
        if evicted:
            self._retention.mark_evicted(evicted)
            self._rows.note_gone(len(evicted))
            self._ingest.forget_confirmed()

    def _read(self, follower: JournalFollower, unread: Unread, until: Sequence[Position] | None) -> bool:
        """Drain a segment as far as it is asked for; True when that brought something."""
        end = None if until is None else max((p.offset for p in until if unread.segment.holds(p)), default=0)
        # Age counts from when a record was stored: at the latest when its segment was last written to.
        self._written_ns = min(self._now_ns(), unread.segment.stat().st_mtime_ns)
        moved = 0
        try:
            for drained in self._ingest.drain(unread, follower.commit, end):
                moved += drained.journal_bytes
                self.inserted += drained.inserted
                if self._on_progress is not None:
                    self._on_progress(self._loaded + self.inserted)
        except SegmentChanged:  # a producer rewrites it; the collector will see what it is
            return False
        return moved > 0


def _journals(layout: StoreLayout, positions: Sequence[Position]) -> list[str]:
    """Return the store's own journal, and those of others that are still there."""
    own = [os.fspath(layout.inserted), os.fspath(layout.journal)]
    followed = [path for path in read_journals(layout) if _is_there(path)]
    inside = {*own, *followed}
    alone = {p.path for p in positions if not inside & {p.path, os.path.dirname(p.path)} and _is_there(p.path)}
    return own + followed + sorted(path for path in alone if not _is_of_a_store(Path(path)))


def _is_there(path: str) -> bool:
    """Tell whether a journal is still there; StoreUnavailable where the disk does not say."""
    with disk_errors_translated("look for a journal", path):
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _is_of_a_store(segment: Path) -> bool:
    """Tell whether a segment lies in the journal of a store: the one that a restored store is a copy of."""
    return any((parent / "FORMAT").exists() for parent in segment.parents[1:3])


def _copy_rejected(layout: StoreLayout) -> str | None:
    """Keep the rejected lines as they are now: those whose journal is gone are not rejected again."""
    aside = layout.rejected.with_name(f"rejected-before-{time.time_ns() // 1_000_000}.txt")
    with disk_errors_translated("copy the rejected lines", layout.rejected):
        if not layout.rejected.exists() or not layout.rejected.stat().st_size:
            return None
        shutil.copy2(layout.rejected, aside)
    return str(aside)

