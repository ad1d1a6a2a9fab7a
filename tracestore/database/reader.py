"""What readers ask: a turn, a record, a span, lists, counts; never a body.

A record id begins with its millisecond, so looking one up reads only the rows of that millisecond.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from duckdb import DuckDBPyConnection

from tracestore.database.answers import Level, Listed
from tracestore.database.connection import Database
from tracestore.database.failures import translated
from tracestore.database.rows import POSITION_COLUMNS, SELECT, column_text, stored_records
from tracestore.record import NS_PER_MS, BodyState, StoredRecord, milliseconds_of_id

_LISTED: dict[Level, str] = {
    "conversation": "conversation_id, conversation_id, NULL, started_at, ended_at,"
    " (epoch_ns(ended_at) - epoch_ns(started_at)) / 1e6, status, turns",
    "turn": "turn_id, conversation_id, name, started_at, ended_at, duration_ms, status, 1",
}
"""What fills the first fields of `Listed` from each view."""
_LATEST_NS = 2**63 - 1
"""Where a column of nanoseconds ends; a made-up id may begin with a later time."""


LARGE_RECORDS = 2_000_000
"""From here a turn is sought in two passes, its times first: 11 instead of 14 ms at 8 million records, while at
1 million the second query costs a millisecond more than it saves. Looked at when a store is opened."""


class Reader:
    """Reads one database; safe to use from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listing = threading.Lock()
        """One at a time: what goes over all rows takes memory, which a writer has to find too."""
        with translated("counting"), database.reading() as cursor:
            records = int(_row(cursor, "SELECT count(*) AS records FROM raw.records")["records"])
        self._is_large = records >= LARGE_RECORDS

    def turn(self, turn_id: str) -> list[StoredRecord]:
        """Return a turn's records by time, then in order of insertion; empty when it is unknown."""
        wanted = column_text(turn_id)
        within = self._time_of(wanted) if self._is_large else "true"
        records = self._records(f"WHERE turn_id = ? AND {within}", [wanted])
        return [record for record in records if record.turn_id == turn_id]

    def span(self, span_id: str) -> list[StoredRecord]:
        """Return all records that name a span as their own."""
        records = self._records("WHERE span_id = ?", [column_text(span_id)])
        return [record for record in records if record.span_id == span_id]

    def record(self, record_id: UUID) -> StoredRecord | None:
        """Return one record, or None."""
        found = self._records(_is_record(record_id), [])
        return found[0] if found else None

    def body_digest(self, record_id: UUID) -> bytes | None:
        """Return the digest of a record's body; None without a body, and for an unknown record."""
        with translated("reading a record"), self._database.reading() as cursor:
            row = cursor.execute(f"SELECT body_digest FROM raw.records {_is_record(record_id)}").fetchone()
        digest: bytes | None = row[0] if row else None
        return digest

    def body_state(self, digest: bytes) -> BodyState | None:
        """Return what the ledger says of a body, or None when it never heard of it."""
        with translated("reading the ledger"), self._database.reading() as cursor:
            row = cursor.execute("SELECT state FROM raw.bodies WHERE digest = ?", [digest]).fetchone()
        state: BodyState | None = row[0] if row else None
        return state

    def body_states(self, digests: Sequence[bytes]) -> dict[bytes, BodyState]:
        """Return what the ledger says of many bodies in one look; those it never heard of are left out."""
        with translated("reading the ledger"), self._database.reading() as cursor:
            rows = cursor.execute(
                "SELECT digest, state FROM raw.bodies WHERE digest IN (SELECT unnest(?::BLOB[]))", [list(digests)]
            ).fetchall()
        return dict(rows)

    def conversations(
        self, limit: int, *, since: datetime | None, status: str | None, conversation_id: str | None
    ) -> list[Listed]:
        """Return conversations, newest first."""
        filters = {"ended_at >= ?": since, "status = ?": status, "conversation_id = ?": conversation_id}
        return self._list("conversation", filters, limit)

    def conversations_of(self, ids: Sequence[str]) -> list[Listed]:
        """Return the conversations with these ids, newest first."""
        return self._list("conversation", {"list_contains(?, conversation_id)": list(ids)}, len(ids)) if ids else []

    def turns(
        self, limit: int, *, since: datetime | None, status: str | None, conversation_id: str | None
    ) -> list[Listed]:
        """Return turns, newest first."""
        filters = {"ended_at >= ?": since, "status = ?": status, "conversation_id = ?": conversation_id}
        return self._list("turn", filters, limit)

    def counts(self) -> dict[str, Any]:
        """Return the figures of `tracestore stats` that the database knows."""
        with self._listing, translated("counting"), self._database.reading() as cursor:
            records = _row(
                cursor,
                "SELECT count(*) AS records, count(DISTINCT turn_id) AS turns,"
                " count(DISTINCT conversation_id) AS conversations, count(body_digest) AS bodies,"
                " coalesce(sum(body_size_bytes), 0)::BIGINT AS body_bytes,"
                " min(timestamp)::VARCHAR AS oldest, max(timestamp)::VARCHAR AS newest FROM raw.records",
            )
            bodies = _row(
                cursor,
                "SELECT count(*) FILTER (state = 'present') AS unique_bodies,"
                " coalesce(sum(size_bytes) FILTER (state = 'present'), 0)::BIGINT AS unique_body_bytes,"
                " count(*) FILTER (state = 'evicted') AS evicted_bodies,"
                " count(*) FILTER (state = 'lost') AS lost_bodies FROM raw.bodies",
            )
            rejected = _row(cursor, "SELECT lines AS rejected FROM raw.rejected")
        return records | bodies | rejected

    def rejected_file_bytes(self) -> int:
        """Return how much of the file of rejected lines is committed."""
        with translated("counting"), self._database.reading() as cursor:
            return int(_row(cursor, "SELECT file_bytes FROM raw.rejected")["file_bytes"])

    def oldest_insert_ns(self) -> int | None:
        """Return when the oldest record was stored; None without records."""
        with translated("counting"), self._database.reading() as cursor:
            oldest: int | None = _row(cursor, "SELECT epoch_ns(min(inserted_at)) AS ns FROM raw.records")["ns"]
        return oldest

    def positions(self) -> list[dict[str, Any]]:
        """Return where reading of every journal segment stands."""
        columns = ", ".join(f'"{name}"' for name in POSITION_COLUMNS)
        with translated("reading journal positions"), self._database.reading() as cursor:
            rows = cursor.execute(f"SELECT {columns} FROM raw.positions ORDER BY segment_id").fetchall()
        return [dict(zip(POSITION_COLUMNS, row, strict=True)) for row in rows]

    def _time_of(self, turn_id: str) -> str:
        """Return the condition for the times of a turn, so that its wide rows are sought in few row groups."""
        with translated("looking for a turn"), self._database.reading() as cursor:
            times = _row(
                cursor,
                "SELECT min(epoch_ns(timestamp)) AS first, max(epoch_ns(timestamp)) AS last"
                " FROM raw.records WHERE turn_id = ?",
                [turn_id],
            )
        if times["first"] is None:
            return "false"
        return f"timestamp BETWEEN make_timestamp_ns({times['first']}) AND make_timestamp_ns({times['last']})"

    def _records(self, where: str, values: Sequence[Any]) -> list[StoredRecord]:
        with translated("reading records"), self._database.reading() as cursor:
            rows = cursor.execute(f"{SELECT} {where}", values).fetchall()
        return stored_records(rows)

    def _list(self, level: Level, filters: Mapping[str, Any], limit: int) -> list[Listed]:
        given = {condition: value for condition, value in filters.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        with self._listing, translated("listing"), self._database.reading() as cursor:
            rows = cursor.execute(
                f"SELECT {_LISTED[level]}, records, requests, errors, input_tokens, output_tokens, body_bytes"
                f" FROM {level}s {where} ORDER BY ended_at DESC, started_at DESC, {level}_id LIMIT ?",
                [*given.values(), limit],
            ).fetchall()
        return [Listed(level, *row) for row in rows]


def _is_record(record_id: UUID) -> str:
    """Return the condition for one record; written out, for parameters cost more than the look-up.

    The id is compared as text, which DuckDB does not push into the scan: there it unpacks the ids of a
    whole row group before it looks at the times (4.5 ms instead of 0.9 at a million records).
    """
    first_ns = milliseconds_of_id(record_id.bytes) * NS_PER_MS
    if first_ns + NS_PER_MS >= 2**63:
        return "WHERE false"  # no timestamp is that late
    return (
        f"WHERE timestamp >= make_timestamp_ns({first_ns}) AND timestamp < make_timestamp_ns({first_ns + NS_PER_MS})"
        f" AND record_id::VARCHAR = '{record_id}'"
    )


def _row(cursor: DuckDBPyConnection, sql: str, values: Sequence[Any] = ()) -> dict[str, Any]:
    cursor.execute(sql, values)
    names = [column[0] for column in cursor.description or ()]
    row = cursor.fetchone()
    assert row is not None
    return dict(zip(names, row, strict=True))
