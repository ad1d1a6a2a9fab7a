"""Many processes of many threads that record at once and are killed, while a collector reads."""

import json
import mmap
import multiprocessing
import random
import struct
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.harness import Figure, Options, at_most
from tracestore import TraceStore
from tracestore.capture import Recorder
from tracestore.collector import Collector

PROCESSES = 8
THREADS = 32
FLUSH_EVERY = 50
"""Records of a thread; as many stand between two numbers that it may promise."""
KILLED_WITHIN_S = 3.0
START_S = 60.0
_NUMBER = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a journal and its store hold, against what was promised."""

    flushed: int
    collected: int
    lines: int
    """With an end, in the journal."""
    lost: int
    """Flushed, and no row."""
    doubled: int
    """Rows beyond the first of a record."""
    not_whole: int
    """Of those lines: no record."""
    torn: int
    """Segments that end in the middle of a line; its record was never flushed."""


def run(options: Options) -> list[Figure]:
    """Let generations of processes write into one journal, each killed at a time of its own."""
    rng = random.Random(7)
    directory = options.directory("crowd")
    found = [_generation(directory / str(number), rng) for number in range(options.pick(2, 10))]
    note = f"{PROCESSES} processes of {THREADS} threads, each process killed; {len(found)} times"

    def figure(name: str, unit: str, values: list[int], limit: float | None = None) -> Figure:
        bar = None if limit is None else at_most(limit)
        return Figure(name, unit, [float(sum(values))], bar, note)

    return [
        figure("flushed before they were killed", "records", [each.flushed for each in found]),
        figure("collected", "records", [each.collected for each in found]),
        figure("lines in the journal", "lines", [each.lines for each in found]),
        figure("flushed and not collected", "records", [each.lost for each in found], 0),
        figure("collected twice", "records", [each.doubled for each in found], 0),
        figure("lines that are not whole", "lines", [each.not_whole for each in found], 0),
        figure("segments cut in their last line", "segments", [each.torn for each in found]),
    ]


def _generation(directory: Path, rng: random.Random) -> _Counted:
    directory.mkdir()
    journal, promises = directory / "journal", directory / "promises"
    journal.mkdir()
    promises.write_bytes(_NUMBER.pack(-1) * (PROCESSES * THREADS))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_produce, args=(journal, promises, number), daemon=True) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    killer = threading.Thread(target=_kill_all, args=(processes, promises, [rng.random() for _ in processes]))
    with TraceStore(directory / "store") as store:
        collector = Collector(store, str(journal), lambda event: None)
        killer.start()
        while killer.is_alive():
            collector.drain()
            killer.join(0.05)
        collector.drain()
        collector.close()
        rows = store.sql("SELECT msg, count(*) FROM records GROUP BY msg").rows
    return _judged(journal, _promised(promises), dict(rows))


def _judged(journal: Path, promised: list[int], counts: dict[str, int]) -> _Counted:
    names = [
        _msg(place // THREADS, place % THREADS, number)
        for place, last in enumerate(promised)
        for number in range(last + 1)
    ]
    contents = [path.read_bytes() for path in journal.iterdir()]
    lines = [line for content in contents for line in content.split(b"\n")[:-1]]
    return _Counted(
        flushed=len(names),
        collected=sum(counts.values()),
        lines=len(lines),
        lost=sum(name not in counts for name in names),
        doubled=sum(count - 1 for count in counts.values()),
        not_whole=sum(not _is_record(line) for line in lines),
        torn=sum(not content.endswith(b"\n") for content in contents if content),
    )


def _is_record(line: bytes) -> bool:
    try:
        return bool(json.loads(line)["kind"] == "log")
    except (ValueError, KeyError, TypeError):
        return False


def _kill_all(processes: list[BaseProcess], promises: Path, moments: list[float]) -> None:
    """Kill each process at a moment of its own, once all threads have promised something."""
    deadline = time.monotonic() + START_S
    while min(_promised(promises)) < 0:
        if time.monotonic() > deadline:
            raise RuntimeError("wanted a promise of every thread, waited in vain")
        time.sleep(0.02)
    begun = time.monotonic()
    for moment, process in sorted(zip(moments, processes, strict=True), key=lambda each: each[0]):
        time.sleep(max(0.0, begun + moment * KILLED_WITHIN_S - time.monotonic()))
        process.kill()
        process.join()


def _promised(promises: Path) -> list[int]:
    """Return the last number that each thread of each process had flushed; -1 for none."""
    return [number for (number,) in _NUMBER.iter_unpack(promises.read_bytes())]


def _msg(process: int, thread: int, number: int) -> str:
    return f"{process} {thread} {number}"


def _produce(journal: Path, promises: Path, process: int) -> None:
    """Record with many threads until killed."""
    recorder = Recorder(journal, extension_id="bench")
    text = "x" * 2_000
    with promises.open("r+b") as file:
        promised = mmap.mmap(file.fileno(), 0)  # what is written here outlives the process

    def record(thread: int) -> None:
        for number in range(sys.maxsize):
            recorder.info(_msg(process, thread, number), body=f"{number} {text}")
            if number % FLUSH_EVERY == 0 and recorder.flush():
                _NUMBER.pack_into(promised, _NUMBER.size * (process * THREADS + thread), number)

    threads = [threading.Thread(target=record, args=(thread,), daemon=True) for thread in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
