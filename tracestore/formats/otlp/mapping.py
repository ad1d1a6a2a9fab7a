"""Signals to records: a span to `span-open` and `span-close`, its events and all logs to `log`.

The same request always gives the same records, so that a retry makes no second row: a record has
no id of its own, it is known by its content. What is content goes into bodies (`content.py`), what
is long into a `log` of its own (`attributes.py`), all else into attributes under its own name.
"""

from collections.abc import Iterable

import msgspec

from tracestore.errors import InputInvalid
from tracestore.formats.otlp.entries import of_entry
from tracestore.formats.otlp.records import ReadRef, Repeats, Shared
from tracestore.formats.otlp.signals import LogEntry, Span
from tracestore.formats.otlp.spans import of_span
from tracestore.record import encode_line
from tracestore.record.attributes import Members
from tracestore.record.limits import BODY_LIMIT_BYTES

_REASONS_LIMIT = 10
_SMALL_CHARACTERS = 1024 * 1024
_FEW_ATTRIBUTES = 200
"""Even if JSON writes each character as six bytes, a record of no more than these fits into a line."""


class Mapped(msgspec.Struct, gc=False):
    """Records in the journal's JSON shape, how many signals were rejected, and the first reasons."""

    records: list[Members] = []
    rejected: int = 0
    reasons: list[str] = []

    def reject(self, reason: str) -> None:
        """Count one signal that cannot be kept."""
        self.rejected += 1
        if len(self.reasons) < _REASONS_LIMIT and reason not in self.reasons:
            self.reasons.append(reason)


def map_traces(spans: Iterable[Span], read_ref: ReadRef | None = None) -> Mapped:
    """Map spans; ``read_ref`` reads content that is elsewhere, and its None leaves the reference alone."""
    mapped, shared = Mapped(), Shared()
    for span in spans:
        try:
            mapped.records += _checked(of_span(span, shared, read_ref))
        except InputInvalid as error:
            mapped.reject(str(error))
    return mapped


def map_logs(entries: Iterable[LogEntry], read_ref: ReadRef | None = None) -> Mapped:
    """Map log entries; ``read_ref`` as in `map_traces`."""
    mapped, shared, repeats = Mapped(), Shared(), Repeats()
    for entry in entries:
        try:
            records = _checked(of_entry(entry, shared, read_ref))
        except InputInvalid as error:
            mapped.reject(str(error))
            continue
        repeats.tell(records[0])
        mapped.records += records
    return mapped


def _checked(records: list[Members]) -> list[Members]:
    """Refuse a signal of which a record would not fit into a line."""
    for record in records:
        texts = (record.get("body"), record.get("name"), record.get("msg"), record["extensionId"])
        is_small = sum(len(text) for text in texts if text) <= _SMALL_CHARACTERS
        if is_small and len(record.get("attributes", ())) <= _FEW_ATTRIBUTES and "links" not in record:
            continue
        size_bytes = len(encode_line(record))
        if size_bytes > BODY_LIMIT_BYTES:
            raise InputInvalid(f"signal: wanted records of at most {BODY_LIMIT_BYTES} bytes, found {size_bytes}")
    return records
