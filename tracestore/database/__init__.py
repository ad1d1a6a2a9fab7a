"""The records table: DuckDB, and the only place that imports it.

::

    connection   one file attached to an in-memory connection; readers, the writer, the swap
    schema       tables in ``raw``, views in ``main``, numbered migrations
    rows         records to Arrow columns and back
    writer       idempotent batches: rows, ledger and journal position in one transaction
    reader       turns, records, lists, counts
    answers      what readers get, as values; needs no DuckDB
    query        read-only SQL from people
    retention    which rows are past their age, which bodies nobody names
    compaction   the file copied in time order, and swapped
"""
