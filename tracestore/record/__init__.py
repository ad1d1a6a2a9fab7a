"""Records: the three kinds, their line of JSON, their id, and how they come back."""

from tracestore.record.identity import ID_BYTES, content_hash, milliseconds_of_id, record_id
from tracestore.record.kinds import KEYS, Attributes, LogRecord, Record, Scalar, SpanClose, SpanOpen
from tracestore.record.line import (
    NS_PER_MS,
    Line,
    decode_line,
    encode_json,
    encode_line,
    encode_members,
    line_of,
    members_of,
    milliseconds_of,
    text_of,
)
from tracestore.record.stored import BodyState, StoredRecord

__all__ = [
    "ID_BYTES",
    "KEYS",
    "NS_PER_MS",
    "Attributes",
    "BodyState",
    "Line",
    "LogRecord",
    "Record",
    "Scalar",
    "SpanClose",
    "SpanOpen",
    "StoredRecord",
    "content_hash",
    "decode_line",
    "encode_json",
    "encode_line",
    "encode_members",
    "line_of",
    "members_of",
    "milliseconds_of",
    "milliseconds_of_id",
    "record_id",
    "text_of",
]
