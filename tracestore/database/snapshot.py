"""The rows as Parquet files, and back.

Rows never change and are numbered as they come (``seq``), so a part holds the rows of one *slot*, a
fixed range of numbers, and stays as it is until rows of it are deleted or added. Whether it still
is what it was tells a checksum over the names of its rows, which one scan gives for all slots.

The ledger is not written: which bodies there are, rows and blobs tell. Only what they cannot tell,
that a body was evicted or lost, is in ``gone.parquet``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

import arro3.core as arrow
from duckdb import DuckDBPyConnection

from tracestore.database import schema
from tracestore.database.connection import Database, quoted
from tracestore.database.failures import translated

SLOT_ROWS = 65_536
"""Rows of one part: a snapshot rewrites at least the last one, so this bounds what each costs."""
SMALL_TABLES = {
    "gone": "SELECT * FROM raw.bodies WHERE state <> 'present' ORDER BY digest",
    "positions": "SELECT * FROM raw.positions ORDER BY segment_id",
    "rejected": "SELECT * FROM raw.rejected",
    "prunes": "SELECT * FROM raw.prunes ORDER BY pruned_at",
}
"""What a snapshot holds besides rows; each is written whole."""
_TARGETS = {"gone": "bodies", "positions": "positions", "rejected": "rejected", "prunes": "prunes"}
_BLOBS_AT_ONCE = 100_000

Find: TypeAlias = Callable[[Iterable[bytes]], Iterator[tuple[bytes, int]]]
"""Gets digests in ascending order, yields those that have a blob, and the stored bytes of each."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The rows with a number from ``number * SLOT_ROWS`` on, below the next slot's."""

    number: int
    rows: int
    names: str
    """Checksum over the ids of the rows: the same rows have the same."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one Parquet file holds, as the database says: compared with what it gives back."""

    rows: int
    checksum: str


class SnapshotReader:
    """One consistent state of the database, to be written to files inside the store."""

    def __init__(self, cursor: DuckDBPyConnection) -> None:
        self._cursor = cursor

    def slots(self) -> list[Slot]:
        """Return the slots that hold rows, in order."""
        rows = self._cursor.execute(
            f"SELECT seq // {SLOT_ROWS} AS slot, count(*), bit_xor(hash(seq, record_id))"
            " FROM raw.records GROUP BY slot ORDER BY slot"
        ).fetchall()
        return [Slot(int(slot), int(count), f"{names:016x}") for slot, count, names in rows]

    def offsets(self) -> dict[int, int]:
        """Return how far each journal segment is read."""
        return dict(self._cursor.execute('SELECT segment_id, "offset" FROM raw.positions').fetchall())

    def write_slot(self, number: int, path: Path) -> Written:
        """Write the rows of a slot, in order."""
        first = number * SLOT_ROWS
        rows = f"SELECT * FROM raw.records WHERE seq >= {first} AND seq < {first + SLOT_ROWS}"
        self._copy(f"{rows} ORDER BY seq", path)
        return self._measure(rows)

    def write_table(self, name: str, path: Path) -> Written:
        """Write one of the small tables."""
        self._copy(SMALL_TABLES[name], path)
        return self._measure(SMALL_TABLES[name])

    def read_back(self, path: Path) -> Written:
        """Say what a file holds."""
        return self._measure(f"SELECT * FROM read_parquet('{quoted(path)}')")

    def _copy(self, query: str, path: Path) -> None:
        self._cursor.execute(f"COPY ({query}) TO '{quoted(path)}' (FORMAT parquet, COMPRESSION zstd)")

    def _measure(self, query: str) -> Written:
        columns = self._cursor.execute(f"DESCRIBE {query}").fetchall()
        names = ", ".join(f'"{column[0]}"' for column in columns)
        row = self._cursor.execute(f"SELECT count(*), sum(hash({names}))::VARCHAR FROM ({query})").fetchone()
        assert row is not None
        return Written(int(row[0]), row[1] or "0")


@contextmanager
def consistent(database: Database) -> Iterator[SnapshotReader]:
    """Give one state of the database; writers wait, for a swap of the file would break the reading off."""
    with database.exclusively(), translated("taking a snapshot"), database.reading() as cursor:
        cursor.execute("BEGIN")
        try:
            yield SnapshotReader(cursor)
        finally:
            cursor.execute("ROLLBACK")


def load(database: Database, parts: Sequence[Path], tables: dict[str, Path]) -> int:
    """Fill an empty database from a snapshot's files; returns the number of rows."""
    with database.writing() as cursor:
        for part in parts:
            cursor.execute(f"INSERT INTO raw.records BY NAME SELECT * FROM read_parquet('{quoted(part)}')")
        cursor.execute("DELETE FROM raw.rejected")
        for name, path in tables.items():
            cursor.execute(f"INSERT INTO raw.{_TARGETS[name]} BY NAME SELECT * FROM read_parquet('{quoted(path)}')")
        row = cursor.execute("SELECT count(*) FROM raw.records").fetchone()
    return int(row[0]) if row else 0


def derive_ledger(database: Database, find: Find, otherwise: str) -> None:
    """Fill the ledger from the rows and the blobs that are there; ``find`` says which are.

    What the snapshot has as evicted stays so, whatever an older backup brought back. Any other named body
    without a blob is ``otherwise``: evicted, lost, or present where it may yet be found.
    """
    with database.writing() as cursor, database.reading() as asking:
        asking.execute(
            "SELECT body_digest FROM raw.records WHERE body_digest IS NOT NULL UNION SELECT digest FROM raw.bodies"
            " ORDER BY ALL"
        )
        named = chain.from_iterable(iter(lambda: asking.fetchmany(_BLOBS_AT_ONCE), []))
        blobs = find(digest for (digest,) in named)
        cursor.execute("CREATE TEMP TABLE there (digest BLOB, stored_bytes BIGINT)")
        while chunk := list(islice(blobs, _BLOBS_AT_ONCE)):
            cursor.register("chunk", _blob_table(chunk))
            cursor.execute("INSERT INTO there SELECT digest, stored_bytes FROM chunk")
            cursor.unregister("chunk")
        cursor.execute("DELETE FROM raw.bodies WHERE state = 'lost' AND digest IN (SELECT digest FROM there)")
        cursor.execute(
            "INSERT INTO raw.bodies"
            " SELECT r.body_digest, max(r.body_size_bytes), coalesce(any_value(t.stored_bytes), 0),"
            f" CASE WHEN any_value(t.stored_bytes) IS NULL THEN '{otherwise}' ELSE 'present' END"
            " FROM raw.records r LEFT JOIN there t ON t.digest = r.body_digest"
            " WHERE r.body_digest IS NOT NULL AND r.body_digest NOT IN (SELECT digest FROM raw.bodies)"
            " GROUP BY r.body_digest"
        )
        cursor.execute("DROP TABLE there")


def schema_version() -> int:
    """Return the version of the schema that this release writes."""
    return schema.MIGRATIONS[-1].version


def _blob_table(blobs: Sequence[tuple[bytes, int]]) -> arrow.Table:
    return arrow.Table.from_pydict(
        {
            "digest": arrow.Array([digest for digest, _ in blobs], type=arrow.DataType.binary()),
            "stored_bytes": arrow.Array([stored for _, stored in blobs], type=arrow.DataType.int64()),
        }
    )
