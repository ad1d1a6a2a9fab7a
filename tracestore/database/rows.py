"""Records to columns and back.

Out: one Arrow table a batch, which DuckDB scans without copying; `executemany` and row-wise
VALUES reach less than a hundredth of its speed. Back: one row to one StoredRecord.

A record that typed columns cannot hold exactly carries its own JSON in ``exact``; its text columns
then hold a replacement character where a lone surrogate stood, so that SQL always works.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeAlias

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

_plain_of = attrgetter(*_PLAIN)

Identity: TypeAlias = bytes

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

COLUMNS = """
    seq, record_id::VARCHAR, epoch_ns(timestamp), kind, extension_id, conversation_id, turn_id, span_id, parent_span_id,
    name, level, msg, duration_ms, status, attributes, links, extra, producer_id, body_digest,
    body_size_bytes, exact
"""
SELECT = f"SELECT {COLUMNS} FROM raw.records"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A record about to be inserted, with the identity that was worked out for it."""

    line: Line
    record_id: bytes
    content_hash: int | None
    body_digest: Digest | None
    offset: int = 0
    """Where its line stands in its segment."""

    @property
    def identity(self) -> Identity:
        """Time and record id in one: two rows with the same are one record."""
        return identity_of(self.line.timestamp_ns, self.record_id)


def identity_of(timestamp_ns: int, record_id: bytes) -> Identity:
    """Return the identity of the record of this id at this time."""
    return timestamp_ns.to_bytes(8, "big") + record_id


def table_of(rows: Sequence[Row], first_seq: int) -> arrow.Table:
    """Lay out rows as an Arrow table, numbered from ``first_seq`` on."""
    columns = zip(*[_values(row) for row in rows], strict=True)
    arrays: dict[str, Any] = {
        name: arrow.Array(values, type=type_) for (name, type_), values in zip(_TYPES.items(), columns, strict=True)
    }
    arrays["seq"] = arrow.Array(range(first_seq, first_seq + len(rows)), type=_INTEGER)
    return arrow.Table.from_pydict(arrays)


def _values(row: Row) -> Sequence[Any]:
    """Return what goes into the columns of one row, in the order of ``_TYPES``."""
    line, record = row.line, row.line.record
    promoted = promote(record.attributes)
    values = (
        row.record_id,
        line.timestamp_ns,
        *_plain_of(record),
        *map(promoted.get, PROMOTED),
        _json(record.attributes),
        _json(record.links),
        _json(line.extra),
        row.content_hash,
        row.body_digest,
        None if line.body is None else len(line.body),
        line.exact,
    )
    return values if line.exact is None else [_unicode(*one) for one in zip(_TYPES, values, strict=True)]


def wanted_table(rows: Sequence[Row]) -> arrow.Table:
    """Lay out the identities of rows, each with its place among them."""
    return arrow.Table.from_pydict(
        {
            "place": arrow.Array(range(len(rows)), type=_INTEGER),
            "timestamp_ns": arrow.Array([row.line.timestamp_ns for row in rows], type=_INTEGER),
            "record_id": arrow.Array([row.record_id for row in rows], type=_TYPES["record_id"]),
        }
    )


def stored_records(rows: Sequence[Sequence[Any]]) -> list[StoredRecord]:
    """Build records from rows of ``COLUMNS``, by time and then as inserted, their bodies still to be fetched.

    The rows of a turn are few: sorting them here is a millisecond cheaper than in SQL.
    """
    return [_stored_record(row) for row in sorted(rows, key=lambda row: (row[2], row[0]))]


def _stored_record(row: Sequence[Any]) -> StoredRecord:
    (_seq, record_id, timestamp_ns, *plain, attributes, links, extra, producer_id, digest, size_bytes, exact) = row
    record = StoredRecord(
        record_id=record_id,
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


def _unicode(name: str, value: Any) -> Any:
    """Replace the lone surrogates of a value, which no text column takes."""
    if not isinstance(value, str):
        return value
    if name in ("attributes", "links", "extra"):  # in JSON they are escapes, which would break people's queries
        value = json.dumps(json.loads(value), ensure_ascii=False)
    return column_text(value)


def column_text(text: str) -> str:
    """Return a text as its column holds it: a replacement character for each lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
