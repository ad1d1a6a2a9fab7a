"""TraceStore: one directory of records and bodies, and the one public object over it. Wiring only.

`opening` has how it opens and ends; here is what it can do.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blobs import Digest, DigestInvalid
from tracestore.directory.opening import may_pack
from tracestore.errors import InputInvalid, RecordInvalid
from tracestore.export.report import Export
from tracestore.journal.follow import JournalFollower, Unread
from tracestore.journal.position import Position
from tracestore.layout import StoreLayout
from tracestore.maintenance.retention import GRACE_MS, RetentionPolicy
from tracestore.maintenance.summary import ForgetReport, PackReport, PruneSummary, RepairReport, VerifyReport
from tracestore.record import (
    BodyState,
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
from tracestore.store.opening import OpenStore
from tracestore.store.reading import uuid_of
from tracestore.views import render_easy_view

if TYPE_CHECKING:
    from tracestore.database.answers import ArrowResult, Interrupt, QueryLimits, QueryResult
    from tracestore.ingest import Drained
    from tracestore.store.write_side import InsertSummary


class TraceStore(OpenStore):
    """A store of records and their bodies.

    Writing (the default) takes the store for this process alone. ``read_only`` lets several
    processes read a store at rest; it changes nothing on disk. Where another process collects into the
    store, that one is asked, by the same methods. Methods may be called from several threads.

    Raises StoreNotFound (no store there and none may be made), StoreLocked (names the holder),
    StoreBroken, StoreUnavailable.
    """

    def insert_records(self, records: Iterable[Record | Mapping[str, Any]]) -> "InsertSummary":
        """Store records, durably on return; one that is there already is counted, not stored twice.

        Takes record objects, or dicts in the journal's JSON shape. All or none are accepted: an
        invalid one raises RecordInvalid and nothing is written. They go through the journal, as
        everything does: it returns when they are on disk there, and the next read makes them rows.
        """
        if isinstance(records, Mapping | LogRecord | SpanOpen | SpanClose):
            raise InputInvalid("records: wanted a list of records, found a single one; put it into a list")
        lines = [_line(index, record) for index, record in enumerate(records)]
        parts = self._writing("insert_records")
        with self._inserting:
            return parts.insert(lines, self._settle)

    def insert_lines(self, lines: Iterable[bytes]) -> "InsertSummary":
        """Store journal lines as they are, durably on return; each without its newline.

        What a collector would do with them: a line that is no record is set aside, verbatim and
        with the reason, in ``rejected.ndjson``, and never stops the others.
        """
        parts = self._writing("insert_lines")
        with self._inserting:
            return parts.insert(list(lines), self._settle)

    def drain(self, unread: Unread, commit: Callable[[Position], None]) -> "Iterator[Drained]":
        """Move a journal segment into the store, batch by batch; each is durable when yielded."""
        batches = self._writing("drain").drain(unread, commit)
        while True:
            with self._inserting:
                drained = next(batches, None)
            if drained is None:
                return
            yield drained

    def follow_journal(self, path: str | os.PathLike[str]) -> JournalFollower:
        """Follow a journal, a file or a directory of segments, from where reading of it stands."""
        parts = self._writing("follow_journal")
        if parts.recovery:
            parts.recovery.note_journal(os.fspath(path))
        return parts.follow(os.fspath(path))

    def get_turn(self, turn_id: str) -> list[StoredRecord]:
        """Return a turn's records with their bodies, by time; an unknown turn is an empty list."""
        records = self.reader.turn(turn_id)
        self.fetch_bodies(records)
        return records

    def get_record(self, record_id: str) -> StoredRecord | None:
        """Return one record with its body, or None."""
        record = self.reader.record(uuid_of(record_id))
        if record is not None:
            self.fetch_bodies([record])
        return record

    def get_body(self, record_id_or_digest: str | bytes) -> bytes | None:
        """Return a body by the id of its record or by its digest (hex, or 32 bytes); None without one.

        None also for what is unknown, evicted or lost. Raises StoreBroken when the stored bytes are
        damaged: wrong bytes are never returned.
        """
        return self._reading.body(record_id_or_digest)

    def get_bodies(self, digests: Iterable[str]) -> "Iterator[tuple[str, bytes | None, BodyState]]":
        """Give the digest, the bytes and the state of each body; None for the bytes of one that is gone."""
        return self._reading.bodies(digests)

    def fetch_bodies(self, records: Iterable[StoredRecord]) -> None:
        """Put bodies into records, and say in ``body_state`` why one is not there otherwise."""
        naming: dict[str, list[StoredRecord]] = {}
        for record in records:
            if record.body_digest is not None:
                naming.setdefault(record.body_digest, []).append(record)
        for digest, body, state in self.get_bodies(naming) if naming else ():
            for record in naming[digest]:
                record.body, record.body_state = None if body is None else text_of(body), state

    def easy_view(self, turn_id: str) -> str:
        """Render a turn as text, one line per event; an unknown turn is the empty text."""
        return render_easy_view(self.reader.turn(turn_id))

    def export(
        self,
        format: Literal["ndjson", "parquet"] = "ndjson",
        *,
        bodies: bool = False,
        since: datetime | None = None,
        status: str | None = None,
        conversation_id: str | None = None,
    ) -> Export:
        """Begin to export the turns that end at ``since`` (UTC) or later, of this status, of this conversation.

        Without a rule every record, those without a turn too. Iterate over the result for chunks of
        bytes: journal lines, which another store can collect, or one Parquet file. Its ``report`` counts
        them. Records stored after the beginning are left out; others may write and prune meanwhile.
        """
        return self._reading.export(
            format, bodies=bodies, since=since, status=status, conversation_id=conversation_id
        )

    def sql(
        self, query: str, *, limits: "QueryLimits | None" = None, interrupt: "Interrupt | None" = None
    ) -> "QueryResult":
        """Run one reading statement over the views; the result is finished. QueryInvalid says what is wrong.

        ``limits`` bounds rows, bytes and time; ``interrupt`` ends a query of this process from another thread.
        """
        return self._reading.query(query, limits, interrupt)

    def sql_arrow(
        self, query: str, *, limits: "QueryLimits | None" = None, interrupt: "Interrupt | None" = None
    ) -> "ArrowResult":
        """Run one reading statement as `sql` does, for an Arrow IPC stream; of a store that this process opened."""
        return self._reading.query_arrow(query, limits, interrupt)

    def schema(self) -> list[tuple[str, str, str]]:
        """Return view, column and SQL type of everything `sql` can ask."""
        return self._reading.schema()

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
        return self._upkeep("prune").prune(policy, dry_run, force=force, on_progress=on_progress)

    def pack(
        self,
        *,
        grace_ms: int = GRACE_MS,
        settled_ms: int = 0,
        is_stopped: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> PackReport:
        """Move bodies out of files of their own into packs, where they take a fraction of the space.

        What that replaces stays for ``grace_ms``, for a copy of the directory that may be running. Files
        of records that came in less than ``settled_ms`` ago stay as they are. ``is_stopped`` is asked between two
        bodies; ``on_progress`` gets bodies done and planned. Other calls may go on meanwhile; it pauses for a prune.
        """
        return self._upkeep("pack").pack(
            grace_ms=grace_ms, settled_ms=settled_ms, is_stopped=is_stopped, on_progress=on_progress
        )

    def unpack(
        self, *, grace_ms: int = GRACE_MS, on_progress: Callable[[int, int], None] | None = None
    ) -> PackReport:
        """Write every packed body into a gzip file of its own again; packs stay for ``grace_ms``."""
        return self._upkeep("unpack").unpack(grace_ms=grace_ms, on_progress=on_progress)

    def pack_is_due(self) -> bool:
        """Tell whether a collector should pack: there are many loose blobs, or small packs, and it may."""
        from tracestore.maintenance.packing import is_due

        self._writing("pack_is_due")
        return may_pack(StoreLayout(self.path)) and is_due(self._blobs)

    def verify(
        self, data: bool = False, *, subset: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        """Check rows, ledger and blobs against one another; with ``data`` also every byte.

        ``subset`` reads a part alone: ``n/m``, or a share such as ``5%``. ``on_progress`` gets blobs done and stored.
        """
        return self._reading.verify(data, subset, on_progress)

    def repair(
        self,
        apply: bool = False,
        *,
        donor: str | os.PathLike[str] | None = None,
        journals: Iterable[str | os.PathLike[str]] = (),
        on_progress: Callable[[int, int], None] | None = None,
    ) -> RepairReport:
        """Mend what verify finds, or without ``apply`` say what would be done; see `maintenance.repair`.

        ``donor`` is a backup, a store or a directory of blobs to take bodies from; ``journals`` are read besides
        the store's own.
        """
        from tracestore.maintenance.repair import repair_store

        if self._remote is not None:
            raise self._remote.locked
        parts = self._writing("repair") if apply else None
        recovery = parts.recovery if parts else None
        self._settle()
        with self._inserting:
            return repair_store(
                StoreLayout(self.path), self._database, self._blobs, apply=apply, now_ns=self._now_ns(),
                donor=None if donor is None else Path(donor), journals=[Path(path) for path in journals],
                bodies_went=parts.bodies_went if parts else None,
                take_snapshot=recovery.take if recovery else None, on_progress=on_progress,
            )  # fmt: skip

    def forget(
        self, *, turn_id: str | None = None, conversation_id: str | None = None, digest: str | None = None
    ) -> ForgetReport:
        """Erase a turn, a conversation or a body from every place this store reaches; there is no way back.

        Exactly one is given, else InputInvalid. The report names what could not be reached.
        """
        from tracestore.maintenance.forget import Forgetting, Target

        try:
            target = Target(turn_id, conversation_id, None if digest is None else Digest.parse(digest))
        except DigestInvalid as error:
            raise InputInvalid(str(error)) from error
        parts = self._writing("forget")
        with self._inserting:
            parts.settle()
            parts.let_segment_go()
            layout = StoreLayout(self.path)
            return Forgetting(layout, self._database, self._blobs, parts.recovery, parts.bodies_went).run(target)

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes; bytes are bytes, `blob_bytes_on_disk` counts blocks as `du` does."""
        return self._reading.stats()

    def compact(self) -> int:
        """Copy the database file without its dead space; returns the bytes given back."""
        from tracestore.database.compaction import compact

        self._writing("compact")
        return compact(self._database)


def _line(index: int, record: Record | Mapping[str, Any]) -> bytes:
    """Check one record as strictly as a journal line, and write it as one."""
    try:
        members = dict(record) if isinstance(record, Mapping) else members_of(record)
        line_of(members)
        return encode_line(members)
    except RecordInvalid as error:
        raise RecordInvalid(f"record {index}: {error}") from error
