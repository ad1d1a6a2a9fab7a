import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracestore.errors import InputInvalid
from tracestore.units import format_duration_ms, format_size_bytes, parse_duration_ms, parse_since, parse_size_bytes

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("7d", 7 * DAY),
        ("36h", 36 * HOUR),
        ("90m", 90 * MINUTE),
        ("30s", 30_000),
        ("250ms", 250),
        ("1h30m", 90 * MINUTE),
        ("2w", 14 * DAY),
        ("1d2h3m4s5ms", DAY + 2 * HOUR + 3 * MINUTE + 4_005),
        ("1.5h", 90 * MINUTE),
        ("0.1s", 100),
        (" 7 d ", 7 * DAY),
        ("1h 30m", 90 * MINUTE),
        ("0", 0),
        ("0s", 0),
        ("1.0015s", 1001),
        (1500, 1500),
        (0, 0),
        (1500.9, 1500),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_a_duration_is_read_exactly(text: str | int | float, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("256MiB", 256 * 1024**2),
        ("4GB", 4_000_000_000),
        ("10k", 10 * 1024),
        ("10K", 10 * 1024),
        ("10kB", 10_000),
        ("10KiB", 10 * 1024),
        ("1.5M", 3 * 1024**2 // 2),
        ("1.5g", 3 * 1024**3 // 2),
        ("2TiB", 2 * 1024**4),
        ("2TB", 2 * 1000**4),
        ("3b", 3),
        ("3B", 3),
        (" 256 MiB ", 256 * 1024**2),
        ("1024", 1024),
        ("0", 0),
        (1024, 1024),
        (0, 0),
        ("0.3k", 307),
    ],
)
def test_a_size_is_read_exactly(text: str | int, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


NEVER_A_QUANTITY = [
    "",
    " ",
    "-1",
    "-7d",
    "+7d",
    "nan",
    "inf",
    "1e3",
    "1_000",
    "seven",
    "7 days",
    "7y",
    "7d!",
    "d",
    "1.",
    ".5",
    "1,5",
    "0x10",
    "٧",
    "1\n2",
    "9" * 5000,
    "99999999999999999999",
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -0.5,
    0.5,
    True,
    False,
    None,
    b"7",
    [7],
    10**5000,
    2**63,
    1e300,
]


@pytest.mark.parametrize("parse", [parse_duration_ms, parse_size_bytes])
@pytest.mark.parametrize("value", NEVER_A_QUANTITY, ids=lambda value: ascii(type(value).__name__))
def test_what_is_no_quantity_is_refused_in_one_short_line(parse: object, value: object) -> None:
    """Seed defect `prune`: NaN, null and negative limits wipe or ignore."""
    with pytest.raises(InputInvalid, match=r"^wanted a (duration|size) such as .*; found ") as raised:
        parse(value)  # type: ignore[operator]  # wrong types on purpose
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("text", ["30m1h", "1h1h", "7D", "1h30", "1h-30m", "256MiB", "0.4ms", "0.00000001d"])
def test_a_duration_out_of_order_twice_or_unclear_is_refused(text: str) -> None:
    with pytest.raises(InputInvalid, match=re.escape(f"found {text!r}")):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["7d", "10kk", "10ib", "1k1k", "0.5b", "10 M B", "10XB"])
def test_a_size_of_unknown_unit_is_refused(text: str) -> None:
    with pytest.raises(InputInvalid, match=re.escape(f"found {text!r}")):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0ms"),
        (42, "42ms"),
        (999, "999ms"),
        (1000, "1.0s"),
        (1500, "1.5s"),
        (1800, "1.8s"),
        (60_000, "1m0s"),
        (90_000, "1m30s"),
        (125_000, "2m5s"),
    ],
)
def test_a_duration_is_written_as_the_seed_tests_it(duration_ms: int, text: str) -> None:
    assert format_duration_ms(duration_ms) == text
    assert format_duration_ms(float(duration_ms)) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (999.4, "999ms"),
        (999.5, "1.0s"),
        (999.99, "1.0s"),
        (59_949, "59.9s"),
        (59_950, "1m0s"),
        (59_999, "1m0s"),
        (119_499, "1m59s"),
        (119_500, "2m0s"),
        (3_599_499, "59m59s"),
        (3_599_500, "1h0m"),
        (3_600_000, "1h0m"),
        (DAY - 30_001, "23h59m"),
        (DAY - 30_000, "1d0h"),
        (3 * DAY + 4 * HOUR, "3d4h"),
        (2 * DAY - 1, "2d0h"),
    ],
)
def test_a_duration_rolls_over(duration_ms: float, text: str) -> None:
    """Seed defect `easy view`: `60.0s`, `1m60s`, `60m0s`."""
    assert format_duration_ms(duration_ms) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0.37, "0.37ms"),
        (12.345678, "12.3ms"),
        (1.23456, "1.23ms"),
        (123.456, "123ms"),
        (0.1 + 0.2, "0.3ms"),
        (0.000_4, "0ms"),
        (100.0, "100ms"),
        (40.0, "40ms"),
        (9.999, "10ms"),
        (math.nan, "?"),
        (math.inf, "?"),
        (-math.inf, "?"),
        (None, "?"),
        (-5, "-5ms"),
        (-90_000, "-1m30s"),
        (-0.0, "0ms"),
        (-0.000_4, "0ms"),
    ],
)
def test_a_duration_that_is_no_plain_number_is_written_readably(duration_ms: float | None, text: str) -> None:
    """Seed defect `easy view`: raw floats, NaN."""
    assert format_duration_ms(duration_ms) == text


@given(st.floats() | st.integers(-(2**70), 2**70))
def test_no_duration_is_written_with_a_full_unit(duration_ms: float) -> None:
    written = format_duration_ms(duration_ms)
    below_60 = r"[1-5]?\d"
    forms = [r"\d{1,3}(\.\d{1,3})?ms", rf"{below_60}\.\ds", rf"{below_60}m{below_60}s"]
    forms += [rf"[12]?\dh{below_60}m", r"\d+d[12]?\dh"]
    assert re.fullmatch(rf"\?|-?({'|'.join(forms)})", written), written
    if hours := re.search(r"(\d+)h", written):
        assert int(hours[1]) < 24


@given(st.integers(1000, 10**13), st.integers(0, 10**9))
def test_a_longer_duration_is_never_written_as_a_shorter_one(duration_ms: int, more_ms: int) -> None:
    shorter, longer = format_duration_ms(duration_ms), format_duration_ms(duration_ms + more_ms)
    assert parse_duration_ms(shorter) <= parse_duration_ms(longer)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0b"),
        (3, "3b"),
        (1023, "1023b"),
        (1024, "1.0k"),
        (2100, "2.1k"),
        (1024**2 - 52, "1023.9k"),
        (1024**2 - 51, "1.0M"),
        (1024**2 - 1, "1.0M"),
        (3 * 1024**2 // 2, "1.5M"),
        (1024**3 - 1, "1.0G"),
        (4 * 1024**3, "4.0G"),
        (1024**4, "1.0T"),
        (5000 * 1024**4, "5000.0T"),
        (-2100, "-2.1k"),
    ],
)
def test_a_size_is_written_in_steps_of_1024(size_bytes: int, text: str) -> None:
    assert format_size_bytes(size_bytes) == text


@given(st.integers(0, 2**62))
def test_a_written_size_reads_back_within_its_rounding(size_bytes: int) -> None:
    read_bytes = parse_size_bytes(format_size_bytes(size_bytes))
    assert abs(read_bytes - size_bytes) <= max(1, size_bytes * 0.05)


@pytest.mark.parametrize("text", ["7", "1500", "0.5"])
def test_a_duration_as_text_needs_its_unit(text: str) -> None:
    """Who types 7 means days; 7 ms as the age of a retention policy would keep nothing."""
    with pytest.raises(InputInvalid, match="with its unit"):
        parse_duration_ms(text)


class TestTimes:
    NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("text", "when"),
        [("1h30m", datetime(2026, 11, 20, 11)), ("0", datetime(2026, 11, 20, 12, 30)),
         ("2026-11-20", datetime(2026, 11, 20)), (" 2026-11-20T15:00 ", datetime(2026, 11, 20, 15)),
         ("2026-11-20T15:00+02:00", datetime(2026, 11, 20, 13)), ("2026-11-20T15:00Z", datetime(2026, 11, 20, 15)),
         ("0001-01-01", datetime(1970, 1, 1)), ("9999-12-31", datetime(2262, 4, 11, 23, 47, 16, 854775)),
         ("99999w", datetime(1970, 1, 1))],
    )  # fmt: skip
    def test_a_time_is_a_date_or_so_long_ago(self, text, when):
        assert parse_since(text, "since", self.NOW) == when

    @pytest.mark.parametrize("text", ["", "7", "yesterday", "20261", "9" * 30 + "d", "0001-01-01T00:00+10:00", "-1h"])
    def test_anything_else_is_no_time(self, text):
        with pytest.raises(InputInvalid, match="since: wanted a duration such as 1h or 2d, or a date"):
            parse_since(text, "since", self.NOW)
