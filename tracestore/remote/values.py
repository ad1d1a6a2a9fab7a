"""Values of SQL and of records in JSON, exactly: the other side gets the same, of the same type.

JSON has text, numbers of any size, true, false, null, lists, and objects with text for names. Anything
else is an object of one member, whose name begins with ``$``: ``{"$decimal": "1.20"}``. An object that
looks like one, or whose names are not all text, is a list of pairs: ``{"$dict": [[1, "a"]]}``. Lone
surrogates, NaN and infinity pass as Python's `json` writes them.
"""

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_TO_JSON: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode()),
    date: ("$date", date.isoformat),
    datetime: ("$datetime", datetime.isoformat),
    Decimal: ("$decimal", str),
    time: ("$time", time.isoformat),
    timedelta: ("$timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    tuple: ("$tuple", lambda value: [to_json(item) for item in value]),
    UUID: ("$uuid", str),
}
_FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "$bytes": base64.b64decode,
    "$date": date.fromisoformat,
    "$datetime": datetime.fromisoformat,
    "$decimal": Decimal,
    "$dict": lambda pairs: {from_json(name): from_json(value) for name, value in pairs},
    "$time": time.fromisoformat,
    "$timedelta": lambda parts: timedelta(*parts),
    "$tuple": lambda items: tuple(from_json(item) for item in items),
    "$uuid": UUID,
}
_PLAIN = frozenset({str, int, float, bool, type(None)})


def to_json(value: Any) -> Any:
    """Return what stands for a value in JSON."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        if any(type(name) is not str or name.startswith("$") for name in value):
            return {"$dict": [[to_json(name), to_json(item)] for name, item in value.items()]}
        return {name: to_json(item) for name, item in value.items()}
    if type(value) in _TO_JSON:
        name, written = _TO_JSON[type(value)]
        return {name: written(value)}
    return str(value)  # a type of DuckDB's that Python has no word for


def from_json(value: Any) -> Any:
    """Return the value that stands there."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if len(value) == 1:
        (name, held), = value.items()
        if name in _FROM_JSON:
            return _FROM_JSON[name](held)
    return {name: from_json(item) for name, item in value.items()}
