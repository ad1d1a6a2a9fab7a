"""Cost of a batch of 500 records as the store grows, checkpoints included, in order and with late records."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.corpora.journal import DAY_MS, START_MS, WEEK_DAYS, write_lines
from benchmarks.corpora.tool_agent import BATCH_LINES, ToolAgent
from benchmarks.harness import Figure, Options, at_most, ratios, settle
from benchmarks.journals import batch_lines, batches, collect
from tracestore import TraceStore

WINDOW_BATCHES = 200
"""Batches a figure is the mean of: DuckDB checkpoints about once in a hundred."""
SMALL = 10_000
LATE_EVERY = 100
CHANGED = f"of what {WINDOW_BATCHES} batches changed; due once in about 400"
ORDERS = {"in order": 0, "one in a hundred late": LATE_EVERY}


@dataclass(frozen=True, slots=True)
class _Side:
    """A store of some size, and what comes next."""

    records: int
    order: str
    store: Path
    journal: Path


def run(options: Options) -> list[Figure]:
    """Grow one store, set a copy aside at each size, then take batches into all copies in turn."""
    sizes = options.pick([SMALL, 10 * SMALL], [SMALL, 10 * SMALL, 100 * SMALL, 1000 * SMALL])
    directory = options.directory("growth")
    sides = list(_sides(directory, sizes))
    rounds = [_round(sides, options.directory("growth-round")) for _ in range(options.rounds)]
    batch_ms, snapshot_ms = ([list(side) for side in zip(*found, strict=True)] for found in zip(*rounds, strict=True))
    in_order, late = (ratios(values, batch_ms[0]) for values in batch_ms[-len(ORDERS) :])
    against = f"ours at {SMALL:,}"
    return [
        *(Figure(f"batch, {s.order}", "ms", v, at=s.records) for s, v in zip(sides, batch_ms, strict=True)),
        *(Figure(f"snapshot, {s.order}", "ms", v, at=s.records, note=CHANGED)
          for s, v in zip(sides, snapshot_ms, strict=True)),
        Figure(f"in order at {sizes[-1]:,} over {SMALL:,}", "x", in_order, at_most(1.3), against=against),
        Figure(f"late at {sizes[-1]:,} over in order at {SMALL:,}", "x", late, at_most(3), against=against),
    ]  # fmt: skip


def _sides(directory: Path, sizes: Sequence[int]) -> Iterator[_Side]:
    """Grow a store in large batches, with a snapshot at each size: none is due while batches are timed."""
    ms_a_record = WEEK_DAYS * DAY_MS / sizes[-1]
    lines = ToolAgent(records=sizes[-1]).lines()
    grown, done = directory / "grown", 0
    for records in sizes:
        part = write_lines(directory / f"{records}.ndjson", islice(lines, records - done))
        with TraceStore(grown) as store:
            collect(store, part)
            store.snapshot()
        done = records
        base = shutil.copytree(grown, directory / f"base-{records}")
        for order, late_every in ORDERS.items():
            count = (WINDOW_BATCHES + 1) * BATCH_LINES
            more = ToolAgent(
                records=count,
                seed=2,
                days=count * ms_a_record / DAY_MS,
                start_ms=START_MS + int(records * ms_a_record),
                late_every=late_every,
            )
            yield _Side(records, order, base, more.write(directory / f"{records}-{late_every}.ndjson"))


def _round(sides: Sequence[_Side], directory: Path) -> tuple[list[float], list[float]]:
    """Take one batch into each side in turn, so that all meet the same machine, then a snapshot of each.

    Returns the milliseconds of each side: of a batch (the mean), and of its snapshot.
    """
    with batch_lines(BATCH_LINES), ExitStack() as stack:
        stores, runs = [], []
        for number, side in enumerate(sides):
            copy = shutil.copytree(side.store, directory / f"copy-{number}")
            stores.append(stack.enter_context(TraceStore(copy)))
            runs.append(_timed(stores[-1], side.journal))
        for run in runs:
            next(run)  # it opens the journal and reads what lies around the end of the table
        settle()
        seconds = [0.0] * len(runs)
        for _ in range(WINDOW_BATCHES):
            for number, run in enumerate(runs):
                seconds[number] += next(run)
        return [total / WINDOW_BATCHES * 1000 for total in seconds], [_snapshot_ms(store) for store in stores]


def _timed(store: TraceStore, journal: Path) -> Iterator[float]:
    """Yield the seconds of each batch."""
    steps = batches(store, journal)
    while True:
        start = time.perf_counter()
        step = next(steps, None)
        if step is None:
            return
        if step.journal_bytes:
            yield time.perf_counter() - start


def _snapshot_ms(store: TraceStore) -> float:
    start = time.perf_counter()
    store.snapshot()
    return (time.perf_counter() - start) * 1000
