"""What anybody says about a span or log, as attributes of a record: flat, short, and nothing lost.

A text over 4 KB is a body of its own and its attribute says ``body:<digest>``; what is too much for
one record (names, counts) goes into one such body as JSON. Lists, maps and bytes become JSON text,
numbers that JSON does not know (``NaN``, ``Infinity``) their name.
"""

import base64
import math
from typing import Any, TypeAlias

import msgspec
from blake3 import blake3

from tracestore.record.kinds import Scalar
from tracestore.record.line import encode_json

Members: TypeAlias = dict[str, Any]
"""A record in the journal's JSON shape."""

TEXT_LIMIT_BYTES = 4096
"""Of one text, as UTF-8: what is longer is for reading, not for asking, and so a body."""
COUNT_LIMIT = 900
"""Attributes of one record; those that say where a body is come on top, and 1,000 is the end of all."""
MORE = "more_attributes"
_OWNER = ("timestamp", "extensionId", "conversationId", "turnId", "spanId")
_LINE_CHARACTERS = 200


class Flat(msgspec.Struct, gc=False):
    """Attributes as a record takes them, and the texts that became bodies: name and text each."""

    attributes: dict[str, Scalar] = {}
    spilled: list[tuple[str, str]] = []

    def add(self, name: str, value: Any) -> None:
        """Add one attribute; beside the one of the same name where there is one."""
        put(self.attributes, name, self._scalar(name, value))

    def add_all(self, values: dict[str, Any]) -> None:
        """Add attributes of a span or log."""
        for name, value in values.items():
            self.add(name, value)

    def spill(self, name: str, text: str) -> str:
        """Set a text aside as a body; returns what its attribute says."""
        self.spilled.append((name, text))
        return f"body:{blake3(text.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def finished(self) -> dict[str, Scalar]:
        """Return the attributes, no more and no longer than a record may have."""
        attributes = self.attributes
        long = [name for name in attributes if is_long(name)]
        if not long and len(attributes) <= COUNT_LIMIT:
            return attributes
        kept = [name for name in attributes if not is_long(name)][:COUNT_LIMIT]
        more = {name: attributes[name] for name in attributes.keys() - set(kept)}
        found = {name: attributes[name] for name in kept}
        put(found, MORE, self.spill(MORE, json_text(dict(sorted(more.items())))))
        return found

    def _scalar(self, name: str, value: Any) -> Scalar:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else number_name(value)
        text = value if isinstance(value, str) else json_text(value, with_quotes=False)
        return self.spill(name, text) if is_long(text) else text


def with_attributes(record: Members, flat: Flat) -> list[Members]:
    """Return a record with attributes, and behind it a log for each text that became a body."""
    attributes = flat.finished()
    if attributes:
        record["attributes"] = attributes
    if not flat.spilled:
        return [record]
    owner = {key: record[key] for key in _OWNER if key in record}
    return [record] + [
        {"kind": "log", **owner, "level": "debug", "msg": first_line(name), "body": text}
        for name, text in flat.spilled
    ]


def first_line(value: Any) -> str:
    """Return what a line can show of a value."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json_text(value, with_quotes=False)
    return text[:_LINE_CHARACTERS].split("\n")[0]


def put(found: dict[str, Any], name: str, value: Any) -> None:
    """Add a value; under ``name#2`` where the name is taken, for a repeated key must not lose its value."""
    if name in found:
        taken, free = 1, 2
        while f"{name}#{free}" in found:
            taken, free = free, 2 * free
        while free - taken > 1:  # in steps of a logarithm: 20,000 times one key took 19 s, one after the other
            middle = (taken + free) // 2
            taken, free = (middle, free) if f"{name}#{middle}" in found else (taken, middle)
        name = f"{name}#{free}"
    found[name] = value


def is_long(text: str) -> bool:
    """Tell whether a text is over the limit of an attribute."""
    if len(text) * 4 <= TEXT_LIMIT_BYTES:
        return False
    return len(text) > TEXT_LIMIT_BYTES or len(text.encode("utf-8", "surrogatepass")) > TEXT_LIMIT_BYTES


def json_text(value: Any, *, with_quotes: bool = True) -> str:
    """Return a value as JSON; bytes as base64, alone and without quotes as the base64 itself."""
    if isinstance(value, bytes) and not with_quotes:
        return base64.b64encode(value).decode()
    text = encode_json(value).decode()
    if "null" in text:  # perhaps a number that JSON does not know; the walk costs more than the writing
        text = encode_json(_json_value(value)).decode()
    return text


def number_name(value: float) -> str:
    """Return what protobuf's JSON calls a number that JSON does not know."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return number_name(value)
    return value
