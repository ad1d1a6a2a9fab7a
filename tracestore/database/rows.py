"""Records to columns and back.

Out: one Arrow table a batch, which DuckDB scans without copying; `executemany` and row-wise
VALUES reach less than a hundredth of its speed. Back: one row to one StoredRecord.

A record that typed columns cannot hold exactly carries its own JSON in ``exact``; its text columns
then hold a replacement character where a lone surrogate stood, so that SQL always works.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import arro3.core as arrow
import msgspec

from blobs import Digest
from tracestore.database.promoted import COLUMNS as PROMOTED
from tracestore.database.promoted import promote
from tracestore.record import KEYS, Line, StoredRecord, encode_json, line_of, milliseconds_of

_TEXT = arrow.DataType.string()
_INTEGER = arrow.DataType.int64()
_BINARY = arrow.DataType.binary()

_PLAIN = (
    "kind", "extension_id", "conversation_id", "turn_id", "span_id", "parent_span_id",
    "name", "level", "msg", "duration_ms", "status", "producer_id",
)  # fmt: skip
"""Fields whose column holds what the record holds."""

_TYPES: dict[str, Any] = {
    "record_id": arrow.DataType.binary(16),
    "timestamp_ns": _INTEGER,
    "seq": _INTEGER,
    **{name: arrow.DataType.float64() if name == "duration_ms" else _TEXT for name in _PLAIN},
    **{column: _INTEGER if column.endswith("_tokens") else _TEXT for column in PROMOTED},
    "attributes": _TEXT,
    "links": _TEXT,
    "extra": _TEXT,
    "content_hash": arrow.DataType.uint64(),
    "body_digest": _BINARY,
    "body_size_bytes": _INTEGER,
    "exact": _BINARY,
}

POSITION_COLUMNS = (
    "segment_id", "path", "device", "inode", "offset", "head_bytes", "head_digest", "tail_bytes", "tail_digest",
)  # fmt: skip

INSERT = """
INSERT INTO raw.records
SELECT record_id::UUID, make_timestamp_ns(timestamp_ns), make_timestamp_ns($inserted_at_ns), seq, kind,
    extension_id, conversation_id, turn_id, span_id, parent_span_id, name, level, msg, duration_ms, status,
    provider, model, tool, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
    attributes, links, extra, producer_id, content_hash, body_digest, body_size_bytes, exact
FROM batch
"""

SELECT = """
SELECT seq, record_id, epoch_ns(timestamp), kind, extension_id, conversation_id, turn_id, span_id, parent_span_id,
    name, level, msg, duration_ms, status, attributes, links, extra, producer_id, body_digest,
    body_size_bytes, exact
FROM raw.records
"""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A record about to be inserted, with the identity that was worked out for it."""

    line: Line
    record_id: bytes
    content_hash: int | None
    body_digest: Digest | None

    @property
    def identity(self) -> tuple[int, bytes]:
        """Time in nanoseconds and record id: two rows with the same are one record."""
        return self.line.timestamp_ns, self.record_id


def table_of(rows: Sequence[Row], first_seq: int) -> arrow.Table:
    """Lay out rows as an Arrow table in the order of ``INSERT``."""
    columns = _columns(rows, first_seq)
    for index, row in enumerate(rows):
        if row.line.exact is not None:
            _make_unicode(columns, index)
    return arrow.Table.from_pydict(
        {name: arrow.Array(columns[name], type=type_) for name, type_ in _TYPES.items()}
    )


def _columns(rows: Sequence[Row], first_seq: int) -> dict[str, list[Any]]:
    records = [row.line.record for row in rows]
    promoted = [promote(record.attributes) for record in records]
    return {
        "record_id": [row.record_id for row in rows],
        "timestamp_ns": [row.line.timestamp_ns for row in rows],
        "seq": list(range(first_seq, first_seq + len(rows))),
        **{name: [getattr(record, name, None) for record in records] for name in _PLAIN},
        **{name: [found.get(name) for found in promoted] for name in PROMOTED},
        "attributes": [_json(record.attributes) for record in records],
        "links": [_json(record.links) for record in records],
        "extra": [_json(row.line.extra) for row in rows],
        "content_hash": [row.content_hash for row in rows],
        "body_digest": [row.body_digest for row in rows],
        "body_size_bytes": [None if row.line.body is None else len(row.line.body) for row in rows],
        "exact": [row.line.exact for row in rows],
    }


def stored_records(rows: Sequence[Sequence[Any]]) -> list[StoredRecord]:
    """Build records from rows of ``SELECT``, by time and then as inserted, their bodies still to be fetched.

    The rows of a turn are few: sorting them here is a millisecond cheaper than in SQL.
    """
    return [_stored_record(row) for row in sorted(rows, key=lambda row: (row[2], row[0]))]


def _stored_record(row: Sequence[Any]) -> StoredRecord:
    (_seq, record_id, timestamp_ns, *plain, attributes, links, extra, producer_id, digest, size_bytes, exact) = row
    record = StoredRecord(
        record_id=str(record_id),
        timestamp_ns=timestamp_ns,
        timestamp=milliseconds_of(timestamp_ns),
        **dict(zip(_PLAIN[:-1], plain, strict=True)),
        attributes=json.loads(attributes) if attributes is not None else None,
        links=json.loads(links) if links is not None else None,
        extra=json.loads(extra, parse_float=Decimal) if extra is not None else {},
        producer_id=producer_id,
        body_digest=digest.hex() if digest is not None else None,
        body_size_bytes=size_bytes,
    )
    if record.duration_ms is not None and float(record.duration_ms).is_integer():
        record.duration_ms = int(record.duration_ms)
    if exact is not None:
        _restore(record, json.loads(exact, parse_float=Decimal))
    return record


def _restore(record: StoredRecord, members: dict[str, Any]) -> None:
    """Put back the values that typed columns had to change."""
    exact = line_of(members).record
    for name in _PLAIN:
        setattr(record, name, getattr(exact, name, None))
    record.timestamp = members["timestamp"]
    record.attributes, record.links = exact.attributes, exact.links
    record.extra = {key: members[key] for key in members if key not in KEYS[record.kind]}


def _json(value: Any) -> str | None:
    return None if value is None else encode_json(value).decode()


def _make_unicode(columns: dict[str, list[Any]], index: int) -> None:
    """Replace the lone surrogates of one row, which no text column takes."""
    for name in ("attributes", "links", "extra"):
        if columns[name][index] is not None:  # in JSON they are escapes, which would break people's queries
            columns[name][index] = json.dumps(json.loads(columns[name][index]), ensure_ascii=False)
    for values in columns.values():
        if isinstance(values[index], str):
            values[index] = column_text(values[index])


def column_text(text: str) -> str:
    """Return a text as its column holds it: a replacement character for each lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
