"""What a request would become in memory, before it is decoded: how many values it holds.

Two bytes of protobuf are an empty span, which takes 500 bytes and 5 µs: 64 MiB of them, 64 KB when zipped,
would take 18 GB and minutes. So the values are counted first, where a request is large enough to
hold too many. Texts hardly count: a request of LLM spans is mostly text, and skipped in large steps.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from tracestore.errors import InputInvalid

VALUES_LIMIT = 500_000
"""8,192 spans, the largest batch that is common, with 60 values each. So many take 300 MB and 3 s."""
_SMALL_BYTES = 256
"""Parts of at most this size are not looked into, as long as all of them together cannot hold too many."""
_JSON_MARKS = 4
"""Opening brackets and commas, outside of texts, that JSON has for each value: ``{"key":"a","value":{...}},``."""

Fields = dict[int, "str | None"]
"""Of a message: number of each field that is a message or a text; the name of the message."""


def check_protobuf(data: bytes, request: Any) -> None:
    """Refuse a request, by its generated class, of more than VALUES_LIMIT messages and texts."""
    if len(data) <= 2 * VALUES_LIMIT:  # each takes two bytes or more
        return
    fields = _fields_of(request.DESCRIPTOR)
    name = request.DESCRIPTOR.full_name
    if _weight(data, name, fields, _SMALL_BYTES) > VALUES_LIMIT and _weight(data, name, fields, 0) > VALUES_LIMIT:
        raise _too_many()


def check_json(data: bytes) -> None:
    """Refuse JSON of more than about VALUES_LIMIT values."""
    limit = _JSON_MARKS * VALUES_LIMIT
    if len(data) <= limit or sum(map(data.count, (b"{", b"[", b","))) <= limit:
        return
    # Texts may hold as many: only what is outside of them counts.
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if unescaped.count(b'"') > 2 * limit:
        raise _too_many()
    if sum(part.count(mark) for part in unescaped.split(b'"')[::2] for mark in (b"{", b"[", b",")) > limit:
        raise _too_many()


def _weight(data: bytes, name: str, fields: dict[str, Fields], small_bytes: int) -> int:
    """Count messages and texts, small messages by what they may hold; stops beyond the limit."""
    weight = 0
    waiting = [(0, len(data), name)]
    while waiting and weight <= VALUES_LIMIT:
        at, end, name = waiting.pop()
        known = fields[name]
        for number, start, stop in _delimited(data, at, end):
            if number not in known:
                continue
            weight += 1
            inner = known[number]
            if inner is not None and stop > start:
                if stop - start > small_bytes:
                    waiting.append((start, stop, inner))
                else:
                    weight += (stop - start) // 2
            if weight > VALUES_LIMIT:
                break
    return weight


def _delimited(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of a message that has a length; InputInvalid where it is none."""
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == 0:
            _, at = _varint(data, at, end)
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        elif wire == 2:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise _not_protobuf()
            yield tag >> 3, at, at + length
            at += length
        else:  # groups, which OTLP has none of, and what is no wire type
            raise _not_protobuf()


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _not_protobuf()


@cache
def _fields_of(descriptor: Any) -> dict[str, Fields]:
    """Return the fields of a message and of all that it holds, by their names."""
    found: dict[str, Fields] = {}
    waiting = [descriptor]
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            with_length = [field for field in message.fields if field.message_type or field.type in _TEXTS]
            found[message.full_name] = {
                field.number: field.message_type.full_name if field.message_type else None for field in with_length
            }
            waiting += [field.message_type for field in with_length if field.message_type]
    return found


_TEXTS = (9, 12)  # TYPE_STRING, TYPE_BYTES


def _too_many() -> InputInvalid:
    return InputInvalid(f"body: wanted at most {VALUES_LIMIT} values, found more; send fewer spans in a request")


def _not_protobuf() -> InputInvalid:
    return InputInvalid("body: wanted protobuf of OTLP, found bytes that are not; send it again as it was encoded")
