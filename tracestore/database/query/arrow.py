"""The answer to SQL from people as an Arrow IPC stream, with the types that DuckDB has for it.

DuckDB hands Arrow out in batches of a million rows, however large they are. So the statement runs twice
where it has limits: once for how many rows they allow, which takes no memory, and once for those.
"""

import io

import duckdb
from nanoarrow.ipc import StreamWriter

from tracestore.database.answers import ArrowResult, Interrupt, QueryLimits
from tracestore.database.connection import Database
from tracestore.database.query.running import in_enough_memory, reading
from tracestore.errors import QueryInvalid

_MOST_ROWS = 2**62
_MOST_BYTES = 2**62
_SIZES = "sum(strlen(answer::VARCHAR)) OVER (ROWS UNBOUNDED PRECEDING) AS size_bytes"


def query_arrow(
    database: Database, sql: str, *, limits: QueryLimits | None = None, interrupt: Interrupt | None = None
) -> ArrowResult:
    """Run one reading statement as `run_query` does; ``max_bytes`` is of the rows as text."""

    def run(limits: QueryLimits, is_large: bool) -> ArrowResult:
        with reading(database, sql, limits, interrupt, is_large=is_large) as cursor:
            return _arrow(cursor.sql(sql), limits)

    return in_enough_memory(database, limits or QueryLimits(), interrupt, run)


def _arrow(answer: duckdb.DuckDBPyRelation, limits: QueryLimits) -> ArrowResult:
    rows, truncated = _allowed(answer, limits)
    if truncated:
        answer = answer.limit(rows)
    stream = io.BytesIO()
    try:
        with StreamWriter.from_writable(stream) as writer:
            writer.write_stream(answer)
    except RuntimeError as error:  # NanoarrowException has no public name
        raise QueryInvalid(f"query: {error}") from error
    finally:
        answer.close()
    return ArrowResult(stream.getvalue(), truncated)


def _allowed(answer: duckdb.DuckDBPyRelation, limits: QueryLimits) -> tuple[int, bool]:
    """Return how many rows the limits allow, and whether there are more."""
    if limits.max_rows is None and limits.max_bytes is None:
        return 0, False
    max_rows = _MOST_ROWS if limits.max_rows is None else limits.max_rows
    max_bytes = _MOST_BYTES if limits.max_bytes is None else limits.max_bytes
    sizes = answer.limit(max_rows + 1).set_alias("answer").project(_SIZES)
    found = sizes.aggregate(f"count(*), count(*) FILTER (size_bytes <= {int(max_bytes)})").fetchall()
    total, fitting = found[0]
    rows = min(fitting, max_rows)
    return rows, total > rows
