"""The records table: DuckDB, and the only place that imports it.

::

    connection   one file attached to an in-memory connection; readers, the writer, the swap
    schema       tables in ``raw``, views in ``main``, numbered migrations
    rows         records to Arrow columns and back
    writer       idempotent batches: rows, ledger and journal position in one transaction
    reader       turns, records, lists, counts
    query        read-only SQL from people
    retention    which rows are past their age, which bodies nobody names
    compaction   the file copied in time order, and swapped
"""

from tracestore.database.connection import Database
from tracestore.database.query import QueryResult

__all__ = ["Database", "QueryResult"]
