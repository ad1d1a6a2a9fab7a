"""Processes that record while they, and the collector that reads them, are killed at random.

A try runs four recording processes of three threads each and a collecting one. Any of them is killed
at any time and another one started. Segments and snapshots are small, so that segments are removed
behind what was read all the while. Afterwards everything whose `flush` said yes has to be in the store,
nothing twice, and no line broken.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.report import Report, keep
from tracestore import TraceStore

CAMPAIGN = "crowd"
WRITERS = 4
SECONDS = 6.0
_WRITER = """
import sys, threading
import tracestore.journal.writer as journal
journal.SegmentWriter.__init__.__kwdefaults__["segment_limit_bytes"] = 60_000
from tracestore.capture import Recorder
directory, process, fsync, is_direct = sys.argv[1:]
recorder = Recorder(directory, extension_id="app", fsync=fsync, is_direct=is_direct == "True")
printing, stop = threading.Lock(), threading.Event()
def work(thread):
    number = 0
    while not stop.wait(0.005):
        name = f"{process} {thread} {number}"
        with recorder.span(name, body=name * (number % 60)):
            recorder.info(name, text="x" * (number % 300))
        if number % 20 == 19 and recorder.flush():
            with printing:
                print(name, flush=True)
        number += 1
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
for thread in threads: thread.start()
sys.stdin.read()
stop.set()
"""
_COLLECTOR = """
import sys
import tracestore.maintenance.recovery as recovery
recovery.SNAPSHOT_BYTES = 400_000
from tracestore.cli import main
main(sys.argv[1:])
"""


class Writer:
    """A recording process, and the last number of each of its threads that was flushed."""

    def __init__(self, journal: Path, name: str, rng: random.Random) -> None:
        fsync, is_direct = rng.choice(["none", "periodic", "always"]), rng.random() < 0.5
        self.process = _started(_WRITER, journal, name, fsync, is_direct, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.flushed: dict[str, int] = {}
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def end(self, *, is_killed: bool) -> None:
        """End the process, killed or in an orderly way, and read all that it said."""
        if is_killed:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait(60)
        self._reading.join()

    def messages(self) -> set[str]:
        """What was flushed."""
        return {f"{thread} {number}" for thread, last in self.flushed.items() for number in range(last + 1)}

    def _read(self) -> None:
        with self.process.stdout as said:
            for line in said:
                if line.endswith("\n"):
                    thread, _, number = line.rpartition(" ")
                    self.flushed[thread] = int(number)


def run(count: int, seed: int) -> Report:
    """Do so many tries."""
    report = Report(CAMPAIGN, seed)
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="tracestore-crowd-") as root:
            about = f"seed {seed + number}"
            store = Path(root) / "store"
            writers, kills = record_and_kill(store, random.Random(f"crowd {seed + number}"))
            violations = broken_promises(store, writers)
            report.add(violations, about, ["collectors killed"] * kills)
            if violations:
                report.notes[f"kept {keep(store, about)}"] += 1
    return report


def record_and_kill(store: Path, rng: random.Random) -> tuple[list[Writer], int]:
    """Record into a store that is collected, with kills; returns all writers and how many collectors were killed."""
    journal = store / "journal"
    writers = [Writer(journal, str(number), rng) for number in range(WRITERS)]
    kills = 0
    until_s = time.monotonic() + SECONDS
    while time.monotonic() < until_s:
        command = rng.choice(["collect", "serve"])
        collector = _started(_COLLECTOR, command, "--store", store, "--prune-every", "1s", "--max-age", "30d")
        try:
            collector.wait(rng.uniform(0.3, 2.5))
        except subprocess.TimeoutExpired:
            collector.kill()
            kills += 1
        collector.wait()
        if rng.random() < 0.5:
            rng.choice(writers[-WRITERS:]).end(is_killed=True)
            writers.append(Writer(journal, str(len(writers)), rng))
    for writer in writers:
        writer.end(is_killed=False)
    return writers, kills


def broken_promises(store: Path, writers: list[Writer]) -> list[str]:
    """Collect what is left, and say what is missing, there twice, or broken."""
    collected = _started(_COLLECTOR, "collect", "--once", "--json", "--store", store, stdout=subprocess.PIPE)
    events = [json.loads(line) for line in collected.communicate(timeout=120)[0].splitlines()]
    if collected.returncode:
        return [f"the last collector ended with {collected.returncode}"]
    broken = [f"{event}" for event in events if event.get("event") == "done" and event.get("rejected")]
    flushed = set().union(*(writer.messages() for writer in writers))
    if not flushed:
        broken.append("nothing was flushed")
    with TraceStore(store) as opened:
        for kind in ("log", "span-open", "span-close"):
            rows = opened.sql(f"SELECT coalesce(msg, name) FROM records WHERE kind = '{kind}'").rows
            names = [name for (name,) in rows]
            if missing := flushed - set(names):
                broken.append(f"{len(missing)} of kind {kind} were flushed and are missing: {sorted(missing)[:3]}")
            if twice := len(names) - len(set(names)):
                broken.append(f"{twice} of kind {kind} are there twice")
    return broken


def _started(code: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
    return subprocess.Popen(command, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}, **options)
