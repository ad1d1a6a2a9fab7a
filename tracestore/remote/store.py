"""A store that another process holds: what `TraceStore` asks of it, with the answers it would give itself."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tracestore.database.answers import ArrowResult, QueryResult
from tracestore.errors import QueryInvalid, StoreLocked
from tracestore.export.report import Export, ExportReport
from tracestore.layout import StoreLayout
from tracestore.maintenance.retention import RetentionPolicy
from tracestore.maintenance.summary import PackReport, PruneSummary, VerifyReport
from tracestore.record import BodyState
from tracestore.remote import calls
from tracestore.remote.client import Client
from tracestore.remote.reader import RemoteReader
from tracestore.remote.sockets import is_answered
from tracestore.remote.values import from_json

if TYPE_CHECKING:
    from tracestore.database.answers import Interrupt, QueryLimits

Progress = Callable[[int, int], None]
RESULT_LIMIT_BYTES = 2**30
"""Of a query whose caller set no limits: the process that answers has others to serve."""


class RemoteStore:
    """Reads, prunes and packs through the socket of one store."""

    def __init__(self, layout: StoreLayout, locked: StoreLocked) -> None:
        """``locked`` is what to raise where only the holder itself can do something."""
        self.locked = locked
        self._client = Client(layout.socket, locked.holder)
        self.reader = RemoteReader(self._client)

    @classmethod
    def find(cls, layout: StoreLayout, locked: StoreLocked) -> "RemoteStore | None":
        """Return the store of the process that holds it, or None where that does not answer."""
        return cls(layout, locked) if is_answered(layout.socket) else None

    def body(self, record_id_or_digest: str | bytes) -> bytes | None:
        """Return a body, or None without one."""
        given = record_id_or_digest
        wanted = given if isinstance(given, str) else given.hex()
        body: bytes | None = from_json(self._client.result(calls.Body(wanted)))
        return body

    def bodies(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes | None, BodyState]]:
        """Give digest, bytes and state of each body, as they come."""
        for kind, value in self._client.frames(calls.Bodies(list(digests))):
            if kind == "result":
                return
            digest, body, state = from_json(value)
            yield digest, body, state
        raise self._client.ended_early()

    def query(
        self, sql: str, limits: "QueryLimits | None" = None, interrupt: "Interrupt | None" = None
    ) -> QueryResult:
        """Run one reading statement; a result beyond ``RESULT_LIMIT_BYTES`` is refused where no limits are given."""
        call = calls.Query(sql, max_bytes=RESULT_LIMIT_BYTES)
        if limits is not None:
            call = calls.Query(sql, limits.max_rows, limits.max_bytes, limits.timeout_ms)
        rows: list[tuple[Any, ...]] = []
        found = self._client.run(call, lambda item: rows.extend(tuple(row) for row in from_json(item)))
        if found["truncated"] and limits is None:
            wanted = f"a result of at most {RESULT_LIMIT_BYTES} bytes while {self.locked.holder} holds the store"
            raise QueryInvalid(f"query: wanted {wanted}, found more; ask for less, or stop it first")
        return QueryResult(found["columns"], found["types"], rows, truncated=found["truncated"])

    def query_arrow(
        self, sql: str, limits: "QueryLimits | None" = None, interrupt: "Interrupt | None" = None
    ) -> ArrowResult:
        """Raise QueryInvalid: whoever holds the store gives Arrow over HTTP."""
        found = f"one that {self.locked.holder} holds"
        raise QueryInvalid(f"query: wanted a store of this process for Arrow, found {found}; POST /v1/sql has it")

    def schema(self) -> list[tuple[str, str, str]]:
        """Return view, column and SQL type of everything that can be asked."""
        return [(view, column, type_) for view, column, type_ in self._client.result(calls.Schema())]

    def export(
        self, format: str, *, bodies: bool, since: datetime | None, status: str | None, conversation_id: str | None
    ) -> Export:
        """Begin an export; closing it early ends it on the other side too."""
        frames = self._client.frames(calls.Export(format, bodies, since, status, conversation_id))
        report = ExportReport()

        def chunks() -> Generator[bytes]:
            with closing(frames):
                for kind, value in frames:
                    if kind == "result":
                        return
                    chunk, report.records, report.bodies, report.missing_bodies = value
                    yield from_json(chunk)
            raise self._client.ended_early()

        for _, (_, planned_records) in frames:
            return Export(chunks(), report, planned_records)
        raise self._client.ended_early()

    def verify(self, data: bool, subset: str | None, on_progress: Progress | None) -> VerifyReport:
        """Check rows, ledger and blobs against one another."""
        return msgspec.convert(self._client.result(calls.Verify(data, subset), on_progress), VerifyReport)

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes."""
        found: dict[str, Any] = self._client.result(calls.Stats())
        return found

    def prune(
        self, policy: RetentionPolicy, dry_run: bool, *, force: bool, on_progress: Progress | None
    ) -> PruneSummary:
        """Delete what the policy says; it goes to its end even when this process does not wait."""
        call = calls.Prune(policy.max_age_ms, policy.max_total_body_bytes, dry_run, force)
        return msgspec.convert(self._client.result(call, on_progress), PruneSummary)

    def pack(
        self, *, grace_ms: int, settled_ms: int, is_stopped: Callable[[], bool], on_progress: Progress | None
    ) -> PackReport:
        """Move bodies into packs. An exception of ``on_progress`` ends it; nobody else asks ``is_stopped``."""
        return msgspec.convert(self._client.result(calls.Pack(grace_ms, settled_ms), on_progress), PackReport)

    def unpack(self, *, grace_ms: int, on_progress: Progress | None) -> PackReport:
        """Raise StoreLocked: the collector that holds the store would pack again."""
        raise self.locked

