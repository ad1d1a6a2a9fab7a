"""Cost of a batch of 500 records as the store grows, checkpoints included, in order and with late records."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.corpora.tool_agent import BATCH_LINES, WEEK_DAYS, ToolAgent
from benchmarks.harness import Figure, Options, at_most, ratios, settle
from benchmarks.workloads.journals import batch_lines, batches
from tracestore import TraceStore

WINDOW_BATCHES = 200
"""Batches a figure is the mean of: DuckDB checkpoints about once in a hundred."""
SMALL = 10_000
LATE_EVERY = 100


def run(options: Options) -> list[Figure]:
    """Grow stores to both sizes, then take batches from all of them in turn."""
    large = options.pick(200_000, 1_000_000)
    days_a_record = WEEK_DAYS / large
    directory = options.directory("growth")
    with batch_lines(BATCH_LINES):
        bases = {}
        curve = []
        for records in (SMALL, large):
            grown = ToolAgent(records=records, days=records * days_a_record)
            bases[records] = directory / f"base-{records}"
            curve = _grow(bases[records], grown.write(directory / "grow.ndjson"))
        sides = {}
        for records, late in ((SMALL, False), (SMALL, True), (large, False), (large, True)):
            more = ToolAgent(
                records=WINDOW_BATCHES * BATCH_LINES, seed=2, days=WINDOW_BATCHES * BATCH_LINES * days_a_record,
                start_ms=ToolAgent(records=records, days=records * days_a_record).end_ms,
                late_every=LATE_EVERY if late else 0,
            )  # fmt: skip
            name = f"{records:,} records{', one in a hundred late' if late else ''}"
            sides[name] = (bases[records], more.write(directory / f"{len(sides)}.ndjson"))
        rounds = [_round(sides, options.directory("growth-round")) for _ in range(options.rounds)]
    costs = {name: [costs[name] * 1000 for costs in rounds] for name in sides}
    base, base_late, grown, grown_late = costs.values()
    return [
        *(Figure(f"batch at {name}", "ms", values) for name, values in costs.items()),
        Figure("in order, large over small", "x", ratios(grown, base), at_most(1.3)),
        Figure("late and large over in order and small", "x", ratios(grown_late, base), at_most(2)),
        Figure("late, large over small", "x", ratios(grown_late, base_late)),
        *_curve(curve),
    ]


def _grow(path: Path, journal: Path) -> list[float]:
    """Fill a store batch by batch; returns the seconds of each."""
    with TraceStore(path) as store:
        return list(_timed(store, journal))


def _round(sides: dict[str, tuple[Path, Path]], directory: Path) -> dict[str, float]:
    """Take one batch from each side in turn, so that all meet the same machine; returns mean seconds."""
    with ExitStack() as stack:
        runs = {}
        for number, (name, (base, journal)) in enumerate(sides.items()):
            copy = directory / f"copy-{number}"
            shutil.copytree(base, copy)
            runs[name] = _timed(stack.enter_context(TraceStore(copy)), journal)
        settle()
        seconds = dict.fromkeys(runs, 0.0)
        for _ in range(WINDOW_BATCHES):
            for name, run in runs.items():
                seconds[name] += next(run)
    return {name: value / WINDOW_BATCHES for name, value in seconds.items()}


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


def _curve(seconds: list[float]) -> list[Figure]:
    """Mean cost of a batch in ten equal stretches of one growth, from empty to large."""
    stretch = len(seconds) // 10
    means = [sum(seconds[i * stretch : (i + 1) * stretch]) / stretch * 1000 for i in range(10)]
    return [Figure("tenths of the growth", "ms", means, note=" ".join(f"{mean:.1f}" for mean in means))]
