"""TraceStore: one directory of records and bodies, and the one public object over it. Wiring only.

DuckDB is imported where a store is opened, not where this module is: an application that only
wants the names does not pay for it.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from blobs import BlobCorrupt, BlobNotFound, BlobStore, Digest, DigestInvalid
from tracestore.bodies import blob_errors_translated
from tracestore.errors import InputInvalid, RecordInvalid
from tracestore.journal import JournalFollower, Position, Unread
from tracestore.layout import StoreLayout
from tracestore.maintenance.retention import RetentionPolicy
from tracestore.maintenance.summary import PruneSummary, VerifyReport
from tracestore.opening import lock_store, needs_database, set_rejected_aside
from tracestore.record import (
    NS_PER_MS,
    LogRecord,
    Record,
    SpanClose,
    SpanOpen,
    StoredRecord,
    encode_line,
    line_of,
    members_of,
    text_of,
)
from tracestore.views import render_easy_view

if TYPE_CHECKING:
    from tracestore.database import QueryResult
    from tracestore.database.reader import Reader
    from tracestore.ingest import Drained
    from tracestore.write_side import WriteSide


@dataclass(frozen=True, slots=True)
class InsertSummary:
    """What one insert did: rows that are new, records that were there, records that were refused."""

    inserted: int
    duplicates: int
    rejected: int
    """Lines that are no record, or whose own id stands on another one; kept verbatim in ``rejected.ndjson``."""


class TraceStore:
    """A store of records and their bodies.

    Writing (the default) takes the store for this process alone. ``read_only`` lets several
    processes read a store at rest; it changes nothing on disk. Methods may be called from several
    threads.

    Raises StoreNotFound (no store there and none may be made), StoreLocked (names the holder),
    StoreBroken, StoreUnavailable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = Path(path)
        self.notices: list[str] = []
        """What opening had to mend, in a sentence each."""
        with ExitStack() as stack:
            layout, lock = lock_store(self.path, create=create, read_only=read_only)
            stack.callback(lock.release)
            with blob_errors_translated():
                blobs = BlobStore(layout.blobs, create=create and not read_only)
            stack.callback(blobs.close)
            if needs_database(layout, create=create and not read_only):
                self._make_database(layout, blobs)
            self._open(layout, blobs, read_only, now_ns, stack)

    @classmethod
    def memory(cls, *, now_ns: Callable[[], int] = time.time_ns) -> "TraceStore":
        """Open a store that lives in this process; its journal is a temporary directory."""
        store = cls.__new__(cls)
        store.notices = []
        with ExitStack() as stack:
            store.path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracestore-")))
            layout = StoreLayout(store.path)
            layout.journal.mkdir()
            store._open(layout, BlobStore.memory(), False, now_ns, stack, in_memory=True)
        return store

    def insert_records(self, records: Iterable[Record | Mapping[str, Any]]) -> InsertSummary:
        """Store records, durably on return; one that is there already is counted, not stored twice.

        Takes record objects, or dicts in the journal's JSON shape. All or none are accepted: an
        invalid one raises RecordInvalid and nothing is written. They go through the journal, as
        everything does.
        """
        if isinstance(records, Mapping | LogRecord | SpanOpen | SpanClose):
            raise InputInvalid("records: wanted a list of records, found a single one; put it into a list")
        lines = [_line(index, record) for index, record in enumerate(records)]
        with self._inserting:
            total = self._writing("insert_records").insert(lines)
        return InsertSummary(total.inserted, total.duplicates, total.rejected)

    def insert_lines(self, lines: Iterable[bytes]) -> InsertSummary:
        """Store journal lines as they are, durably on return; each without its newline.

        What a collector would do with them: a line that is no record is set aside, verbatim and
        with the reason, in ``rejected.ndjson``, and never stops the others.
        """
        with self._inserting:
            total = self._writing("insert_lines").insert(list(lines))
        return InsertSummary(total.inserted, total.duplicates, total.rejected)

    def drain(self, unread: Unread, commit: Callable[[Position], None]) -> "Iterator[Drained]":
        """Move a journal segment into the store, batch by batch; each is durable when yielded."""
        batches = self._writing("drain").ingest.drain(unread, commit)
        while True:
            with self._inserting:
                drained = next(batches, None)
            if drained is None:
                return
            yield drained

    def follow_journal(self, path: str | os.PathLike[str]) -> JournalFollower:
        """Follow a journal, a file or a directory of segments, from where reading of it stands."""
        return self._writing("follow_journal").follow(os.fspath(path))

    def get_turn(self, turn_id: str) -> list[StoredRecord]:
        """Return a turn's records with their bodies, by time; an unknown turn is an empty list."""
        records = self._reader.turn(turn_id)
        for record in records:
            self.fetch_body(record)
        return records

    def get_record(self, record_id: str) -> StoredRecord | None:
        """Return one record with its body, or None."""
        record = self._reader.record(_uuid(record_id))
        if record is not None:
            self.fetch_body(record)
        return record

    def get_body(self, record_id_or_digest: str | bytes) -> bytes | None:
        """Return a body by the id of its record or by its digest (hex, or 32 bytes); None without one.

        None also for what is unknown, evicted or lost. Raises StoreBroken when the stored bytes are
        damaged: wrong bytes are never returned.
        """
        digest = _digest(record_id_or_digest)
        if digest is None:
            named = self._reader.body_digest(_uuid(str(record_id_or_digest)))
            if named is None:
                return None
            digest = Digest(named)
        with blob_errors_translated():
            try:
                return self._blobs.get(digest)
            except BlobNotFound:
                return None

    def fetch_body(self, record: StoredRecord) -> None:
        """Put the body into a record, and say in ``body_state`` why it is not there otherwise."""
        if record.body_digest is None:
            return
        digest = Digest.parse(record.body_digest)
        with blob_errors_translated():
            try:
                record.body, record.body_state = text_of(self._blobs.get(digest)), "present"
            except BlobCorrupt:
                record.body_state = "lost"
            except BlobNotFound:
                state = self._reader.body_state(digest)
                record.body_state = "evicted" if state == "evicted" else "lost"

    def easy_view(self, turn_id: str) -> str:
        """Render a turn as text, one line per event; an unknown turn is the empty text."""
        return render_easy_view(self._reader.turn(turn_id))

    @property
    def reader(self) -> "Reader":
        """Lists, spans and single records, without bodies."""
        return self._reader

    def sql(self, query: str) -> "QueryResult":
        """Run one reading statement over the views; the result is finished. QueryInvalid says what is wrong."""
        from tracestore.database.query import run_query

        return run_query(self._database, query)

    def schema(self) -> list[tuple[str, str, str]]:
        """Return view, column and SQL type of everything `sql` can ask."""
        from tracestore.database.schema import describe

        with self._database.reading() as cursor:
            return describe(cursor)

    def prune(
        self,
        policy: RetentionPolicy,
        dry_run: bool = False,
        *,
        force: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> PruneSummary:
        """Delete what the policy says, and every blob that nothing names; returns what happened.

        ``dry_run`` works out the same plan and changes nothing. Raises PruneRefused when what would
        go does not add up (lost rows, missing blobs), unless forced. ``on_progress`` gets blobs done
        and planned.
        """
        from tracestore.maintenance.prune import Pruner

        parts = self._writing("prune")
        pruner = Pruner(self._database, self._blobs, parts.bodies_went)
        plan = pruner.plan(policy, self._now_ns() // NS_PER_MS)
        if dry_run:
            return plan.summary
        return pruner.apply(plan, force=force, on_progress=on_progress)

    def verify(self, data: bool = False) -> VerifyReport:
        """Check rows, ledger and blobs against one another; with ``data`` also every byte."""
        from tracestore.maintenance.verify import verify_store

        return verify_store(self._database, self._blobs, data=data)

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes; bytes are bytes, `blob_bytes_on_disk` counts blocks as `du` does."""
        with blob_errors_translated():
            usage = self._blobs.usage()
        database = StoreLayout(self.path).database
        files = (database, database.with_name(database.name + ".wal"))
        return self._reader.counts() | {
            "blob_bytes_on_disk": usage.allocated_bytes,
            "blob_files": usage.files,
            "database_bytes": sum(file.stat().st_size for file in files if file.exists()),
        }

    def compact(self) -> int:
        """Copy the database file without its dead space; returns the bytes given back."""
        from tracestore.database.compaction import compact

        self._writing("compact")
        return compact(self._database)

    def close(self) -> None:
        """Let the store go; may be called twice."""
        self._closing.close()

    def __enter__(self) -> "TraceStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TraceStore({str(self.path)!r})"

    def _open(
        self,
        layout: StoreLayout,
        blobs: BlobStore,
        read_only: bool,
        now_ns: Callable[[], int],
        stack: ExitStack,
        in_memory: bool = False,
    ) -> None:
        """Open the parts; whatever was opened before one that fails is closed by the caller's stack."""
        from tracestore.database import Database
        from tracestore.database.reader import Reader
        from tracestore.write_side import WriteSide

        self._now_ns = now_ns
        self._blobs = blobs
        self._inserting = threading.RLock()
        path = None if in_memory else layout.database
        self._database = Database(path, scratch=layout.scratch, read_only=read_only)
        stack.callback(self._database.close)
        self._reader = Reader(self._database)
        self._write_side: WriteSide | None = None
        if not read_only:
            self._write_side = WriteSide(layout, self._database, blobs, self._reader, now_ns, stack)
        self._closing = stack.pop_all()

    def _make_database(self, layout: StoreLayout, blobs: BlobStore) -> None:
        from tracestore.database import Database

        Database.create(layout.database, layout.scratch)
        if next(iter(blobs), None) is not None or layout.rejected.exists():
            aside = set_rejected_aside(layout)
            self.notices.append(
                f"{layout.database} was missing: made a new one; journals are read from their start"
                + (f", earlier rejected lines are in {aside}" if aside else "")
            )

    def _writing(self, what: str) -> "WriteSide":
        if self._write_side is None:
            raise InputInvalid(f"{what}: wanted a store open for writing, found it opened with read_only=True")
        return self._write_side


def _line(index: int, record: Record | Mapping[str, Any]) -> bytes:
    """Check one record as strictly as a journal line, and write it as one."""
    try:
        members = dict(record) if isinstance(record, Mapping) else members_of(record)
        line_of(members)
        return encode_line(members)
    except RecordInvalid as error:
        raise RecordInvalid(f"record {index}: {error}") from error


def _digest(text: str | bytes) -> Digest | None:
    """Read a digest, or None for what may be a record id."""
    try:
        return Digest(text) if isinstance(text, bytes) else Digest.parse(text)
    except DigestInvalid:
        return None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        wanted = "a record id (a UUID) or a digest (64 hex digits)"
        raise InputInvalid(f"id: wanted {wanted}, found {text!r:.80}") from error
