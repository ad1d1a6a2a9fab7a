"""What OTLP/HTTP answers: success, success in part, and google.rpc.Status; protobuf and JSON."""

from typing import Literal, TypeAlias

from tracestore.formats.otlp.content_type import PROTOBUF, is_json, media_type
from tracestore.record import encode_json

Kind: TypeAlias = Literal["traces", "logs", "metrics"]

_REJECTED: dict[Kind, str] = {
    "traces": "rejectedSpans", "logs": "rejectedLogRecords", "metrics": "rejectedDataPoints",
}  # fmt: skip
_VARINT, _BYTES = 0, 2


def success(kind: Kind, content_type: str, rejected: int = 0, message: str = "") -> bytes:
    """Return the body of a 200: how many signals were rejected, and why."""
    is_whole = not rejected and not message
    if is_json(content_type):
        partial = {_REJECTED[kind]: str(rejected), "errorMessage": message}
        return encode_json({} if is_whole else {"partialSuccess": partial})
    return b"" if is_whole else _bytes_field(1, _integer_field(1, rejected) + _text_field(2, message))


def failure(content_type: str, code: int, message: str) -> bytes:
    """Return the body of an error, a google.rpc.Status; ``code`` is one of google.rpc.Code."""
    if media_type(content_type) != PROTOBUF:  # JSON for whoever sent neither: people can read it
        return encode_json({"code": code, "message": message})
    return _integer_field(1, code) + _text_field(2, message)


def _integer_field(number: int, value: int) -> bytes:
    return bytes([number << 3 | _VARINT]) + _varint(value) if value else b""


def _text_field(number: int, text: str) -> bytes:
    return _bytes_field(number, text.encode("utf-8", "backslashreplace")) if text else b""


def _bytes_field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
