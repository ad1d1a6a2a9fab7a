"""Defects of the seed system in the easy view, absent here: see `tests/pipeline/test_seed_defects.py`."""

import sys
from collections import Counter

import pytest


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [(59_960, "1m0s"), (119_960, "2m0s"), (3_599_960, "1h0m"), (0.30000000000000004, "0.3ms"), (59_949, "59.9s")],
)
def test_easy_view_durations_roll_over(memory_store, make, duration_ms, shown):
    """easy view: `60.0s`, `1m60s`, `60m0s`, raw floats, NaN."""
    memory_store.insert_records([make.opened("s", turnId="t"), make.closed("s", turnId="t", durationMs=duration_ms)])
    assert memory_store.easy_view("t").strip() == f"- step {shown}"


def test_easy_view_children_are_sorted_at_every_level(memory_store, make, now_ms):
    """easy view: children below the root unsorted."""
    about = {"turnId": "t"}
    memory_store.insert_records([
        make.opened("a", now_ms, **about), make.opened("b", now_ms + 1, "mid", parentSpanId="a", **about),
        make.log(now_ms + 9, "second", parentSpanId="b", **about),
        make.log(now_ms + 5, "first", parentSpanId="b", **about),
    ])  # fmt: skip
    lines = [line.strip() for line in memory_store.easy_view("t").splitlines()]
    assert lines == ["- step (open)", "- mid (open)", "- first", "- second"]


def test_easy_view_cycles_are_shown(memory_store, make):
    """easy view: cycles vanish."""
    memory_store.insert_records([make.opened("a", name="one", parentSpanId="b", turnId="t"),
                                 make.opened("b", name="two", parentSpanId="a", turnId="t")])  # fmt: skip
    view = memory_store.easy_view("t")
    assert "one" in view
    assert "two" in view


def test_easy_view_a_close_before_its_open_closes_it(memory_store, make, now_ms):
    """easy view: a close sorted before its open shows `(open)`."""
    memory_store.insert_records([make.closed("s", now_ms, turnId="t"), make.opened("s", now_ms, turnId="t")])
    assert memory_store.easy_view("t").strip() == "- step 100ms"


def test_easy_view_one_event_is_one_line(memory_store, make):
    """easy view: newlines and escape codes in `msg` break one line per event."""
    memory_store.insert_records([make.log(turnId="t", msg="a\nb\r\x1b[31mred\u2028c\x85d")])
    view = memory_store.easy_view("t").rstrip("\n")
    assert len(view.splitlines()) == 1
    assert view.isprintable()


def test_easy_view_is_linear_in_spans(memory_store, make, now_ms):
    """easy view: quadratic in spans."""
    calls = {}
    for count in (500, 4000):
        turn = f"t{count}"
        memory_store.insert_records(
            [make.opened(f"{turn}-{n}", now_ms + n, turnId=turn, parentSpanId=f"{turn}-{n - 1}") for n in range(count)]
        )
        assert memory_store.stats()["records"] >= count  # what was inserted becomes rows here
        seen = Counter()
        sys.setprofile(lambda frame, event, argument, seen=seen: seen.update([event]))
        try:
            view = memory_store.easy_view(turn)
        finally:
            sys.setprofile(None)
        assert len(view.splitlines()) == count
        calls[count] = seen.total()
    assert calls[4000] < calls[500] * 8 * 1.1


def test_easy_view_reads_no_body(store, make, monkeypatch):
    """easy view: decompresses every body only to print its size."""
    store.insert_records(make.turn("t", request="x" * 2150))
    monkeypatch.setattr(store._blobs, "get", lambda digest: 1 / 0)
    assert "[body 2.1k]" in store.easy_view("t")


def test_easy_view_a_log_with_a_span_hangs_below_it(memory_store, make, now_ms):
    """easy view: a log with `spanId` but no parent hangs at the root."""
    memory_store.insert_records([make.opened("s", turnId="t"), make.log(now_ms + 1, "inside", turnId="t", spanId="s")])
    assert memory_store.easy_view("t").splitlines()[1].startswith("  - inside")


def test_easy_view_links_are_shown(memory_store, make):
    """easy view: links never shown."""
    links = [{"spanId": "other-span", "turnId": "other-turn", "reason": "caused"}]
    memory_store.insert_records([make.opened("s", turnId="t", links=links)])
    assert "other-span" in memory_store.easy_view("t")
