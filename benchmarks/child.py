"""One piece of work in a process of its own: ``python -m benchmarks.child TASK ARGUMENT...``.

Everything is imported before the clock starts. The last line of output is JSON: seconds by the
wall, seconds of both cores spent in user and system mode, the greatest resident memory, bytes written
to disk, and what the task returns of its own.
"""

import json
import os
import random
import re
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import tracestore.database  # noqa: F401  # DuckDB is imported late by design, which is not what is measured
from benchmarks.baselines import duckdb_rows, ndjson_zstd, plain_files, seed_sqlite, sqlite_text
from blobs import BlobStore, Digest
from tracestore import RetentionPolicy, TraceStore
from tracestore.collector import Collector

FRAME_BYTES = 160_000
"""What a frame of a coding agent's requests has on disk, about."""


def collect(journal: str, store: str) -> None:
    """Collect a journal into a store, and close it."""
    with TraceStore(store) as opened:
        _drain(opened, journal)


def collect_loose(journal: str, store: str) -> None:
    """Collect a journal into a new store that never packs."""
    with TraceStore(store, no_pack=True) as opened:
        _drain(opened, journal)


def collect_while_packing(journal: str, store: str) -> dict[str, float]:
    """Collect a journal while a thread packs what was in the store; stops it when the journal is done."""
    is_done = Event()
    with TraceStore(store) as opened:
        packing = Thread(target=lambda: opened.pack(is_stopped=is_done.is_set))
        packing.start()
        start = time.perf_counter()
        _drain(opened, journal)
        seconds, was_packing = time.perf_counter() - start, packing.is_alive()
        is_done.set()
        packing.join()
    return {"collect_s": seconds, "was_packing": was_packing}


def collect_timed(journal: str, store: str) -> dict[str, float]:
    """Collect a journal into a store that is there."""
    with TraceStore(store) as opened:
        start = time.perf_counter()
        _drain(opened, journal)
        return {"collect_s": time.perf_counter() - start}


def pack(store: str) -> dict[str, float]:
    """Pack all of a store on one core; then, as by itself an hour later, remove what that replaced."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with TraceStore(store) as opened:
        start, cpu_start = time.perf_counter(), time.process_time()
        report = opened.pack()
        cpu_s, pack_s = time.process_time() - cpu_start, time.perf_counter() - start
        opened.pack(grace_ms=0)
        removal_s = time.perf_counter() - start - pack_s
        return {"pack_s": pack_s, "pack_cpu_s": cpu_s, "removal_s": removal_s, "raw_bytes": report.raw_bytes}


def read_cold(store: str, digests: str) -> dict[str, list[float]]:
    """Read these bodies (a file of digests), each with nothing of the packs in memory; milliseconds.

    Beside each the disk alone: one read of as many bytes as a frame has, likewise cold.
    """
    packs = Path(store) / "blobs" / "packs"
    times, disk = [], []
    for digest in Path(digests).read_text().split():
        drop_caches(packs)
        disk.append(_milliseconds(lambda: _read_somewhere(packs)))
        drop_caches(packs)
        with TraceStore(store, read_only=True) as opened:
            times.append(_milliseconds(partial(opened.get_body, digest)))
    return {"times_ms": times, "disk_ms": disk}


def open_blobs(path: str, digest: str) -> dict[str, float]:
    """Open a store of blobs that is not in memory, and read one; milliseconds, and resident bytes that this adds."""
    drop_caches(Path(path) / "packs")
    before_bytes, start = _resident_bytes(), time.perf_counter()
    with BlobStore(path, create=False) as opened:
        open_ms = (time.perf_counter() - start) * 1e3
        open_bytes = _resident_bytes() - before_bytes
        opened.get(Digest.parse(digest))
        return {"open_ms": open_ms, "open_bytes": open_bytes, "read_bytes": _resident_bytes() - before_bytes}


def collect_by(baseline: str, journal: str, store: str) -> None:
    """Collect a journal with a baseline."""
    BASELINES[baseline].collect(Path(journal), Path(store))


def prune(store: str, cutoff_ms: str, later_ms: str) -> dict[str, float]:
    """Prune turns that are over by then, ``later_ms`` from now; returns what went and what waits."""
    now_ns = time.time_ns() + int(later_ms) * 1_000_000
    with TraceStore(store, now_ns=lambda: now_ns) as opened:
        start = time.perf_counter()
        summary = opened.prune(RetentionPolicy(max_age=now_ns // 1_000_000 - int(cutoff_ms)))
        seconds = time.perf_counter() - start
    return {
        "prune_s": seconds, "records_deleted": summary.records_deleted, "bytes_pending": summary.bytes_pending,
    }  # fmt: skip


def prune_to(store: str, body_bytes: str) -> dict[str, float]:
    """Evict bodies, least recently used first, until so many bytes are left."""
    with TraceStore(store) as opened:
        start = time.perf_counter()
        summary = opened.prune(RetentionPolicy(max_total_body_bytes=int(body_bytes)))
        return {"prune_s": time.perf_counter() - start, "bodies_evicted": summary.bodies_evicted}


def prune_by(baseline: str, store: str, cutoff_ms: str) -> dict[str, float]:
    """Prune the store of a baseline."""
    start = time.perf_counter()
    BASELINES[baseline].prune(Path(store), int(cutoff_ms))
    return {"prune_s": time.perf_counter() - start}


def snapshot(store: str) -> None:
    """Take a snapshot of a store."""
    with TraceStore(store) as opened:
        opened.snapshot()


def rebuild(store: str) -> None:
    """Open a store that has lost its database."""
    with TraceStore(store) as opened:
        if opened.rebuilt is None:
            raise RuntimeError(f"{store}: wanted a store without a database, found one with it")


def drop_caches(directory: Path) -> None:
    """Let the kernel forget the content of every file in a directory that nobody maps."""
    for path in directory.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def _read_somewhere(directory: Path) -> None:
    path = max(directory.iterdir(), key=lambda path: path.stat().st_size)
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, FRAME_BYTES, random.randrange(max(1, path.stat().st_size - FRAME_BYTES)))
    os.close(fd)


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def _drain(store: TraceStore, journal: str) -> None:
    collector = Collector(store, journal, lambda event: None)
    collector.drain()
    collector.close()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _written_bytes() -> int:
    """Return what this process sent to disks, or will; on Linux."""
    path = Path("/proc/self/io")
    found = re.search(r"^write_bytes: (\d+)", path.read_text(), re.MULTILINE) if path.exists() else None
    return int(found[1]) if found else 0


BASELINES: dict[str, Any] = {
    module.__name__.rpartition(".")[2]: module
    for module in (duckdb_rows, ndjson_zstd, plain_files, seed_sqlite, sqlite_text)
}

TASKS: dict[str, Callable[..., dict[str, float] | dict[str, list[float]] | None]] = {
    task.__name__: task
    for task in (
        collect, collect_by, collect_loose, collect_timed, collect_while_packing, open_blobs, pack, prune, prune_by,
        prune_to, read_cold, rebuild, snapshot,
    )
}  # fmt: skip


def main(task: str, *arguments: str) -> None:
    """Run one task and print its figures."""
    written_bytes = _written_bytes()
    before, start = os.times(), time.perf_counter()
    own = TASKS[task](*arguments) or {}
    wall_s, after = time.perf_counter() - start, os.times()
    figures = {
        "wall_s": wall_s,
        "user_s": after.user - before.user,
        "system_s": after.system - before.system,
        "peak_rss_bytes": peak_rss_bytes(),
        "written_bytes": _written_bytes() - written_bytes,
    }
    print(json.dumps(figures | own))


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
