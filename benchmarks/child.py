"""One piece of work in a process of its own: ``python -m benchmarks.child TASK ARGUMENT...``.

Everything is imported before the clock starts. The last line of output is JSON: seconds by the
wall, seconds of both cores spent in user and system mode, and the greatest resident memory.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tracestore.database  # noqa: F401  # DuckDB is imported late by design, which is not what is measured
from benchmarks.baselines import plain_files
from tracestore import TraceStore
from tracestore.collector import Collector


def collect(journal: str, store: str) -> None:
    """Collect a journal into a new store, and close it."""
    with TraceStore(store) as opened:
        collector = Collector(opened, journal, lambda event: None)
        collector.drain()
        collector.close()


def collect_plain(journal: str, store: str) -> None:
    """Do the same with the plain baseline."""
    plain_files.collect(Path(journal), Path(store))


def snapshot(store: str) -> None:
    """Take a snapshot of a store."""
    with TraceStore(store) as opened:
        opened.snapshot()


def rebuild(store: str) -> None:
    """Open a store that has lost its database."""
    with TraceStore(store) as opened:
        if opened.rebuilt is None:
            raise RuntimeError(f"{store}: wanted a store without a database, found one with it")


TASKS: dict[str, Callable[..., None]] = {
    "collect": collect, "collect_plain": collect_plain, "snapshot": snapshot, "rebuild": rebuild,
}  # fmt: skip


def main(task: str, *arguments: str) -> None:
    """Run one task and print its figures."""
    before, start = os.times(), time.perf_counter()
    TASKS[task](*arguments)
    wall_s, after = time.perf_counter() - start, os.times()
    figures = {
        "wall_s": wall_s,
        "user_s": after.user - before.user,
        "system_s": after.system - before.system,
        "peak_rss_bytes": peak_rss_bytes(),
    }
    print(json.dumps(figures))


def peak_rss_bytes() -> int:
    """Return the greatest resident memory of this program; on Linux without what the parent had at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(*sys.argv[1:])
