"""Idempotent batches: rows, ledger and journal position in one transaction.

There is no unique constraint: an anti join within the batch's own times finds what is there
already, for a replayed record has the same time. One late record would widen that range to the
whole store, so a batch's times are cut at their widest gaps into at most ``RANGES_LIMIT`` ranges,
each a scan of its own that skips every row group outside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias
from uuid import UUID

import arro3.core as arrow
from duckdb import DuckDBPyConnection

from tracestore.database.connection import Database
from tracestore.database.failures import translated
from tracestore.database.rows import INSERT, POSITION_COLUMNS, Identity, Row, identity_of, table_of, wanted_table

RANGES_LIMIT = 16
"""Time ranges of one anti join: sixteen scans cost 3-8 ms, one scan of 5 million records 45 ms."""
GAP_NS = 60 * 10**9
"""Times closer than this stay in one range; a row group spans far more."""

FEW_ROWS = 2_000
"""Up to here the stored rows of a batch's times are compared with it in Python: a join with an Arrow table
takes DuckDB 4 ms to plan, 40 ms over six ranges, and a batch in order meets hardly a row."""

_Stored: TypeAlias = tuple[int, UUID, int | None]
"""Timestamp in nanoseconds, record id, content hash."""


@dataclass(frozen=True, slots=True)
class Body:
    """One row of the ledger."""

    digest: bytes
    size_bytes: int
    stored_bytes: int
    """Size of its file, where it came in as one; 0 where it came in a pack."""
    state: Literal["present", "evicted", "lost"] = "present"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction makes true."""

    rows: Sequence[Row]
    new_bodies: Sequence[Body]
    inserted_at_ns: int
    replaced_bodies: Sequence[bytes] = ()
    """Digests whose ledger row goes before ``new_bodies`` come: they were evicted, lost or damaged."""
    position: Mapping[str, Any] | None = None
    rejected_lines: int = 0
    rejected_file_bytes: int = 0


class Writer:
    """The one writer of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._meets_many = False
        """Whether many of the last batch were stored already, as in a replay: so it will be with the next."""
        self.look_again()

    def look_again(self) -> None:
        """Go on from what the database holds, whatever was thought of it."""
        with translated("reading the database"), self._database.reading() as cursor:
            self.next_seq = 1 + _scalar(cursor, "SELECT coalesce(max(seq), 0) FROM raw.records")
            self._gone_count = _scalar(cursor, "SELECT count(*) FROM raw.bodies WHERE state <> 'present'")

    def known_records(self, rows: Sequence[Row]) -> dict[Identity, int | None]:
        """Return which of these are stored: identity to content hash. Each may be asked for once."""
        if not rows:
            return {}
        scans = _scans(time_ranges([row.line.timestamp_ns for row in rows]))
        with translated("looking for known records"):
            near = None if self._meets_many else self._stored_nearby(scans)
            if near is None:
                found = self._stored_among(scans, rows)
                self._meets_many = len(found) > FEW_ROWS
                return {rows[place].identity: content_hash for place, content_hash in found}
        stored = {
            identity_of(timestamp_ns, record_id.bytes): content_hash for timestamp_ns, record_id, content_hash in near
        }
        return {row.identity: stored[row.identity] for row in rows if row.identity in stored} if stored else {}

    def _stored_nearby(self, scans: str) -> list[_Stored] | None:
        """Return every stored row of a batch's times, or None when there are many."""
        with self._database.reading() as cursor:
            found: list[_Stored] = cursor.execute(f"{scans} LIMIT {FEW_ROWS + 1}").fetchall()
        return found if len(found) <= FEW_ROWS else None

    def _stored_among(self, scans: str, rows: Sequence[Row]) -> list[tuple[int, int | None]]:
        """Return which of these rows are stored, by their place, and the content hash of each."""
        with self._database.reading() as cursor:
            cursor.register("wanted", wanted_table(rows))
            found: list[tuple[int, int | None]] = cursor.execute(
                f"SELECT w.place, any_value(k.content_hash) FROM ({scans}) k JOIN"
                " (SELECT place, timestamp_ns, record_id::UUID AS record_id FROM wanted) w"
                " ON k.timestamp_ns = w.timestamp_ns AND k.record_id = w.record_id GROUP BY w.place"
            ).fetchall()
        return found

    def known_bodies(self, digests: Sequence[bytes]) -> dict[bytes, Body]:
        """Return the ledger's rows of these digests."""
        if not digests:
            return {}
        with translated("reading the ledger"), self._database.reading() as cursor:
            cursor.register("wanted", _digest_table(digests))
            found = cursor.execute(
                "SELECT digest, size_bytes, stored_bytes, state FROM raw.bodies SEMI JOIN wanted USING (digest)"
            ).fetchall()
        return {digest: Body(digest, size, stored, state) for digest, size, stored, state in found}

    def gone_bodies(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return which of these the ledger has as evicted or lost; free while nothing ever was."""
        if not self._gone_count:
            return set()
        return {digest for digest, body in self.known_bodies(digests).items() if body.state != "present"}

    def commit(self, batch: Batch) -> None:
        """Make a batch true, durably; nothing of it is there when this raises."""
        with self._database.writing() as cursor:
            if batch.rows:
                cursor.register("batch", table_of(batch.rows, self.next_seq))
                cursor.execute(INSERT, {"inserted_at_ns": batch.inserted_at_ns})
                cursor.unregister("batch")
            if batch.replaced_bodies:
                cursor.register("replaced", _digest_table(batch.replaced_bodies))
                cursor.execute("DELETE FROM raw.bodies WHERE digest IN (SELECT digest FROM replaced)")
                cursor.unregister("replaced")
            if batch.new_bodies:
                cursor.register("new_bodies", _ledger_table(batch.new_bodies))
                cursor.execute("INSERT INTO raw.bodies SELECT digest, size_bytes, stored_bytes, state FROM new_bodies")
                cursor.unregister("new_bodies")
            if batch.position is not None:
                _record_position(cursor, batch.position)
            if batch.rejected_lines:
                cursor.execute(
                    "UPDATE raw.rejected SET lines = lines + ?, file_bytes = ?",
                    [batch.rejected_lines, batch.rejected_file_bytes],
                )
        self.next_seq += len(batch.rows)

    @property
    def is_doubtful(self) -> bool:
        """Tell whether a commit failed, so that nobody knows what of it is on disk."""
        return self._database.is_doubtful

    def forget_positions(self, segment_ids: Sequence[int]) -> None:
        """Drop the positions of segments that are gone for good, but the newest: ids are never given twice."""
        with self._database.writing() as cursor:
            cursor.execute(
                "DELETE FROM raw.positions WHERE list_contains(?, segment_id)"
                " AND segment_id < (SELECT max(segment_id) FROM raw.positions)",
                [list(segment_ids)],
            )

    def note_gone(self, count: int) -> None:
        """Tell that this many bodies became evicted or lost."""
        self._gone_count += count


def _scans(ranges: Sequence[tuple[int, int]]) -> str:
    """Read what is stored in some ranges of time; each is a scan of its own, which skips most row groups."""
    scan = "SELECT epoch_ns(timestamp) AS timestamp_ns, record_id, content_hash FROM raw.records WHERE timestamp"
    return " UNION ALL ".join(
        f"{scan} BETWEEN make_timestamp_ns({first}) AND make_timestamp_ns({last})" for first, last in ranges
    )


def time_ranges(timestamps_ns: Sequence[int]) -> list[tuple[int, int]]:
    """Cut times at their widest gaps into at most ``RANGES_LIMIT`` closed ranges, in order."""
    times = sorted(set(timestamps_ns))
    gaps = [(after - before, index) for index, (before, after) in enumerate(pairwise(times), 1)]
    widest = sorted((gap for gap in gaps if gap[0] > GAP_NS), reverse=True)[: RANGES_LIMIT - 1]
    cuts = [0, *sorted(index for _, index in widest), len(times)]
    return [(times[start], times[end - 1]) for start, end in pairwise(cuts)]


def _digest_table(digests: Sequence[bytes]) -> arrow.Table:
    return arrow.Table.from_pydict({"digest": arrow.Array(list(digests), type=arrow.DataType.binary())})


def _ledger_table(bodies: Sequence[Body]) -> arrow.Table:
    return arrow.Table.from_pydict(
        {
            "digest": arrow.Array([body.digest for body in bodies], type=arrow.DataType.binary()),
            "size_bytes": arrow.Array([body.size_bytes for body in bodies], type=arrow.DataType.int64()),
            "stored_bytes": arrow.Array([body.stored_bytes for body in bodies], type=arrow.DataType.int64()),
            "state": arrow.Array([body.state for body in bodies], type=arrow.DataType.string()),
        }
    )


def _record_position(cursor: DuckDBPyConnection, position: Mapping[str, Any]) -> None:
    values = [position[name] for name in POSITION_COLUMNS]
    cursor.execute("DELETE FROM raw.positions WHERE segment_id = ?", [position["segment_id"]])
    marks = ", ".join("?" for _ in values)
    cursor.execute(f"INSERT INTO raw.positions VALUES ({marks}, current_localtimestamp())", values)


def _scalar(cursor: DuckDBPyConnection, sql: str) -> int:
    row = cursor.execute(sql).fetchone()
    assert row is not None
    return int(row[0])
