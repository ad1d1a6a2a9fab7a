"""Values of a SQL result as JSON and as text.

===================  ===============================================================
bytes                hexadecimal, as digests are written everywhere
time                 ISO 8601; times in a store are UTC
decimal              a JSON number where a double holds it exactly, else text
NaN, infinity        null, because JSON has neither; in text as they are
interval             text, ``1 day, 2:00:00``
JSON column          the JSON itself, not text that holds it
===================  ===============================================================
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any


def jsonable(value: Any) -> Any:
    """Return what stands in JSON for a value that `json` does not know."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        number = float(value)
        return number if math.isfinite(number) and Decimal(repr(number)) == value else str(value)
    return str(value)


def json_row(columns: Sequence[str], types: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Return a row as a JSON object; a column name that comes again gets a number."""
    members: dict[str, Any] = {}
    for name, type_, value in zip(columns, types, row, strict=True):
        key, count = name, 1
        while key in members:
            count += 1
            key = f"{name}_{count}"
        members[key] = json_value(value, type_)
    return members


def json_value(value: Any, type_: str) -> Any:
    """Return a value of a SQL type as `json` may write it, with `jsonable` for what that does not know."""
    return _finite(_parsed(value) if type_ == "JSON" else value)


def cell_text(value: Any) -> str:
    """Return a value as a cell of a table or of CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return json.dumps(_finite(value), default=jsonable, ensure_ascii=False)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return str(value) if isinstance(value, float | Decimal) else str(jsonable(value))


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):  # more digits or parts inside one another than Python reads
        return value


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for, at any depth; keys become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def utc_text(when: datetime, timespec: str = "microseconds") -> str:
    """Write a time of the store, which has no zone because all are UTC."""
    return when.isoformat(timespec=timespec) + "Z"


def utc_text_of_ns(when_ns: int) -> str:
    """Write a time in nanoseconds since 1970, none of them lost."""
    seconds, rest_ns = divmod(when_ns, 1_000_000_000)
    fraction = f"{rest_ns:09}".rstrip("0").ljust(3, "0")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"
