"""SQL from people: what it may be, how it runs and ends, and its answer as rows or as Arrow.

::

    sandbox     one SELECT over the store's tables, as DuckDB's own parser reads it
    running     in a read-only transaction, with limits, to be ended from another thread
    arrow       the same, as an Arrow IPC stream
"""

from tracestore.database.query.running import run_query

__all__ = ["run_query"]
