"""What an id on the command line names."""

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from tracestore.record import StoredRecord
    from tracestore.store import TraceStore


def find_record(store: "TraceStore", id_: str) -> "StoredRecord | None":
    """Return the record of an id, its body not fetched; None where it is not one of this store."""
    try:
        return store.reader.record(UUID(id_))
    except ValueError:
        return None  # not even the form of a record id


def find_records(store: "TraceStore", id_: str) -> "list[StoredRecord]":
    """Return the record of an id, or all records of a span of that id."""
    record = find_record(store, id_)
    return store.reader.span(id_) if record is None else [record]
