"""DuckDB with the body as text in the row: what one gets by putting a journal into a table.

Decoded by msgspec, inserted as an Arrow table a batch, one transaction each, which is on disk when it
returns. DuckDB's own settings otherwise. ``seq`` ascends, so that a lookup reads one row group alone. It
promises less: no record id, so that a journal read twice is stored twice; no position beside the rows; no
digest; no body kept once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import arro3.core as arrow
import duckdb
from duckdb import DuckDBPyConnection

from benchmarks.baselines.lines import COLUMNS, batches, decode, values

_TYPES = {
    "seq": arrow.DataType.int64(),
    **dict.fromkeys(COLUMNS, arrow.DataType.string()),
    "timestamp": arrow.DataType.int64(),
    "duration_ms": arrow.DataType.float64(),
}
_SCHEMA = """
CREATE TABLE records (
    seq BIGINT NOT NULL, kind VARCHAR NOT NULL, timestamp BIGINT NOT NULL, extension_id VARCHAR NOT NULL,
    conversation_id VARCHAR, turn_id VARCHAR, span_id VARCHAR, parent_span_id VARCHAR, name VARCHAR, level VARCHAR,
    msg VARCHAR, duration_ms DOUBLE, status VARCHAR, attributes VARCHAR, links VARCHAR, body VARCHAR
)
"""


def collect(journal: Path, store: Path) -> None:
    """Collect a journal into a new directory."""
    store.mkdir()
    seq = 0
    with opened(store) as connection:
        connection.execute(_SCHEMA)
        for lines in batches(journal):
            connection.register("batch", _table_of(lines, seq))
            connection.execute("INSERT INTO records SELECT * FROM batch")
            connection.unregister("batch")
            seq += len(lines)


@contextmanager
def opened(store: Path) -> Iterator[DuckDBPyConnection]:
    """Open the database of a store; each statement commits by itself. Closing it empties the log."""
    connection = duckdb.connect(str(store / "records.duckdb"))
    yield connection
    connection.close()


def count_records(connection: DuckDBPyConnection) -> int:
    """Return how many there are."""
    ((count,),) = connection.execute("SELECT count(*) FROM records").fetchall()
    return int(count)


def body_keys(connection: DuckDBPyConnection) -> list[int]:
    """Return the numbers of the records with a body."""
    query = "SELECT seq FROM records WHERE body IS NOT NULL ORDER BY seq"
    return [key for (key,) in connection.execute(query).fetchall()]


def body(connection: DuckDBPyConnection, key: int) -> str:
    """Return one body."""
    ((text,),) = connection.execute("SELECT body FROM records WHERE seq = ?", [key]).fetchall()
    return str(text)


def bodies_of(connection: DuckDBPyConnection, column: str, value: str) -> Sequence[str]:
    """Return the bodies of a turn or a conversation in order of time; nothing has an index."""
    query = f"SELECT body FROM records WHERE {column} = ? AND body IS NOT NULL ORDER BY timestamp, seq"
    return [text for (text,) in connection.execute(query, [value]).fetchall()]


def prune(store: Path, cutoff_ms: int) -> None:
    """Delete older records; free blocks are given back at the end of the file alone."""
    with opened(store) as connection:
        connection.execute("DELETE FROM records WHERE timestamp < ?", [cutoff_ms])
        connection.execute("CHECKPOINT")


def _table_of(lines: Sequence[bytes], first_seq: int) -> arrow.Table:
    rows = [(seq, *values(decode(line))) for seq, line in enumerate(lines, first_seq)]
    columns = zip(_TYPES.items(), zip(*rows, strict=True), strict=True)
    return arrow.Table.from_pydict({name: arrow.Array(list(column), type=kind) for (name, kind), column in columns})
