"""The easy view, against golden texts in tests/views/golden and against random trees."""

import math
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracestore.views import render_easy_view

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    timestamp_ns: int
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    level: str | None = None
    msg: str | None = None
    duration_ms: float | None = None
    status: str | None = None
    attributes: Mapping[str, str | int | float | bool | None] | None = None
    links: Sequence[Mapping[str, str]] | None = None
    body_size_bytes: int | None = None


def log(at_ms: int, msg: str, level: str = "info", parent: str | None = None, **fields: Any) -> Event:
    return Event("log", at_ms * 1_000_000, parent_span_id=parent, msg=msg, level=level, **fields)


def opened(at_ms: int, span_id: str, name: str = "step", parent: str | None = None, **fields: Any) -> Event:
    return Event("span-open", at_ms * 1_000_000, span_id, parent, name, **fields)


def closed(at_ms: int, span_id: str, took_ms: float | None, status: str = "ok", **fields: Any) -> Event:
    return Event("span-close", at_ms * 1_000_000, span_id, duration_ms=took_ms, status=status, **fields)


def span(at_ms: int, span_id: str, took_ms: float, name: str = "step", **fields: Any) -> list[Event]:
    return [opened(at_ms, span_id, name, **fields), closed(at_ms + int(took_ms), span_id, took_ms)]


TURN = [
    opened(0, "turn", "turn", attributes={"user": "u-1", "stream": True, "retries": None, "hidden": 4}),
    log(1, "started"),
    opened(5, "req", "provider.request", parent="turn", attributes={"model": "m-1"}, body_size_bytes=2100),
    log(7, "a warning", "warn", parent="req"),
    closed(1805, "req", 1800, attributes={"tokens": 1200, "model": "m-1-fast"}, body_size_bytes=1_572_864),
    opened(1810, "tool", "tool.call", parent="turn", links=[{"spanId": "req", "reason": "asked by"}]),
    log(1811, "payload", "debug", span_id="tool", body_size_bytes=3),
    closed(1910, "tool", 100, "error"),
    opened(1920, "crashed", parent="turn"),
    *span(1930, "stray", 5, "late", parent="expired"),
    opened(1940, "loop-1", "chicken", parent="loop-2"),
    opened(1941, "loop-2", "egg", parent="loop-1"),
    log(1950, "two\nlines and \x1b[31mred", "error", parent="turn"),
    closed(125_000, "turn", 125_000),
]

GOLDEN_EVENTS = {
    "empty": [],
    "nested": [
        opened(1000, "parent"),
        opened(1100, "child", "tool.call", parent="parent"),
        log(1200, "executing", parent="child"),
        closed(1500, "child", 400, parent_span_id="parent"),
        closed(2800, "parent", 1800),
    ],
    "error": [opened(1000, "s1", "failing-step"), closed(1100, "s1", 100, "error")],
    "body": span(1000, "s1", 100, "prompt", body_size_bytes=2100),
    "open": [opened(1000, "s1")],
    "warning": [log(600, "a warning", "warn")],
    "payload": [log(500, "payload", "debug", body_size_bytes=3)],
    "around": [
        opened(1000, "s1"),
        log(1200, "inside step", parent="s1"),
        closed(2800, "s1", 1800),
        log(3000, "after step"),
    ],
    "close_without_open": [closed(1000, "orphan", 100), log(2000, "real")],
    "attributes": [
        opened(1000, "s1", "request", attributes={"model": "gpt-4", "method": "POST", "status": 200}),
        closed(1500, "s1", 500, attributes={"fourth": 4}),
    ],
    "turn": TURN,
}


@pytest.mark.parametrize("name", GOLDEN_EVENTS)
def test_a_turn_is_written_as_in_its_golden_text(name: str) -> None:
    golden = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert render_easy_view(GOLDEN_EVENTS[name]) == golden.removesuffix("\n")


def test_every_golden_text_is_used() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(GOLDEN_EVENTS)


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(59_990, "1m0s"), (119_600, "2m0s"), (3_599_999, "1h0m"), (0.12345, "0.123ms"), (math.nan, "?")],
)
def test_durations_roll_over_and_are_always_readable(duration_ms: float, text: str) -> None:
    """Seed defect `easy view`: `60.0s`, `1m60s`, `60m0s`, raw floats, NaN."""
    assert render_easy_view([opened(0, "s"), closed(1, "s", duration_ms)]) == f"- step {text}"


def test_children_are_sorted_by_time_at_every_level() -> None:
    """Seed defect `easy view`: children below the root unsorted."""
    events = [
        *span(0, "a", 900, "a"),
        *span(10, "b", 800, "b", parent="a"),
        *span(60, "c3", 1, "third", parent="b"),
        log(50, "second", parent="b"),
        *span(40, "c1", 1, "first", parent="b"),
    ]
    names = [line.split()[1] for line in render_easy_view(events).split("\n")]
    assert names == ["a", "b", "first", "second", "third"]


def test_events_of_the_same_nanosecond_keep_the_order_of_insertion() -> None:
    events = [log(5, "1"), *span(5, "s", 0, "2"), log(5, "3"), *span(5, "t", 0, "4")]
    assert render_easy_view(events) == "- 1\n- 2 0ms\n- 3\n- 4 0ms"


def test_a_cycle_is_shown_once_at_its_earliest_span() -> None:
    """Seed defect `easy view`: cycles vanish."""
    events = [
        *span(0, "leaf", 1, "leads-in", parent="b"),
        *span(20, "b", 1, "b", parent="a"),
        *span(30, "c", 1, "c", parent="b"),
        *span(10, "a", 1, "a", parent="c"),
        log(40, "inside", parent="c"),
    ]
    assert render_easy_view(events).split("\n") == [
        "- a 1ms (cycle through c)",
        "  - b 1ms",
        "    - leads-in 1ms",
        "    - c 1ms",
        "      - inside",
    ]


def test_a_span_that_is_its_own_parent_is_shown() -> None:
    """Seed defect `easy view`: cycles vanish."""
    assert render_easy_view(span(0, "s", 1, parent="s")) == "- step 1ms (cycle through s)"


def test_a_close_before_its_open_still_closes_it() -> None:
    """Seed defect `easy view`: a close sorted before its open shows `(open)`."""
    events = [closed(0, "s", 40, "error", body_size_bytes=3), opened(5, "s", body_size_bytes=2100)]
    assert render_easy_view(events) == "- step 40ms ERR [body 3b]"
    assert render_easy_view(events[::-1]) == "- step 40ms ERR [body 3b]"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x00\x7f\x85\x9b31m", r"\x00\x7f\x85\x9b31m"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\u202egpj.exe\u2066", r"a\u202egpj.exe\u2066"),
        ("\ufeffx\U000e0041", r"\ufeffx\U000e0041"),
        ("half \ud83d", r"half \ud83d"),
        ("C:\\new \u00e9 \U0001f600 \u4e16", "C:\\new \u00e9 \U0001f600 \u4e16"),
    ],
)
def test_one_event_stays_one_line_whatever_its_texts_hold(text: str, written: str) -> None:
    """Seed defect `easy view`: newlines and escape codes in `msg` break one line per event."""
    link = [{"spanId": text, "turnId": text, "reason": text}]
    events = [log(0, text, parent=text), *span(1, "s", 1, text, attributes={text: text}, links=link)]
    assert render_easy_view(events).split("\n") == [
        f"- {written} (orphan of {written})",
        f'- {written} 1ms {{{written}="{written}"}} -> {written}/{written} ({written})',
    ]
    render_easy_view(events).encode("utf-8")


def test_a_log_with_a_span_but_no_parent_hangs_under_its_span() -> None:
    """Seed defect `easy view`: log with `spanId` but no parent hangs at the root."""
    assert render_easy_view([*span(0, "s", 9), log(1, "in", span_id="s")]) == "- step 9ms\n  - in"


def test_a_log_whose_span_is_not_in_the_turn_hangs_under_its_parent_span() -> None:
    events = [*span(0, "s", 9), log(1, "in", span_id="gone", parent="s")]
    assert render_easy_view(events) == "- step 9ms\n  - in"


def test_a_log_of_a_known_span_with_a_known_parent_hangs_under_the_span() -> None:
    events = [*span(0, "p", 9), *span(1, "s", 5, parent="p"), log(2, "in", span_id="s", parent="p")]
    assert render_easy_view(events) == "- step 9ms\n  - step 5ms\n    - in"


def test_an_event_whose_parents_are_not_in_the_turn_is_shown_at_the_root_and_says_so() -> None:
    logs = [log(1, "in", span_id="x", parent="y"), log(2, "on", span_id="z")]
    events = [*span(0, "s", 9, parent="p"), *logs]
    assert render_easy_view(events) == "- step 9ms (orphan of p)\n- in (orphan of y)\n- on (orphan of z)"


def test_links_are_shown_behind_the_body() -> None:
    """Seed defect `easy view`: links never shown."""
    to_turn = {"spanId": "a1", "turnId": "t0", "reason": "answers the question of yesterday"}
    events = [
        opened(0, "s", links=[to_turn, {"spanId": "b2"}], attributes={"k": 1}, body_size_bytes=3),
        closed(5, "s", 5, links=[{"spanId": "b2"}, {"spanId": "c3"}, {"spanId": "d4"}, {"reason": "lost"}]),
    ]
    expected = "- step 5ms {k=1} [body 3b] -> t0/a1 (answers the quest...), b2, c3, +2"
    assert render_easy_view(events) == expected
    assert render_easy_view([log(0, "m", links=[{"reason": "lost"}])]) == "- m -> ? (lost)"


def test_a_resent_open_duplicates_neither_the_span_nor_its_children() -> None:
    events = [*span(0, "s", 9), opened(0, "s"), log(1, "in", parent="s"), closed(9, "s", 9)]
    assert render_easy_view(events) == "- step 9ms\n  - in"


def test_two_spans_under_one_id_are_shown_as_the_earliest_and_said_to_be_two() -> None:
    earlier = opened(0, "s", "first", attributes={"k": 1})
    events = [*span(5, "s", 9, "second"), earlier, log(6, "in", parent="s")]
    assert render_easy_view(events) == "- first 9ms {k=1} (opened 2x)\n  - in"


def test_a_captured_call_shows_its_model_then_why_it_failed_or_its_tokens() -> None:
    asked = {"provider": "openai", "requestBytes": 65, "model": "m", "http.request.method": "POST"}
    events = [
        opened(0, "good", "provider.request", attributes=asked),
        closed(5, "good", 5, attributes={"http.response.status_code": 200, "inputTokens": 9, "outputTokens": 2}),
        opened(10, "bad", "provider.request", attributes=asked),
        closed(15, "bad", 5, "error", attributes={"http.response.status_code": 429, "error.message": "HTTP 429: slow"}),
    ]
    assert render_easy_view(events).splitlines() == [
        '- provider.request 5ms {model="m", inputTokens=9, outputTokens=2}',
        '- provider.request 5ms ERR {model="m", error.message="HTTP 429: slow", provider="openai"}',
    ]


def test_attributes_are_merged_and_the_first_three_shown_in_json_notation() -> None:
    events = [
        opened(0, "s", attributes={"a": 1, "b": True}),
        closed(5, "s", 5, attributes={"c": None, "a": 0.5, "d": "never"}),
    ]
    assert render_easy_view(events) == "- step 5ms {a=0.5, b=true, c=null}"
    odd = {"nan": math.nan, "inf": -math.inf, "big": 2**70}
    expected = f"- step (open) {{nan=NaN, inf=-Infinity, big={2**70}}}"
    assert render_easy_view([opened(0, "s", attributes=odd)]) == expected


def test_a_string_is_cut_by_its_characters_before_they_are_escaped() -> None:
    texts = {"20": "\n" * 20, "21": "é" * 21}
    expected = '- step (open) {20="' + r"\n" * 20 + '", 21="' + "é" * 17 + '..."}'
    assert render_easy_view([opened(0, "s", attributes=texts)]) == expected


def test_of_an_exporters_attributes_those_that_tell_something_are_shown() -> None:
    sent = {"otlp.flags": 256, "llm.system": "openai", "llm.token_count.prompt": 7, "llm.model_name": "m-1"}
    events = [opened(0, "s"), closed(5, "s", 5, attributes={**sent, "x": 1, "resource.service.name": "app"})]
    shown = '{llm.model_name="m-1", llm.token_count.prompt=7, llm.system="openai"}'
    assert render_easy_view(events) == f"- step 5ms {shown}"


def test_attributes_of_a_log_are_not_shown() -> None:
    assert render_easy_view([log(0, "m", attributes={"k": 1})]) == "- m"


def test_spans_without_an_id_stay_apart() -> None:
    close = Event("span-close", 2, duration_ms=1)
    events = [Event("span-open", 0, name="a"), Event("span-open", 1, name="b"), close]
    assert render_easy_view(events) == "- a (open)\n- b (open)"


@pytest.mark.parametrize("shape", ["chain", "wide", "cycle"])
def test_50_000_spans_take_seconds_in_any_shape(shape: str) -> None:
    """Seed defect `easy view`: quadratic in spans; and a deep chain must not end in a RecursionError."""
    parents = {"chain": lambda i: f"{i - 1}", "wide": lambda i: "0", "cycle": lambda i: f"{(i - 1) % 50_000}"}
    events = [opened(i, f"{i}", parent=parents[shape](i)) for i in range(50_000)]
    events += [closed(i, f"{i}", 1) for i in range(50_000)]
    started_s = time.perf_counter()
    text = render_easy_view(events)
    assert time.perf_counter() - started_s < 10, "0.5 s expected: something is quadratic"
    assert text.count("\n") == 49_999


def test_below_100_levels_a_line_tells_its_level() -> None:
    events = [opened(i, f"{i}", parent=f"{i - 1}") for i in range(1, 105)]
    lines = render_easy_view(events).split("\n")
    assert lines[100] == " " * 200 + "- step (open)"
    assert lines[103] == " " * 200 + "- (level 103) step (open)"


_ids = st.sampled_from([None, "a", "b", "c", "d", "e", "f", "g", "\n"])
_texts = st.none() | st.text(st.characters(exclude_categories=[]), max_size=30)
_link_keys = st.sampled_from(["spanId", "turnId", "reason"])
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
_events = st.builds(
    Event,
    kind=st.sampled_from(["log", "span-open", "span-close"]),
    timestamp_ns=st.integers(0, 20),
    span_id=_ids,
    parent_span_id=_ids,
    name=_texts,
    level=st.sampled_from([None, "debug", "info", "warn", "error"]),
    msg=_texts,
    duration_ms=st.none() | st.floats(),
    status=st.sampled_from([None, "ok", "error"]),
    attributes=st.none() | st.dictionaries(st.text(max_size=5), _scalars, max_size=5),
    links=st.none() | st.lists(st.dictionaries(_link_keys, st.text(max_size=5))),
    body_size_bytes=st.none() | st.integers(0, 2**63),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_events, max_size=25))
def test_any_records_give_one_printable_line_for_each_event(events: list[Event]) -> None:
    text = render_easy_view(events)
    spans = {event.span_id for event in events if event.kind == "span-open" and event.span_id is not None}
    nameless = [event for event in events if event.kind == "span-open" and event.span_id is None]
    logs = [event for event in events if event.kind == "log"]
    lines = text.split("\n") if text else []
    assert len(lines) == len(spans) + len(nameless) + len(logs)
    assert all(line.lstrip(" ").startswith("-") for line in lines)
    assert text.splitlines() == lines
    assert not {unicodedata.category(char) for line in lines for char in line} & {"Cc", "Cs", "Zl", "Zp"}
