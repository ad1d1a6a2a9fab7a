"""Reads of a large store: a turn with its bodies, one body by record id and by digest, the easy view."""

import random
import time
from collections.abc import Callable, Sequence
from statistics import median, quantiles

from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.harness import Bar, Figure, Options, at_most, settle
from benchmarks.workloads.journals import collect
from tracestore import TraceStore

BODY_SHARE = 0.01
SAMPLE = 200
TURN_BAR_MS = {1_000_000: 5.0, 8_000_000: 15.0}


def run(options: Options) -> list[Figure]:
    """Build one store a size, then read at random."""
    sizes = options.pick([1_000_000], [1_000_000, 8_000_000])
    return [figure for records in sizes for figure in _measure(options, records)]


def _measure(options: Options, records: int) -> list[Figure]:
    directory = options.directory("reads")
    journal = ToolAgent(records=records, body_share=BODY_SHARE).write(directory / "journal.ndjson")
    with TraceStore(directory / "store") as store:
        start = time.perf_counter()
        collect(store, journal)
        build = Figure(f"{records:,} records collected", "records/s", [records / (time.perf_counter() - start)])
    settle()
    with TraceStore(directory / "store", read_only=True) as store:
        return [build, *_reads(store, records, options.rounds)]


def _reads(store: TraceStore, records: int, rounds: int) -> list[Figure]:
    rng = random.Random(records)
    found = store.sql("SELECT turn_id, record_id::VARCHAR, body_digest FROM records WHERE body_digest IS NOT NULL")
    rows = rng.sample(sorted(found.rows), SAMPLE)
    turns, ids, digests = zip(*rows, strict=True)
    bare = [turn for (turn,) in store.sql("SELECT DISTINCT turn_id FROM records USING SAMPLE 200 ROWS").rows]
    reads: list[tuple[str, Callable[[str], object], Sequence[str], Bar | None]] = [
        ("get_turn, with bodies", store.get_turn, turns, at_most(TURN_BAR_MS[records])),
        ("get_turn, any", store.get_turn, bare, at_most(TURN_BAR_MS[records])),
        ("get_body by record id", store.get_body, ids, at_most(2)),
        ("get_body by digest", store.get_body, digests, at_most(1)),
        ("easy view", store.easy_view, turns, None),
    ]
    figures = []
    for name, read, keys, bar in reads:
        times = [_times_ms(read, keys) for _ in range(rounds + 1)][1:]
        p95 = median(quantiles(values, n=20)[-1] for values in times)
        label = f"{records:,} records: {name}, p50"
        figures.append(Figure(label, "ms", [median(values) for values in times], bar, f"p95 {p95:.2f} ms"))
    return figures


def _times_ms(read: Callable[[str], object], keys: Sequence[str]) -> list[float]:
    times = []
    for key in keys:
        start = time.perf_counter()
        read(key)
        times.append((time.perf_counter() - start) * 1000)
    return times
