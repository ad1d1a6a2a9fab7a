"""One line of NDJSON to a record and back, strict and without loss.

Read: msgspec decodes the ordinary line. A line it refuses, for an unknown key or for legal JSON
that it does not take (lone surrogates, which other JSON writers emit), is decoded by the standard
library and checked the same way. What fails both is RecordInvalid: the field, the wanted and the
found value.

A text body's bytes are its UTF-8, with lone surrogates passed through, so that every text and
every byte string has bytes of its own.
"""

import base64
import binascii
import json
import math
import re
import sys
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import msgspec

from tracestore.errors import RecordInvalid
from tracestore.record.kinds import KEYS, KINDS, LogRecord, Record, SpanClose, SpanOpen
from tracestore.record.limits import DEPTH_LIMIT, check_attributes, check_body, check_values

NS_PER_MS = 1_000_000
TIMESTAMP_LIMIT_MS = 2**63 // NS_PER_MS
EXACT_DOUBLE_LIMIT = 2**53
_NS_EXPONENT = -6
_ONE_NS = Decimal("0.000001")


class _Time(msgspec.Struct):
    timestamp: Decimal


_decode = msgspec.json.Decoder(Record).decode
_decode_time = msgspec.json.Decoder(_Time).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_encode_sorted = msgspec.json.Encoder(decimal_format="number", order="sorted").encode
_FOUND_SHOWN = 60
_CHOICES = {"level": "debug, info, warn, error", "status": "ok, error", "bodyEncoding": "base64"}
_PROBLEM = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*)`)?$", re.DOTALL)


class Line(msgspec.Struct, frozen=True, gc=False):
    """A record as it goes into the store.

    ``record`` has no body any more: ``body`` holds its bytes. ``extra`` are the keys no kind knows.
    ``exact`` is the record as ASCII JSON, without its body, where typed columns would change a
    value (lone surrogates, parts of a nanosecond, integers no double holds), else None.
    """

    record: Record
    timestamp_ns: int
    body: bytes | None
    extra: dict[str, Any] | None = None
    exact: bytes | None = None


def decode_line(data: bytes) -> Line:
    """Read one journal line, without its newline."""
    check_values(data)
    try:
        record = _decode(data)
        if isinstance(record.timestamp, float):  # it has a fraction, and a double loses its nanoseconds
            record.timestamp = _decode_time(data).timestamp
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line_of(_decode_by_standard_library(data))
    return _finish(record, None, is_unicode=True)  # msgspec took it, so no lone surrogate is in it


def line_of(members: Any) -> Line:
    """Read a record from a dict in the journal's JSON shape; ``body`` may also be bytes."""
    if not isinstance(members, dict):
        raise RecordInvalid(f"record: wanted an object, found {_shown(members)}")
    kind = members.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecordInvalid(f"kind: wanted one of {', '.join(KINDS)}, found {_shown(kind)}")
    _check_values({key: value for key, value in members.items() if key != "body"})
    known = {key: _plain(value, key) for key, value in members.items() if key in KEYS[kind]}
    if isinstance(known.get("body"), bytes):
        known |= {"body": base64.b64encode(known["body"]).decode(), "bodyEncoding": "base64"}
    timestamp = known.get("timestamp")
    if isinstance(timestamp, Decimal):
        known["timestamp"] = 0  # the conversion knows no Decimal here; the real value is set below
    try:
        record = _converted(known, KINDS[kind])
    except msgspec.ValidationError as error:
        raise RecordInvalid(_explained(str(error), known)) from error
    if isinstance(timestamp, Decimal):
        record.timestamp = timestamp
    extra = {key: value for key, value in members.items() if key not in known} or None
    return _finish(record, extra, is_unicode=False)


def _converted(members: dict[str, Any], kind: type[Record]) -> Record:
    """Convert a dict to a record; msgspec.ValidationError names what does not fit."""
    try:
        return msgspec.convert(members, kind)
    except UnicodeEncodeError as error:  # a text with lone surrogates where no text fits: this does not say where
        plain = {key: _with_placeholder(value, error.object) for key, value in members.items()}
        return msgspec.convert(plain, kind)


def _with_placeholder(value: Any, text: str) -> Any:
    if isinstance(value, list):
        return [_with_placeholder(item, text) for item in value]
    return "?" if value == text else value


def members_of(record: object) -> dict[str, Any]:
    """Turn a record object into a dict in the journal's JSON shape; absent fields are left out."""
    if not isinstance(record, LogRecord | SpanOpen | SpanClose):
        raise RecordInvalid(f"record: wanted a record or a dict, found {_shown(record)}")
    fields = ((field, getattr(record, field.name)) for field in msgspec.structs.fields(record))
    return {"kind": record.kind} | {field.encode_name: value for field, value in fields if value is not None}


def encode_line(members: Mapping[str, Any]) -> bytes:
    """Write a dict in the journal's JSON shape as one line, without its newline; it will be read back."""
    line = encode_members(members)
    check_values(line)
    return line


def encode_members(members: Mapping[str, Any]) -> bytes:
    """Write a line as `encode_line` does, of members that are known not to be too many."""
    if isinstance(members.get("body"), bytes):
        body = base64.b64encode(members["body"]).decode()
        members = {**members, "body": body, "bodyEncoding": "base64"}
    try:
        return encode_json(members)
    except (TypeError, ValueError) as error:
        raise RecordInvalid(f"record: wanted only what JSON can hold, found {error}") from error


def encode_json(value: Any, *, with_sorted_keys: bool = False) -> bytes:
    """Write JSON; a lone surrogate travels as its escape, which is all that ASCII can say of it."""
    try:
        return _encode_sorted(value) if with_sorted_keys else _encode(value)
    except UnicodeEncodeError:
        return _ascii_json(value, with_sorted_keys).encode("ascii")


def text_of(body: bytes) -> str | bytes:
    """Return a body as text where it is text, else as it is."""
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body


def milliseconds_of(timestamp_ns: int) -> int | Decimal:
    """Return a time in milliseconds, exactly: an int, or a Decimal where there is a fraction."""
    whole_ms, rest_ns = divmod(timestamp_ns, NS_PER_MS)
    return whole_ms if rest_ns == 0 else (Decimal(timestamp_ns) / NS_PER_MS).normalize()


def _finish(record: Record, extra: dict[str, Any] | None, *, is_unicode: bool) -> Line:
    """Take body and time out of a decoded record, and check what types alone do not say."""
    body = _body_bytes(record)
    if body is not None:
        check_body(body)
    check_attributes(record.attributes)
    timestamp_ns, is_whole = _timestamp_ns(record.timestamp)
    _check_links(record)
    exact = None
    if not (is_whole and _fits_double(record) and (is_unicode or _is_unicode(record, extra))):
        exact = encode_json(members_of(record) | (extra or {}))
    record.timestamp = milliseconds_of(timestamp_ns)
    return Line(record, timestamp_ns, body, extra, exact)


def _body_bytes(record: Record) -> bytes | None:
    body, encoding = record.body, record.body_encoding
    record.body = record.body_encoding = None
    if body is None:
        if encoding is not None:
            raise RecordInvalid("body: wanted base64 text beside bodyEncoding, found none")
        return None
    assert isinstance(body, str)  # bytes were encoded on the way in
    if encoding is None:
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordInvalid(f"body: wanted base64, found {error}") from error


def _timestamp_ns(timestamp: int | float | Decimal) -> tuple[int, bool]:
    """Return the time in nanoseconds, and whether that is all of it."""
    if isinstance(timestamp, float):
        timestamp = Decimal(repr(timestamp))
    if not 0 <= timestamp < TIMESTAMP_LIMIT_MS:
        limits = "milliseconds since 1970, before the year 2262"
        raise RecordInvalid(f"timestamp: wanted {limits}, found {_shown(timestamp)}")
    if isinstance(timestamp, int):
        return timestamp * NS_PER_MS, True
    whole = timestamp.quantize(_ONE_NS, ROUND_FLOOR)
    return int(whole.scaleb(-_NS_EXPONENT)), whole == timestamp


def _check_links(record: Record) -> None:
    for index, link in enumerate(record.links or ()):
        if not isinstance(link.get("spanId"), str):
            raise RecordInvalid(f"links[{index}].spanId: wanted str, found {_shown(link.get('spanId'))}")


def _fits_double(record: Record) -> bool:
    """Tell whether a column of doubles holds the duration exactly; one beyond all doubles is refused."""
    duration_ms = record.duration_ms if isinstance(record, SpanClose) else 0
    if abs(duration_ms) > sys.float_info.max:
        raise RecordInvalid(f"durationMs: wanted a number that a double can hold, found {_shown(duration_ms)}")
    return isinstance(duration_ms, float) or abs(duration_ms) <= EXACT_DOUBLE_LIMIT


def _is_unicode(record: Record, extra: dict[str, Any] | None) -> bool:
    """Tell whether text columns hold the record: no lone surrogate is in it."""
    try:
        _encode((record, extra))
    except UnicodeEncodeError:
        return False
    return True


def _decode_by_standard_library(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), parse_float=_decimal, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise RecordInvalid(f"line: wanted UTF-8, found {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise RecordInvalid(f"line: wanted at most {DEPTH_LIMIT} levels of nesting, found far more") from error
    except ValueError as error:
        raise RecordInvalid(f"line: wanted one JSON object, found {error}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is not JSON")


def _plain(value: Any, key: str) -> Any:
    """Bring numbers to the types that a line has: Decimal for time, float elsewhere."""
    if key == "timestamp":
        return value
    if isinstance(value, Decimal):
        return _float(value, key)
    if key == "attributes" and isinstance(value, dict):
        return {name: _plain(item, f"attributes.{name}") for name, item in value.items()}
    if key == "links" and isinstance(value, list):
        return [_plain(item, "attributes") for item in value]
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _float(value: Decimal, key: str) -> float:
    number = float(value)
    if abs(number) == float("inf"):
        raise RecordInvalid(f"{key}: wanted a number that a double can hold, found {value}")
    return number


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:  # an exponent of nineteen digits
        raise ValueError(f"a number of any size that can be written down, not {text:.40}") from error


def _ascii_json(value: Any, with_sorted_keys: bool) -> str:
    """Write JSON in ASCII, and numbers digit for digit: `json` would turn decimals into doubles."""
    if isinstance(value, dict):
        items = sorted(value.items()) if with_sorted_keys else value.items()
        return "{" + ",".join(f"{json.dumps(key)}:{_ascii_json(item, with_sorted_keys)}" for key, item in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_ascii_json(item, with_sorted_keys) for item in value) + "]"
    return json.dumps(value) if isinstance(value, str) else _encode(value).decode()


def _check_values(value: Any, path: str = "", levels: int = DEPTH_LIMIT) -> None:
    """Refuse what JSON would change in silence (NaN, bytes, keys that are no text) or nests too deeply."""
    if isinstance(value, dict | list | tuple):
        if not levels:
            raise RecordInvalid(f"line: wanted at most {DEPTH_LIMIT} levels of nesting, found more")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict) and not isinstance(key, str):
                raise RecordInvalid(f"{path or 'record'}: wanted names that are text, found {_shown(key)}")
            _check_values(item, f"{path}.{key}" if path else str(key), levels - 1)
    elif isinstance(value, float | Decimal):
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            raise RecordInvalid(f"{path}: wanted a finite number, found {value}")
    elif value is not None and not isinstance(value, str | int):
        raise RecordInvalid(f"{path}: wanted only what JSON can hold, found {_shown(value)}")


def _explained(problem: str, members: Mapping[str, Any]) -> str:
    """Say field, wanted and found of what msgspec found wrong."""
    match = _PROBLEM.match(problem)
    what, path = (match["what"], match["path"]) if match else (problem, None)
    missing = re.search(r"missing required field `(.*?)`", what)
    if missing:
        return f"{missing[1]}: wanted a value, found none"
    wanted = re.sub(r"^Expected ", "wanted ", re.sub(r", got .*$", "", what)).replace("`", "")
    field = re.split(r"[.\[]", path or "record")[0]
    found = members.get(field)
    if field in _CHOICES and isinstance(found, str):
        wanted = f"wanted one of {_CHOICES[field]}"
    if field == "attributes" and isinstance(found, dict):
        nested = [(key, item) for key, item in found.items() if isinstance(item, dict | list | tuple)]
        path, found = (f"attributes.{nested[0][0]}", nested[0][1]) if nested else (path, found)
    return f"{path or 'record'}: {wanted}, found {_shown(found)}"


def _shown(value: Any) -> str:
    try:
        text = "nothing" if value is None else f"{type(value).__name__} {value!r}"
    except (RecursionError, ValueError):  # nested as deeply as Python goes, or thousands of digits
        text = type(value).__name__
    return text if len(text) <= _FOUND_SHOWN else text[: _FOUND_SHOWN - 3] + "..."
