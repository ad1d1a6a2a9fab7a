"""Values of any kind, as an application holds them, as what a record can hold. Nothing here raises."""

import json
from collections.abc import Mapping
from enum import Enum

import msgspec

from tracestore.record import Scalar, text_of

_SCALARS = frozenset((str, int, float, bool, type(None)))


def text(value: object) -> str:
    """Return a text: ``str`` of what is none, and the name of its type where that fails."""
    if type(value) is str:
        return value
    try:
        return str.__str__(value) if isinstance(value, str) and not isinstance(value, Enum) else str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def json_of(value: object) -> str:
    """Return JSON; what JSON does not know stands there as its text."""
    try:
        return _encode(value).decode()
    except Exception:  # lone surrogates, names that are no text, too deep: the standard library may know better
        try:
            return json.dumps(value, default=text)
        except Exception:
            return text(value)


def scalar(value: object) -> Scalar:
    """Return a value of an attribute: a scalar as it is, of an enumeration its value, anything else as JSON."""
    if type(value) in _SCALARS:
        return value  # type: ignore[return-value]  # its type was looked up
    if isinstance(value, Enum):
        return scalar(value.value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return json_of(value)


def attributes(values: object) -> dict[str, Scalar]:
    """Return flat attributes; what is no mapping becomes one named ``attributes``."""
    if not isinstance(values, Mapping):
        return {} if values is None else {"attributes": scalar(values)}
    return {text(name): scalar(value) for name, value in values.items()}


def body(value: object) -> str | bytes:
    """Return a body: text as it is, bytes as text where they are text, anything else as JSON."""
    if type(value) is str:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return text_of(bytes(value))
    return text(value) if isinstance(value, str) else json_of(value)


_encode = msgspec.json.Encoder(enc_hook=text, decimal_format="number").encode
