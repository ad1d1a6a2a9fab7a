"""A disk that is full for a while: how long a call takes meanwhile, and whether every record is accounted for."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Figure, Options, at_most
from tracestore.capture import Recorder
from tracestore.capture.funnel import DROPPED_MSG

DISK_BYTES = 128 * 1024 * 1024
QUEUE_BYTES = 4 * 1024 * 1024
"""So small that it is full long before the disk is free again."""
THREADS = 4
PAUSE_S = 0.001
BODY = "x" * 2_000


@dataclass(slots=True)
class _Load:
    """What the application did, and how long the longest call took, before and while the disk was full."""

    emitted: int = 0
    longest_ms: dict[str, float] = field(default_factory=dict)


def run(options: Options) -> list[Figure]:
    """Fill the disk under a journal, and free it again; without the right to mount, say so and measure nothing."""
    if os.geteuid() != 0 or sys.platform != "linux":
        print("capture: a full disk needs root and Linux, to mount one; left out", file=sys.stderr)
        return []
    full_s = options.pick(2.0, 10.0)
    with _small_disk(options.directory("full")) as disk:
        with Recorder(disk / "journal", extension_id="bench", queue_bytes=QUEUE_BYTES) as recorder:
            load = _run_load(recorder, disk, full_s)
        recorded, told = _read_back(disk / "journal")
        dropped = sum(recorder.dropped.values())
    note = f"{THREADS} threads, a record a millisecond each, full for {full_s:.0f} s"
    return [
        Figure("longest call, disk with room", "ms", [load.longest_ms["before"]], note=note),
        Figure("longest call, disk full", "ms", [load.longest_ms["full"]], at_most(20), note),
        Figure("emitted around a full disk", "records", [float(load.emitted)]),
        Figure("dropped", "records", [float(dropped)], note="the queue was full as well"),
        Figure("neither recorded nor dropped", "records", [float(abs(load.emitted - recorded - dropped))], at_most(0)),
        Figure("dropped and not told", "records", [float(abs(dropped - told))], at_most(0), "by the journal"),
    ]


def _run_load(recorder: Recorder, disk: Path, full_s: float) -> _Load:
    phase = ["before"]
    loads = [_Load() for _ in range(THREADS)]
    is_over = threading.Event()

    def record(load: _Load) -> None:
        while not is_over.wait(PAUSE_S):
            during = phase[0]
            start = time.perf_counter()
            recorder.info("at work", body=BODY, number=load.emitted)
            took_ms = (time.perf_counter() - start) * 1000
            load.emitted += 1
            load.longest_ms[during] = max(took_ms, load.longest_ms.get(during, 0.0))

    threads = [threading.Thread(target=record, args=(load,)) for load in loads]
    for thread in threads:
        thread.start()
    time.sleep(full_s / 2)
    ballast = disk / "ballast"
    _fill(ballast)
    phase[0] = "full"
    time.sleep(full_s)
    phase[0] = "after"
    ballast.unlink()
    time.sleep(1.0)
    is_over.set()
    for thread in threads:
        thread.join()
    longest = {name: max(load.longest_ms[name] for load in loads) for name in ("before", "full")}
    return _Load(sum(load.emitted for load in loads), longest)


def _fill(path: Path) -> None:
    """Take all the room there is, to the last byte."""
    with path.open("wb", 0) as file:
        for block in (b"\0" * 1024 * 1024, b"\0" * 4096):
            try:
                while file.write(block) == len(block):
                    pass
            except OSError:
                pass


def _read_back(journal: Path) -> tuple[int, int]:
    """Return how many records of the application are in a journal, and how many it says were dropped."""
    recorded = told = 0
    for segment in journal.iterdir():
        for line in segment.read_bytes().splitlines():
            record = json.loads(line)
            if record["msg"] == DROPPED_MSG:
                told += record["attributes"]["dropped"]
            else:
                recorded += 1
    return recorded, told


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path]:
    """Mount a file system in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
