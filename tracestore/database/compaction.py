"""The database file copied in time order, and the copy swapped in.

DuckDB reuses the space of deleted rows but gives none back: a file shrinks only when it is copied.
The copy is also sorted by time, which is what every range scan and every row group wants.
"""

from dataclasses import dataclass
from pathlib import Path

from tracestore.database import schema
from tracestore.database.connection import CREATING, Database, discard, quoted
from tracestore.database.failures import translated

DEAD_SHARE = 0.3
"""Compact when this share of the file holds nothing that lives."""
DEAD_BYTES_MINIMUM = 4 * 2**20
"""Below this a compaction costs more than it gives back."""


@dataclass(frozen=True, slots=True)
class Space:
    """How much of the database file is in use; bytes."""

    file_bytes: int
    dead_bytes: int

    @property
    def is_worth_compacting(self) -> bool:
        """Tell whether dead space has passed the threshold."""
        return self.dead_bytes >= DEAD_BYTES_MINIMUM and self.dead_bytes >= DEAD_SHARE * self.file_bytes


def measure(database: Database) -> Space:
    """Estimate dead space: free blocks, and the share of deleted rows in the rest."""
    with translated("measuring the database"), database.reading() as cursor:
        sizes = cursor.execute(
            "SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = 'store'"
        ).fetchone()
        rows = cursor.execute(
            "SELECT (SELECT count(*) FROM raw.records),"
            " (SELECT coalesce(sum(count), 0) FROM pragma_storage_info('raw.records') WHERE column_name = 'seq'"
            " AND segment_type <> 'VALIDITY')"
        ).fetchone()
    if sizes is None or rows is None:
        return Space(0, 0)
    block_size, total_blocks, free_blocks = (int(value) for value in sizes)
    live_rows, stored_rows = (int(value) for value in rows)
    deleted_share = max(0.0, 1 - live_rows / stored_rows) if stored_rows else 0.0
    used_bytes = (total_blocks - free_blocks) * block_size
    return Space(total_blocks * block_size, free_blocks * block_size + int(used_bytes * deleted_share))


def compact(database: Database) -> int:
    """Copy the file in time order and swap it; returns the bytes it became smaller.

    Writers wait until it is done, readers only for the swap.
    """
    path = database.path
    if path is None:
        return 0
    before_bytes = database.file_bytes
    fresh = path.with_name(path.name + ".new")
    discard(fresh)
    with database.exclusively():
        _copy(database, fresh)
        database.swap(fresh)
    return before_bytes - database.file_bytes


def _copy(database: Database, fresh: Path) -> None:
    with translated("compacting the database"), database.reading() as cursor:
        cursor.execute(f"ATTACH '{quoted(fresh)}' AS fresh ({CREATING})")
        try:
            cursor.execute("USE fresh")
            schema.migrate(cursor)
            for table, order in schema.TABLES_IN_ORDER.items():
                cursor.execute(f"DELETE FROM fresh.raw.{table}")
                cursor.execute(f"INSERT INTO fresh.raw.{table} SELECT * FROM store.raw.{table} ORDER BY {order}")
            cursor.execute("CHECKPOINT fresh")
        finally:
            cursor.execute("USE memory")
            cursor.execute("DETACH fresh")
