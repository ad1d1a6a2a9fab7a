"""Values of any kind, as an application holds them, as what a record can hold. Nothing here raises."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from tracestore.record import Scalar, text_of

_SCALARS = frozenset((str, float, bool, type(None)))
_KEPT = (bytes, bytearray, memoryview, Decimal)
_INTEGER_BITS = 1024
"""Of an integer that is written as a number: no double holds a longer one, and few readers do."""


def text(value: object) -> str:
    """Return a text: ``str`` of what is none, and the name of its type where that fails."""
    if type(value) is str:
        return value
    try:
        return str.__str__(value if isinstance(value, str) and not isinstance(value, Enum) else str(value))
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


def builtins(value: object) -> Any:
    """Return what JSON can say of a value, as mappings, lists and scalars; bytes and decimals as they are."""
    try:
        return _held(value)
    except Exception:  # it holds itself, or fails when it is asked what it holds
        return text(value)


def scalar(value: object, masked: Callable[[object], object]) -> Scalar:
    """Return a value of an attribute: a scalar as it is, of an enumeration its value, anything else as JSON.

    ``masked`` is asked for what becomes JSON, in which names and bytes are no longer to be seen.
    """
    if type(value) in _SCALARS:
        return value  # type: ignore[return-value]  # its type was looked up
    if isinstance(value, Enum):
        return scalar(value.value, masked)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if number.bit_length() <= _INTEGER_BITS else hex(number)
    if isinstance(value, float):
        return float.__float__(value)
    encoded = json_of(masked(value))
    return encoded[1:-1] if _is_plain_text(encoded) else encoded


def attributes(values: object, masked: Callable[[object], object]) -> dict[str, Scalar]:
    """Return flat attributes, as `scalar` does; what is no mapping becomes one named ``attributes``."""
    if values is None:
        return {}
    try:
        if isinstance(values, Mapping):
            return {text(name): scalar(value, masked) for name, value in values.items()}
    except Exception:  # a mapping that fails when it is asked what it holds
        return {"attributes": text(values)}
    return {"attributes": scalar(values, masked)}


def body(value: object, masked: Callable[[bytes], bytes]) -> str | bytes:
    """Return a body: text as it is, bytes as text where they are text, anything else as JSON.

    ``masked`` is asked for bytes that become base64, in which a secret is no longer to be seen.
    """
    if type(value) is str:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        content = text_of(bytes(value))
        return masked(content) if isinstance(content, bytes) else content
    if isinstance(value, str):
        return text(value)
    try:
        return json_of(_with_bytes(builtins(value), masked))
    except RecursionError:  # JSON may be deeper than a function may call itself
        return text(value)


def _with_bytes(value: Any, masked: Callable[[bytes], bytes]) -> Any:
    """Return builtins whose bytes have been masked."""
    if isinstance(value, dict):
        return {name: _with_bytes(item, masked) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_bytes(item, masked) for item in value]
    return masked(bytes(value)) if isinstance(value, bytes | bytearray | memoryview) else value


def _held(value: object) -> Any:
    """Return what a value holds; the text of what JSON does not know.

    msgspec is given no hook for that. The application's own code, or that of another thread, would run in
    it while msgspec walks a list or mapping, and crash the process if it took something out of one.
    """
    try:
        return msgspec.to_builtins(value, builtin_types=_KEPT, str_keys=True)
    except TypeError:  # it, or something in it, is none that msgspec knows
        if isinstance(value, Mapping):
            return {text(name): _held(item) for name, item in list(value.items())}
        if isinstance(value, Sequence | Set) and not isinstance(value, str):
            return [_held(item) for item in list(value)]
        if callable(getattr(type(value), "model_dump", None)):  # of pydantic, as what clients of OpenAI return
            return _held(value.model_dump(mode="json"))  # type: ignore[attr-defined]
        names = _names_of_fields(type(value))
        return {name: _held(getattr(value, name)) for name in names} if names else text(value)


def _names_of_fields(kind: type) -> Iterable[str]:
    """Return the names of what a dataclass, or a class of attrs or msgspec, holds; of any other none."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return [field.name for field in getattr(kind, "__attrs_attrs__", ())] or getattr(kind, "__struct_fields__", ())


def _is_plain_text(encoded: str) -> bool:
    """Tell whether JSON is a text without escapes: a time, an id, base64."""
    return encoded[:1] == '"' == encoded[-1:] and len(encoded) > 1 and "\\" not in encoded and '"' not in encoded[1:-1]


_encode = msgspec.json.Encoder(enc_hook=text, decimal_format="number").encode
