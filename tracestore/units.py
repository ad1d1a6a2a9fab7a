"""Durations, sizes and times as people write and read them.

Reading is exact and strict; writing is short and rounds. Both know the same quantities:

=========  ==============================================================================
duration   ``ms s m h d w``, lower case, joined from large to small: ``7d``, ``1h30m``,
           ``1.5h``. A plain number is milliseconds; as text it is refused, unless it is 0,
           for who types ``7`` means days and would keep nothing.
size       ``b k M G T`` in steps of 1024, as this project prints them (and ``ls -h``);
           ``KiB MiB GiB TiB`` likewise; ``kB MB GB TB`` are decimal, as on the box of a
           disk. Upper or lower case. A plain number is bytes.
time       a date with or without a time, UTC unless it says otherwise: ``2026-11-20``,
           ``2026-11-20T15:00``; or a duration back from now. Only read.
=========  ==============================================================================

A fraction of a millisecond or byte is cut off, but never down to nothing: a limit that a typing
error turned into 0 would delete everything. Zero has to be written as zero.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tracestore.errors import InputInvalid

_DURATION_UNITS_MS = {
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_SIZE_UNITS_BYTES = {
    "": 1,
    "b": 1,
    **{letter: 1024**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
}

_LIMIT = 2**63 - 1
"""What a 64-bit column holds; as milliseconds 292 million years, as bytes 8 EiB."""
_TEXT_LIMIT = 64
"""Characters of a quantity: longer is a pasted mistake, and long numbers take long to read."""
_PRINTABLE_BITS = 4096
"""Python refuses to print integers beyond 4,300 digits (14,000 bits)."""

_EARLIEST, _LATEST = datetime(1970, 1, 1), datetime(2262, 4, 11, 23, 47, 16, 854775)
"""Times of records are within these, in 64 bits of nanoseconds; one outside selects the same as the next within."""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PLAIN = re.compile(_NUMBER)
_DURATION = re.compile(rf"(?:{_NUMBER}\s*(?:ms|[wdhms])\s*)+")
_DURATION_PART = re.compile(rf"({_NUMBER})\s*(ms|[wdhms])")
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]*)")

_DURATION_WANTED = "a duration such as '7d', '36h', '1h30m', '250ms', with its unit"
_SIZE_WANTED = "a size such as '256MiB', '4GB', '10k', or bytes as a number"


def parse_duration_ms(value: str | int | float) -> int:
    """Read a duration; anything else, negative or beyond 64 bits, raises InputInvalid."""
    if not isinstance(value, str):
        return _whole(_exact(value, _DURATION_WANTED), value, _DURATION_WANTED)
    text = _stripped(value, _DURATION_WANTED)
    if _PLAIN.fullmatch(text) and not Fraction(text):
        return 0
    if not _DURATION.fullmatch(text):
        raise _invalid(value, _DURATION_WANTED)
    parts = _DURATION_PART.findall(text)
    order = [list(_DURATION_UNITS_MS).index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        raise _invalid(value, f"{_DURATION_WANTED}, each unit once and larger ones first")
    total_ms = sum((Fraction(number) * _DURATION_UNITS_MS[unit] for number, unit in parts), Fraction())
    return _whole(total_ms, value, _DURATION_WANTED)


def parse_size_bytes(value: str | int | float) -> int:
    """Read a size; anything else, negative or beyond 64 bits, raises InputInvalid."""
    if not isinstance(value, str):
        return _whole(_exact(value, _SIZE_WANTED), value, _SIZE_WANTED)
    match = _SIZE.fullmatch(_stripped(value, _SIZE_WANTED).lower())
    if not match or match[2] not in _SIZE_UNITS_BYTES:
        raise _invalid(value, _SIZE_WANTED)
    return _whole(Fraction(match[1]) * _SIZE_UNITS_BYTES[match[2]], value, _SIZE_WANTED)


def parse_since(text: str, name: str, now: datetime | None = None) -> datetime:
    """Read a time as a store has it, in UTC without a zone; InputInvalid says what ``name`` was wanted to be."""
    now = now or datetime.now(UTC)
    try:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            when = now - timedelta(milliseconds=parse_duration_ms(text))
        utc = when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
        return min(max(utc, _EARLIEST), _LATEST)
    except (InputInvalid, OverflowError) as error:
        wanted = "a duration such as 1h or 2d, or a date such as 2026-11-20 or 2026-11-20T15:00"
        raise InputInvalid(f"{name}: wanted {wanted}, found {text!r:.80}") from error


def format_duration_ms(duration_ms: float | None) -> str:
    """Write a duration: ``42ms``, ``1.5s``, ``2m5s``, ``1h0m``, ``3d4h``.

    Two units at most, each below its roll-over. Under a second three digits: ``0.37ms``,
    ``12.3ms``. Clocks that went backwards keep their sign; what is no number is ``?``.
    """
    if duration_ms is None or (isinstance(duration_ms, float) and not math.isfinite(duration_ms)):
        return "?"
    if duration_ms < 0:
        written = format_duration_ms(-duration_ms)
        return written if written == "0ms" else f"-{written}"
    if duration_ms < 1000:
        written = _three_digits(abs(float(duration_ms)))  # abs, because -0.0 is not below 0
        if written != "1000":
            return f"{written}ms"
    # A fraction cannot matter any more: every rounding border below is a whole millisecond.
    return _format_from_a_second(max(int(duration_ms), 1000))


def format_size_bytes(size_bytes: int) -> str:
    """Write a size in steps of 1024: ``3b``, ``2.1k``, ``1.5M``, ``4.0G``, ``1.2T``."""
    if size_bytes < 0:
        return f"-{format_size_bytes(-size_bytes)}"
    if size_bytes < 1024:
        return f"{size_bytes}b"
    for power, letter in enumerate("kMGT", start=1):
        tenths = _rounded(size_bytes * 10, 1024**power)
        if tenths < 10_240 or letter == "T":
            break
    return f"{tenths // 10}.{tenths % 10}{letter}"


def _format_from_a_second(whole_ms: int) -> str:
    tenths = _rounded(whole_ms, 100)
    if tenths < 600:
        return f"{tenths // 10}.{tenths % 10}s"
    seconds = _rounded(whole_ms, 1000)
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60}s"
    minutes = _rounded(whole_ms, 60_000)
    if minutes < 1440:
        return f"{minutes // 60}h{minutes % 60}m"
    hours = _rounded(whole_ms, 3_600_000)
    return f"{hours // 24}d{hours % 24}h"


def _rounded(number: int, step: int) -> int:
    """Divide, halves upwards, in whole numbers: no float can land beside a border."""
    return (2 * number + step) // (2 * step)


def _three_digits(number: float) -> str:
    """Write 0 <= number < 1000 without an exponent or trailing zeros."""
    places = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    written = f"{number:.{places}f}"
    return written.rstrip("0").rstrip(".") if places else written


def _exact(value: object, wanted: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise _invalid(value, wanted)
    return Fraction(value)


def _is_finite(value: int | float) -> bool:
    # math.isfinite raises for an int beyond the range of a float.
    return isinstance(value, int) or math.isfinite(value)


def _stripped(value: str, wanted: str) -> str:
    text = value.strip()
    if not text or len(text) > _TEXT_LIMIT:
        raise _invalid(value, wanted)
    return text


def _whole(exact: Fraction, value: object, wanted: str) -> int:
    whole = math.floor(exact)
    if exact < 0 or whole > _LIMIT:
        raise _invalid(value, f"{wanted}, between 0 and 2^63-1")
    if exact > 0 and whole == 0:
        raise _invalid(value, f"{wanted}, at least 1 or exactly 0")
    return whole


def _invalid(value: object, wanted: str) -> InputInvalid:
    if isinstance(value, int) and value.bit_length() > _PRINTABLE_BITS:
        found = f"an integer of {value.bit_length()} bits"
    else:
        found = repr(value)
    if len(found) > _TEXT_LIMIT + 20:
        found = found[:_TEXT_LIMIT] + "..."
    return InputInvalid(f"wanted {wanted}; found {found}")
