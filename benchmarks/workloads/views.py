"""A turn with its bodies, and the easy view: of ordinary turns in large stores, and of one of 10,000 spans."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from benchmarks.baselines import sqlite_text
from benchmarks.baselines.lines import PLAIN
from benchmarks.corpora.journal import START_MS, Clock, Record, to_json, write_lines
from benchmarks.corpora.texts import pieces
from benchmarks.harness import Bar, Figure, Options, at_most, interleave, p50, ratios, times_ms
from benchmarks.journals import collect, store_of_many
from tracestore import TraceStore

SAMPLE = 200
TURN_BAR_MS = {1_000_000: 5.0, 8_000_000: 15.0}
LARGE_TURN = "large"
LARGE_TURN_SPANS = 10_000
CHILDREN = 8
"""Of each span of the large turn, but for its leaves: it is five levels deep."""
ROWS_ALONE = "its rows alone, from plain SQLite"

_FIELDS = ("attributes", *PLAIN, "links")

_Read: TypeAlias = Callable[[str], object]


def run(options: Options) -> list[Figure]:
    """Build one store a size, then read at random; then one turn that is a store's worth."""
    sizes = options.pick([1_000_000], [1_000_000, 8_000_000])
    figures = [figure for records in sizes for figure in _ordinary_turns(options, records)]
    return [*figures, *_large_turn(options)]


def _ordinary_turns(options: Options, records: int) -> list[Figure]:
    with TraceStore(store_of_many(records, options), read_only=True) as store:
        bodied = store.sql("SELECT DISTINCT turn_id FROM records WHERE body_digest IS NOT NULL").rows
        turns = [turn for (turn,) in random.Random(records).sample(sorted(bodied), SAMPLE)]
        bare = [turn for (turn,) in store.sql("SELECT DISTINCT turn_id FROM records USING SAMPLE 200 ROWS").rows]
        bar = at_most(TURN_BAR_MS[records])
        reads: list[tuple[str, _Read, Sequence[str], Bar | None]] = [
            ("get_turn, with bodies", store.get_turn, turns, bar),
            ("get_turn, any", store.get_turn, bare, bar),
            ("easy view", store.easy_view, turns, None),
        ]
        return [
            p50(f"{records:,} records: {name}", read, keys, options.rounds, bar) for name, read, keys, bar in reads
        ]


def _large_turn(options: Options) -> list[Figure]:
    """Read one turn of 10,000 spans, each with a body that the easy view leaves alone."""
    directory = options.directory("large-turn")
    journal = write_lines(directory / "journal.ndjson", map(to_json, _large_turn_records()))
    with TraceStore(directory / "store") as store:
        collect(store, journal)
    sqlite_text.collect(journal, directory / "sqlite")
    with TraceStore(directory / "store", read_only=True) as store, sqlite_text.opened(directory / "sqlite") as lite:
        lines = store.easy_view(LARGE_TURN).count("\n") + 1
        if lines != LARGE_TURN_SPANS:
            raise RuntimeError(f"easy view: wanted a line for each of {LARGE_TURN_SPANS} spans, found {lines}")
        query = f"SELECT {', '.join(_FIELDS)} FROM records WHERE turn_id = ? ORDER BY timestamp, id"
        sides = {
            "easy view": lambda: times_ms(store.easy_view, [LARGE_TURN])[0],
            "get_turn, with bodies": lambda: times_ms(store.get_turn, [LARGE_TURN])[0],
            ROWS_ALONE: lambda: times_ms(lambda turn: _decoded(lite.execute(query, [turn])), [LARGE_TURN])[0],
        }
        times = interleave(options.rounds, sides)
    gain = ratios(times[ROWS_ALONE], times["easy view"])
    name = f"turn of {LARGE_TURN_SPANS:,} spans"
    note = "theirs fetches the rows without their bodies and decodes attributes: it joins and draws nothing"
    return [
        *(Figure(f"{name}: {side}", "ms", values) for side, values in times.items()),
        Figure(f"{name}: easy view over rows alone", "x", gain, None, note, ROWS_ALONE),
    ]


def _decoded(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Fetch rows as far as a view needs them."""
    return [[json.loads(attributes) if attributes else None, *plain] for attributes, *plain in rows]


def _large_turn_records() -> Iterator[Record]:
    rng, clock, texts = random.Random(1), Clock(START_MS), pieces(1_000)
    head: Record = {"extensionId": "agent", "conversationId": "c", "turnId": LARGE_TURN}
    for number in range(LARGE_TURN_SPANS):
        span: Record = {"spanId": f"{number:016x}", "name": f"step {number}"}
        if number:
            span["parentSpanId"] = f"{(number - 1) // CHILDREN:016x}"
        begin_ms = clock.ms
        about = {"number": number, "tool": rng.choice(("read", "run"))}
        yield clock.record("span-open", head, **span, attributes=about)
        clock.ms += rng.randrange(50)
        yield clock.record(
            "span-close", head, **span, durationMs=clock.ms - begin_ms, status="ok", attributes={"ok": True},
            body=f"{number} {texts[number % len(texts)]}",
        )  # fmt: skip
