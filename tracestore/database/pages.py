"""Many records, page by page: each page is a short reading of its own, and holds nothing up.

Pages go by time and then by order of insertion, from where the last one ended. What is stored after
the beginning has a higher number (``seq``) and is left out: no record comes twice, and none is missed
that was there at the beginning and is not pruned meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import arro3.core as arrow
from duckdb import DuckDBPyConnection

from tracestore.database.connection import Database
from tracestore.database.failures import translated
from tracestore.database.rows import COLUMNS, stored_records
from tracestore.record import BodyState, StoredRecord

Table: TypeAlias = arrow.Table

PAGE_ROWS = 4096
"""16 ms at a million records, and hardly less for fewer rows."""
_TABLE_COLUMNS = "* REPLACE (record_id::VARCHAR AS record_id), epoch_ns(timestamp) AS timestamp_ns"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which turns, as `tracestore list` chooses them; without a rule every record, those without a turn too."""

    since: datetime | None = None
    status: str | None = None
    conversation_id: str | None = None


class Pages:
    """The records of a selection, as they were when it was made."""

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._turns: arrow.Table | None = None
        self._first_ns, self._last_ns = 0, 2**63 - 2  # what comes next is infinity
        with translated("choosing records"), database.reading() as cursor:
            count, last_seq = _row(cursor, "SELECT count(*), coalesce(max(seq), 0) FROM raw.records")
            self.records: int = count
            """How many there are; a little more may be chosen where turns grew meanwhile."""
            self._last_seq: int = last_seq
            if selection != Selection():
                self._choose(cursor, selection)

    def stored(self) -> Iterator[tuple[list[StoredRecord], list[int | None]]]:
        """Yield pages of records without bodies, and the content hash of each."""
        after = (self._first_ns, -1)
        while True:
            with translated("reading records"), self._database.reading() as cursor:
                rows = self._at(cursor, f"{COLUMNS}, content_hash", "raw.records", after).fetchall()
            if not rows:
                return
            yield stored_records([row[:-1] for row in rows]), [row[-1] for row in rows]
            after = (rows[-1][2], rows[-1][0])

    def tables(self) -> Iterator[Table]:
        """Yield pages of the view ``records``, with ``timestamp_ns`` beside it; at least one, be it empty."""
        after, is_first = (self._first_ns, -1), True
        while True:
            with translated("reading records"), self._database.reading() as cursor:
                table = arrow.Table.from_arrow(self._at(cursor, _TABLE_COLUMNS, "records", after))
            if table.num_rows or is_first:
                yield table
            if not table.num_rows:
                return
            after, is_first = (_last(table, "timestamp_ns"), _last(table, "seq")), False

    def _at(self, cursor: DuckDBPyConnection, columns: str, source: str, after: tuple[int, int]) -> Any:
        """Ask for the page behind a place."""
        from_ns, seq = after
        conditions = [
            f"timestamp BETWEEN make_timestamp_ns({from_ns}) AND make_timestamp_ns({self._last_ns})",
            f"(timestamp > make_timestamp_ns({from_ns}) OR seq > {seq})",
            f"seq <= {self._last_seq}",
        ]
        if self._turns is not None:
            cursor.register("chosen", self._turns)
            conditions.append("turn_id IN (SELECT turn_id FROM chosen)")
        return cursor.sql(
            f"SELECT {columns} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY timestamp, seq LIMIT {PAGE_ROWS}"
        )

    def _choose(self, cursor: DuckDBPyConnection, selection: Selection) -> None:
        """Work out the turns once: asking for them at every page would take longer than the page."""
        filters = {
            "ended_at >= ?": selection.since,
            "status = ?": selection.status,
            "conversation_id = ?": selection.conversation_id,
        }
        given = {condition: value for condition, value in filters.items() if value is not None}
        turns = cursor.sql(
            f"SELECT turn_id, started_at, ended_at, records FROM turns WHERE {' AND '.join(given)}",
            params=list(given.values()),
        )
        self._turns = arrow.Table.from_arrow(turns)
        cursor.register("chosen", self._turns)
        self.records, first_ns, last_ns = _row(
            cursor,
            "SELECT coalesce(sum(records), 0)::BIGINT, epoch_ns(min(started_at)), epoch_ns(max(ended_at)) FROM chosen",
        )
        if first_ns is not None:
            self._first_ns, self._last_ns = first_ns, last_ns


def states_of(database: Database, digests: Sequence[bytes]) -> dict[bytes, BodyState]:
    """Return what the ledger says of bodies that were not found; none of what no record names any more."""
    wanted = arrow.Table.from_pydict({"digest": arrow.Array(digests, type=arrow.DataType.binary())})
    with translated("reading the ledger"), database.reading() as cursor:
        cursor.register("wanted", wanted)
        named = cursor.execute(
            "SELECT DISTINCT body_digest FROM raw.records WHERE body_digest IN (SELECT digest FROM wanted)"
        ).fetchall()
        evicted = cursor.execute(
            "SELECT digest FROM raw.bodies WHERE state = 'evicted' AND digest IN (SELECT digest FROM wanted)"
        ).fetchall()
    states: dict[bytes, BodyState] = {digest: "lost" for (digest,) in named}
    return states | {digest: "evicted" for (digest,) in evicted if digest in states}


def _last(table: arrow.Table, column: str) -> int:
    value: int = table[column][-1].as_py()
    return value


def _row(cursor: DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    (row,) = cursor.execute(sql).fetchall()  # to its end: a result that is not keeps the cursor busy
    return tuple(row)
