"""The record id: 128 bits, the same for the same record, written as a UUID.

Layout: 48 bits of the timestamp's milliseconds, so that ids sort by time and a lookup reads only
the rows of that millisecond; then 80 bits of BLAKE3 over the producer's own ``id`` where the line
has one, else over its canonical JSON (sorted keys, body replaced by its digest). So the same line
collected twice is one row, and two real events that read alike stay two when their producer
stamped them.
"""

import json
from decimal import Decimal

import msgspec
from blake3 import blake3

from tracestore.record.line import NS_PER_MS, Line, encode_json

ID_BYTES = 16
_HASH_BYTES = 10
_CONTENT_BYTES = 8

_encode_sorted = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def record_id(line: Line, body_digest: bytes | None) -> bytes:
    """Return the 16 bytes that name this record."""
    own_id = line.record.producer_id
    key = _canonical(line, body_digest) if own_id is None else b"id:" + own_id.encode("utf-8", "surrogatepass")
    milliseconds = (line.timestamp_ns // NS_PER_MS).to_bytes(ID_BYTES - _HASH_BYTES, "big")
    return milliseconds + blake3(key).digest(_HASH_BYTES)


def content_hash(line: Line, body_digest: bytes | None) -> int | None:
    """Return 64 bits over the content of a record that has an id of its own, else None.

    Such an id does not depend on the content, so this tells a resent record from a clash of ids.
    """
    if line.record.producer_id is None:
        return None
    return int.from_bytes(blake3(_canonical(line, body_digest)).digest(_CONTENT_BYTES), "big")


def milliseconds_of_id(record_id: bytes) -> int:
    """Return the milliseconds since the epoch that a record id begins with."""
    return int.from_bytes(record_id[: ID_BYTES - _HASH_BYTES], "big")


def _canonical(line: Line, body_digest: bytes | None) -> bytes:
    if line.exact is not None:
        members = json.loads(line.exact, parse_float=Decimal)
        return encode_json(members, with_sorted_keys=True) + (body_digest or b"")
    extra = encode_json(line.extra, with_sorted_keys=True) if line.extra else b""
    return b"\n".join((_encode_sorted(line.record), body_digest or b"", extra))
