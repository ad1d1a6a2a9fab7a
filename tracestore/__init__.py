"""tracestore: the flight recorder for LLM applications.

Verbatim bodies kept once, metadata in DuckDB for SQL, retention that really returns disk, and
nothing acknowledged is ever lost::

    with TraceStore("traces") as store:
        store.insert_records([LogRecord(timestamp=1772413967075, extension_id="app", level="info", msg="hello")])
        print(store.sql("SELECT count(*) FROM records").fetchone())

A module imports only lower rows::

    __main__
    cli
    serve
    collector
    store
    remote
    export | maintenance | capture
    ingest
    journal | database | views
    formats
    record | directory
    layout | units
    errors
    ==== blobs, which never imports tracestore ====
"""

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from tracestore.maintenance.retention import DEFAULT_RETENTION, RetentionPolicy
    from tracestore.maintenance.summary import (
        Damage,
        ForgetReport,
        Mend,
        PackReport,
        PruneSummary,
        RepairReport,
        VerifyReport,
    )
    from tracestore.record import LogRecord, Record, SpanClose, SpanOpen, StoredRecord
    from tracestore.store import TraceStore
    from tracestore.store.write_side import InsertSummary

__all__ = [
    "DEFAULT_RETENTION",
    "Damage",
    "ForgetReport",
    "InputInvalid",
    "InsertSummary",
    "LogRecord",
    "Mend",
    "NotFound",
    "PackReport",
    "PruneRefused",
    "PruneSummary",
    "QueryInvalid",
    "Record",
    "RecordInvalid",
    "RepairReport",
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

_HOMES = {
    "tracestore.maintenance.retention": ("DEFAULT_RETENTION", "RetentionPolicy"),
    "tracestore.maintenance.summary": (
        "Damage", "ForgetReport", "Mend", "PackReport", "PruneSummary", "RepairReport", "VerifyReport",
    ),
    "tracestore.record": ("LogRecord", "Record", "SpanClose", "SpanOpen", "StoredRecord"),
    "tracestore.store": ("TraceStore",),
    "tracestore.store.write_side": ("InsertSummary",),
}
"""Where the names live that are loaded when they are first asked for.

Loading them all takes 110 ms; `tracestore --help` needs none of them.
"""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
