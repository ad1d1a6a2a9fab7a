"""Every system call of one life of a store fails once, or is its last, or writes too little.

strace injects the fault, so that it reaches the calls of DuckDB's C++ as well as ours. A first run
is counted; then there is one try for each call, number and fault. A try is a forked child that
stops itself, is traced, and lives the workload. Afterwards:

- what was acknowledged is there, says the oracle; also when the database is then lost and made again
- what the store raised was an error of ours, which says what was wanted; nothing hung or crashed
- after EIO the child went on with the store that it had open, and with the next step

Short writes: each write of ours writes one byte, half, or all but one byte; DuckDB's meet a limit
of file size (RLIMIT_FSIZE), at which the kernel writes what still fits.
"""

import itertools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from tests.faults import lives
from tests.faults.kill import Place
from tests.faults.report import Report
from tests.faults.zygote import Child, Zygote

CAMPAIGN = "inject"
CALLS = (
    "access", "chmod", "close", "fchmod", "fallocate", "fcntl", "fdatasync", "flock", "fstat", "fsync", "ftruncate",
    "getdents64", "ioctl", "link", "linkat", "lseek", "mkdir", "mkdirat", "newfstatat", "open", "openat", "pread64",
    "pwrite64", "pwritev", "read", "readlink", "rename", "renameat", "renameat2", "rmdir", "stat", "statx", "syncfs",
    "unlink", "unlinkat", "write", "writev",
)  # fmt: skip
"""The calls that reach a file system."""
FAULTS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "killed": "signal=SIGKILL"}
WORKERS = 2
ATTACH_S = 10.0
FILE_LIMITS = (4_096, 12_288, 20_000, 65_536, 143_360, 200_000, 274_432, 524_288, 800_000, 1_000_000, 1_100_000)
"""Limits of file size; DuckDB's file grows by blocks of 128 KiB behind headers of 12 KiB."""

Fault = Literal["EIO", "ENOSPC", "killed", "short", "limit"]


@dataclass(frozen=True, slots=True)
class Try:
    """One fault: the nth call of a name; for short writes ``nth`` is ours to count, for limits it is bytes."""

    fault: Fault
    call: str
    nth: int
    part: str = ""

    def __str__(self) -> str:
        return f"{self.fault} {self.call} no. {self.nth}{f', {self.part}' if self.part else ''}"


def run(count: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    """Do so many tries, spread over all that there are; 0 does every one."""
    report = Report(CAMPAIGN, seed)
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="tracestore-inject-", dir=memory if memory.is_dir() else None))
    zygotes: SimpleQueue[Zygote] = SimpleQueue()
    for _ in range(WORKERS):
        zygotes.put(Zygote())

    def one(attempt: Try) -> None:
        zygote = zygotes.get()
        try:
            examine(zygote, attempt, Place(root / str(attempt)), seed, report)
        finally:
            zygotes.put(zygote)
        if report.tries % 100 == 0:
            say(str(report))

    try:
        zygote = zygotes.get()
        chosen = choose(list(tries(counted(zygote, Place(root / "counted"), seed))), count, seed)
        zygotes.put(zygote)
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(one, chosen):
                pass
    finally:
        for _ in range(WORKERS):
            zygotes.get().close()
        if not report.violations:
            shutil.rmtree(root)
    return report


def tries(calls: dict[str, set[int]]) -> Iterator[Try]:
    """Yield every try there is."""
    for call, numbers in sorted(calls.items()):
        for nth, fault in itertools.product(sorted(numbers), FAULTS):
            yield Try(fault, call, nth)
    for nth, part in itertools.product(range(1, max(calls["write"]) + 1), ("one byte", "half", "all but one")):
        yield Try("short", "write", nth, part)
    for limit_bytes in FILE_LIMITS:
        yield Try("limit", "file size", limit_bytes)


def choose(every: list[Try], count: int, seed: int) -> list[Try]:
    """Return so many tries: some of each call and fault, then whatever chance gives."""
    if not 0 < count < len(every):
        return every
    rng = random.Random(f"inject {seed}")
    rng.shuffle(every)
    kinds: Counter[tuple[str, str]] = Counter()
    ranks = {}
    for attempt in every:
        ranks[attempt] = kinds[attempt.call, attempt.fault]
        kinds[attempt.call, attempt.fault] += 1
    return sorted(every, key=lambda attempt: ranks[attempt])[:count]


def counted(zygote: Zygote, place: Place, seed: int) -> dict[str, set[int]]:
    """Return which calls of each name, in a run without a fault, are about a file of the store or the journal.

    strace counts the calls of each thread by themselves, and so is it done here.
    """
    place.root.mkdir()
    log = place.root / "calls"
    child = zygote.start(live, place, seed, None)
    with traced(child, "-y", "-o", str(log), "-e", f"trace={','.join(CALLS)}"):
        outcome = child.wait()
    ended = lives.read_events(place)[-1:]
    if ended != [lives.ENDED]:
        raise RuntimeError(f"the workload fails without any fault: {ended} {outcome}")
    times: Counter[tuple[str, str]] = Counter()
    numbers: dict[str, set[int]] = defaultdict(set)
    for thread, call, arguments in re.findall(r"^(\d+) +(\w+)\((.*)", log.read_text(errors="replace"), re.MULTILINE):
        times[thread, call] += 1
        if str(place.root) in arguments:
            numbers[call].add(times[thread, call])
    return numbers


def examine(zygote: Zygote, attempt: Try, place: Place, seed: int, report: Report) -> None:
    """Make one try and report what is wrong with how it ended and with what it left."""
    place.root.mkdir()
    log = place.root / "calls"
    child = zygote.start(live, place, seed, attempt)
    if attempt.fault in FAULTS:
        injection = f"inject={attempt.call}:{FAULTS[attempt.fault]}:when={attempt.nth}"
        with traced(child, "-y", "-o", str(log), "-e", f"trace={attempt.call}", "-e", injection):
            outcome = child.wait()
    else:
        wait_until(child, is_stopped)
        os.kill(child.pid, signal.SIGCONT)
        outcome = child.wait()
    events = lives.read_events(place)
    is_elsewhere = attempt.fault in FAULTS and hit_elsewhere(log, place)
    violations = [] if is_elsewhere else list(lives.ending(outcome, events, may_die=attempt.fault == "killed"))
    found, notes = lives.judge(zygote, place, seed, attempt.nth)
    violations += found
    was_told = outcome.was_killed or any(event["op"] == "failed" for event in events)
    note = "at no file of the store" if is_elsewhere else "told" if was_told else "without effect"
    report.add(violations, f"{attempt} in {place.root}", [note, *notes])
    if not violations:
        shutil.rmtree(place.root)


def hit_elsewhere(log: Path, place: Place) -> bool:
    """Tell whether a fault struck a file that is no part of the store, such as those under /proc that DuckDB reads.

    It asks the kernel there how much memory it may take, and ends the process when it gets no answer. A first run
    tells those calls apart, but no two runs are quite the same.
    """
    struck = [line for line in log.read_text(errors="replace").splitlines() if "(INJECTED)" in line]
    return bool(struck) and not any(str(place.root) in line for line in struck)


@contextmanager
def traced(child: Child, *options: str) -> Iterator[None]:
    """Let a stopped child go on under strace."""
    command = ["strace", "-f", "-qq", *options, "-p", str(child.pid)]
    wait_until(child, is_stopped)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            wait_until(child, lambda status: f"TracerPid:\t{strace.pid}\n" in status)
            os.kill(child.pid, signal.SIGCONT)
            yield
        finally:
            child.kill()  # long over, unless something went wrong
            strace.terminate()


def wait_until(child: Child, is_so: Callable[[str], bool]) -> None:
    """Wait until the kernel says something of a child."""
    status = Path(f"/proc/{child.pid}/status")
    deadline = time.monotonic() + ATTACH_S
    while not is_so(status.read_text()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {child.pid} did not get to where it can be traced: {status.read_text()}")
        time.sleep(0.001)


def is_stopped(status: str) -> bool:
    """Tell from what the kernel says whether a child has stopped itself."""
    return "State:\tT" in status


def live(place: Place, seed: int, attempt: Try | None) -> None:
    """Stop; once released live the workload, and after EIO and short writes go on."""
    ack = lives.acking_in_memory(place.acks)
    prepare(attempt)
    os.kill(os.getpid(), signal.SIGSTOP)
    if attempt is not None and attempt.fault in ("EIO", "short"):
        lives.Stubborn(place, seed, ack).live()
        ack(lives.ENDED)
    else:
        lives.live(place, seed, ack)


def prepare(attempt: Try | None) -> None:
    """Arm what is no matter for strace."""
    if attempt is not None and attempt.fault == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (attempt.nth, resource.RLIM_INFINITY))
    if attempt is not None and attempt.fault == "short":
        os.write = short_writes(attempt.nth, attempt.part)


def short_writes(nth: int, part: str) -> Callable[[int, bytes], int]:
    """Return an `os.write` of which the nth call writes only a part."""
    write, calls = os.write, itertools.count(1)

    def short(fd: int, data: bytes) -> int:
        if next(calls) == nth:
            size = len(data)
            data = memoryview(data)[: {"one byte": 1, "half": max(1, size // 2), "all but one": max(1, size - 1)}[part]]
        return write(fd, data)

    return short
