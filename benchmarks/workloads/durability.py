"""What the syncs cost: ingest against the same under eatmydata, one insert against append and fsync."""

import os
import shutil
import statistics
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import Figure, Options, at_least, at_most, in_child, interleave, ratios
from benchmarks.journals import journal_with_bodies
from tracestore import TraceStore
from tracestore.record import encode_line

NOTE = "eatmydata makes every sync a no-op; the command is the same"


def run(options: Options) -> list[Figure]:
    """Measure both; without eatmydata only the second."""
    return [*_bulk(options), *_single(options)]


def _bulk(options: Options) -> list[Figure]:
    if shutil.which("eatmydata") is None:
        return []
    journal = journal_with_bodies(options)
    prefixes = {"durable": (), "unsynced": ("eatmydata",)}
    sides = {name: partial(_collect, journal, options, prefix) for name, prefix in prefixes.items()}
    results = interleave(options.rounds, sides)
    megabytes = journal.stat().st_size / 1e6
    return [
        *(Figure(f"{name} ingest", "MB/s", [megabytes / seconds for seconds in results[name]]) for name in sides),
        Figure(
            "durable over unsynced", "x", ratios(results["unsynced"], results["durable"]), at_least(0.7), NOTE
        ),
    ]


def _collect(journal: Path, options: Options, prefix: tuple[str, ...]) -> float:
    return in_child("collect", journal, options.directory("durability") / "store", prefix=prefix)["wall_s"]


def _single(options: Options) -> list[Figure]:
    """Insert one record at a time, and append the same bytes to a file; by turns, so that both meet the same disk."""
    inserts, count = [], options.pick(2_000, 10_000)
    appends = []
    for _ in range(options.rounds):
        directory = options.directory("single")
        fd = os.open(directory / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with TraceStore(directory / "store") as store:
            times = [_one_of_each(store, fd, number) for number in range(count)]
        os.close(fd)
        insert, append = (statistics.median(side) for side in zip(*times, strict=True))
        inserts.append(insert * 1e3)
        appends.append(append * 1e3)
    return [
        Figure("insert of one record, p50", "ms", inserts, note=f"{count:,} inserts a round"),
        Figure("append and fsync, p50", "ms", appends, note="the same bytes"),
        Figure("insert over append and fsync", "x", ratios(inserts, appends), at_most(2)),
    ]


def _one_of_each(store: TraceStore, fd: int, number: int) -> tuple[float, float]:
    record = {
        "kind": "log", "timestamp": 1_772_413_967_075 + number, "extensionId": "bench", "level": "info",
        "msg": f"line {number}", "turnId": f"t{number // 20}", "attributes": {"step": number},
        "body": f"body {number} " * 100,
    }  # fmt: skip
    line = encode_line(record) + b"\n"
    start = time.perf_counter()
    store.insert_records([record])
    between = time.perf_counter()
    os.write(fd, line)
    os.fsync(fd)
    return between - start, time.perf_counter() - between
