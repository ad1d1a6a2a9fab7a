"""tracestore: the flight recorder for LLM applications.

Verbatim bodies kept once, metadata in DuckDB for SQL, retention that really returns disk, and
nothing acknowledged is ever lost::

    with TraceStore("traces") as store:
        store.insert_records([LogRecord(timestamp=1772413967075, extension_id="app", level="info", msg="hello")])
        print(store.sql("SELECT count(*) FROM records").fetchone())

A module imports only lower rows::

    cli
    collector
    store
    write_side | opening
    maintenance | ingest
    journal | database | views | seed_sqlite
    record | lock | bodies
    layout | units
    errors
    ==== blobs, which never imports tracestore ====
"""

from tracestore.errors import (
    InputInvalid,
    NotFound,
    PruneRefused,
    QueryInvalid,
    RecordInvalid,
    StoreBroken,
    StoreLocked,
    StoreNotFound,
    StoreUnavailable,
    TraceStoreError,
)
from tracestore.maintenance.retention import DEFAULT_RETENTION, RetentionPolicy
from tracestore.maintenance.summary import Damage, PruneSummary, VerifyReport
from tracestore.record import LogRecord, Record, SpanClose, SpanOpen, StoredRecord
from tracestore.store import InsertSummary, TraceStore

__all__ = [
    "DEFAULT_RETENTION",
    "Damage",
    "InputInvalid",
    "InsertSummary",
    "LogRecord",
    "NotFound",
    "PruneRefused",
    "PruneSummary",
    "QueryInvalid",
    "Record",
    "RecordInvalid",
    "RetentionPolicy",
    "SpanClose",
    "SpanOpen",
    "StoreBroken",
    "StoreLocked",
    "StoreNotFound",
    "StoreUnavailable",
    "StoredRecord",
    "TraceStore",
    "TraceStoreError",
    "VerifyReport",
]
