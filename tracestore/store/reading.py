"""What can be read of a store that this process has open; `remote.store` is its like elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from blobs import BlobCorrupt, BlobError, BlobNotFound, BlobStore, Digest, DigestInvalid
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.errors import InputInvalid
from tracestore.export.report import Export
from tracestore.layout import StoreLayout
from tracestore.maintenance.summary import VerifyReport
from tracestore.record import BodyState

if TYPE_CHECKING:
    from tracestore.database.answers import ArrowResult, Interrupt, QueryLimits, QueryResult
    from tracestore.database.connection import Database
    from tracestore.database.reader import Reader


class Reading:
    """Answers from the database and the blobs of one store; `TraceStore` says what each answer is."""

    def __init__(
        self,
        layout: StoreLayout,
        database: "Database",
        reader: "Reader",
        blobs: BlobStore,
        settle: Callable[[], bool],
    ) -> None:
        """``settle`` makes rows of what waits in the journal, and tells whether anything did."""
        self._layout = layout
        self._database = database
        self._reader = reader
        self._blobs = blobs
        self._settle = settle

    @property
    def reader(self) -> "Reader":
        """Lists, spans and single records, without bodies."""
        self._settle()
        return self._reader

    def body(self, record_id_or_digest: str | bytes) -> bytes | None:
        """Return a body, or None without one."""
        digest = digest_of(record_id_or_digest)
        if digest is None:
            named = self.reader.body_digest(uuid_of(str(record_id_or_digest)))
            if named is None:
                return None
            digest = Digest(named)
        found = self._stored_body(digest)
        if found is None and self._settle():  # it waited in the journal
            found = self._stored_body(digest)
        return found

    def _stored_body(self, digest: Digest) -> bytes | None:
        with blob_errors_translated():
            try:
                return self._blobs.get(digest)
            except BlobNotFound:
                return None

    def bodies(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes | None, BodyState]]:
        """Give digest, bytes and state of each body, in the order that is cheapest to read."""
        with blob_errors_translated():
            for digest, body in self._blobs.get_many([Digest.parse(digest) for digest in digests]):
                if isinstance(body, bytes):
                    yield digest.hex(), body, "present"
                else:
                    yield digest.hex(), None, self._state_without(digest, body)

    def _state_without(self, digest: Digest, error: BlobError) -> BodyState:
        if isinstance(error, BlobNotFound) and self._reader.body_state(digest) == "evicted":
            return "evicted"
        if isinstance(error, BlobNotFound | BlobCorrupt):
            return "lost"
        raise error

    def query(
        self, sql: str, limits: "QueryLimits | None" = None, interrupt: "Interrupt | None" = None
    ) -> "QueryResult":
        """Run one reading statement."""
        from tracestore.database.query import run_query

        self._settle()
        return run_query(self._database, sql, limits=limits, interrupt=interrupt)

    def query_arrow(
        self, sql: str, limits: "QueryLimits | None" = None, interrupt: "Interrupt | None" = None
    ) -> "ArrowResult":
        """Run one reading statement, for an Arrow IPC stream."""
        from tracestore.database.query.arrow import query_arrow

        self._settle()
        return query_arrow(self._database, sql, limits=limits, interrupt=interrupt)

    def schema(self) -> list[tuple[str, str, str]]:
        """Return view, column and SQL type of everything that can be asked."""
        from tracestore.database.schema import describe

        with self._database.reading() as cursor:
            return describe(cursor)

    def export(
        self, format: str, *, bodies: bool, since: datetime | None, status: str | None, conversation_id: str | None
    ) -> Export:
        """Begin an export."""
        from tracestore.export.export import export_records

        self._settle()
        filters = {"status": status, "conversation_id": conversation_id}
        return export_records(self._database, self._blobs, format, bodies=bodies, since=since, **filters)

    def verify(
        self, data: bool, subset: str | None, on_progress: Callable[[int, int], None] | None
    ) -> VerifyReport:
        """Check rows, ledger and blobs against one another."""
        from tracestore.maintenance.verify import verify_store

        self._settle()
        return verify_store(
            self._database, self._blobs, data=data, subset=subset, snapshots=self._layout.snapshots,
            on_progress=on_progress,
        )  # fmt: skip

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes."""
        with blob_errors_translated():
            usage, tiers = self._blobs.usage(), self._blobs.tiers()
        return self.reader.counts() | asdict(tiers) | {
            "blob_bytes_on_disk": usage.allocated_bytes,
            "blob_files": usage.files,
            "database_bytes": self._database.file_bytes + self._database.log_bytes,
        }


def digest_of(text: str | bytes) -> Digest | None:
    """Read a digest, or None for what may be a record id."""
    try:
        return Digest(text) if isinstance(text, bytes) else Digest.parse(text)
    except DigestInvalid:
        return None


def uuid_of(text: str) -> UUID:
    """Read a record id, or raise InputInvalid."""
    try:
        return UUID(text)
    except ValueError as error:
        wanted = "a record id (a UUID) or a digest (64 hex digits)"
        raise InputInvalid(f"id: wanted {wanted}, found {text!r:.80}") from error
