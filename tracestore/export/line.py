"""One stored record as one journal line: a collector makes the same record of it.

The columns do not tell whether a duration was written ``100`` or ``100.0``, and a record's identity
depends on it; so the way is taken that gives the identity back.
"""

import base64
from contextlib import suppress
from typing import Any
from uuid import UUID

from tracestore.errors import RecordInvalid
from tracestore.journal.chunk import LINE_LIMIT_BYTES
from tracestore.record import BodyState, StoredRecord, content_hash, decode_line, encode_json, record_id


def journal_line(record: StoredRecord, stored_hash: int | None, body: bytes | BodyState | None) -> bytes:
    """Write a record as a line with its end; ``body`` may say why there is none, None is not asked for.

    A record without the body that it had says ``bodyDigest``, ``bodySizeBytes`` and the reason as
    ``bodyState``, which a collector keeps as extra keys. ``stored_hash`` is its content hash.
    """
    members = record.to_json_dict()
    if record.duration_ms is not None and float(record.duration_ms).is_integer():
        members["durationMs"] = _duration_as_written(record, stored_hash, members)
    if isinstance(body, bytes):
        return _line_with_body(members, body)
    if record.body_digest is not None:
        members |= {"bodyDigest": record.body_digest, "bodySizeBytes": record.body_size_bytes}
        members |= {} if body is None else {"bodyState": body}
    return encode_json(members) + b"\n"


def _line_with_body(members: dict[str, Any], body: bytes) -> bytes:
    """Write the body as text where it is Unicode, which alone is sure to give the same bytes back."""
    with suppress(UnicodeDecodeError):
        line = encode_json(members | {"body": body.decode()}) + b"\n"
        if len(line) <= LINE_LIMIT_BYTES:  # a control character takes six bytes, in base64 less than two
            return line
    return encode_json(members | {"body": base64.b64encode(body).decode(), "bodyEncoding": "base64"}) + b"\n"


def _duration_as_written(record: StoredRecord, stored_hash: int | None, members: dict[str, Any]) -> int | float:
    whole: int | float = members["durationMs"]
    digest = None if record.body_digest is None else bytes.fromhex(record.body_digest)
    for duration_ms in (whole, float(whole), -float(whole)):  # the last is for -0.0
        try:
            line = decode_line(encode_json(members | {"durationMs": duration_ms}))
        except RecordInvalid:  # stored by a release with other limits
            break
        if record.producer_id is None:
            is_same = record_id(line, digest) == UUID(record.record_id).bytes
        else:
            is_same = content_hash(line, digest) == stored_hash
        if is_same:
            return duration_ms
    return whole
