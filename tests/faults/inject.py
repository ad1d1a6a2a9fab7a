"""Every system call of one life of a store, and of one rebuild, fails once, or is its last, or writes too little.

strace injects the fault, so that it reaches the calls of DuckDB's C++ as well as ours. A first run
is counted; then there is one try for each call, number and fault. A try is a forked child that
stops itself, is traced, and lives the workload, or opens a store that lost its database. Afterwards:

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
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from tests.faults import lives, workload
from tests.faults.acks import Ack
from tests.faults.kill import Place
from tests.faults.report import Report
from tests.faults.zygote import Child, Zygote
from tracestore import TraceStore

CAMPAIGN = "inject"
CALLS = (
    "access", "chmod", "close", "fchmod", "fallocate", "fcntl", "fdatasync", "flock", "fstat", "fsync", "ftruncate",
    "getdents64", "ioctl", "link", "linkat", "lseek", "mkdir", "mkdirat", "newfstatat", "open", "openat", "pread64",
    "pwrite64", "pwritev", "read", "readlink", "rename", "renameat", "renameat2", "rmdir", "stat", "statx", "syncfs",
    "unlink", "unlinkat", "write", "writev",
)  # fmt: skip
"""The calls that reach a file system."""
STORIES: tuple["Story", ...] = ("life", "rebuild")
FAULTS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "killed": "signal=SIGKILL"}
WORKERS = 2
ATTACH_S = 10.0
FILE_LIMITS = (4_096, 12_288, 20_000, 65_536, 143_360, 200_000, 274_432, 524_288, 800_000, 1_000_000, 1_100_000)
"""Limits of file size; DuckDB's file grows by blocks of 128 KiB behind headers of 12 KiB."""

Fault = Literal["EIO", "ENOSPC", "killed", "short", "limit"]
Story = Literal["life", "rebuild"]


@dataclass(frozen=True, slots=True)
class Try:
    """One fault: the nth call of a name; for short writes ``nth`` is ours to count, for limits it is bytes."""

    fault: Fault
    call: str
    nth: int
    part: str = ""
    story: Story = "life"

    def __str__(self) -> str:
        return f"{self.story}, {self.fault} {self.call} no. {self.nth}{f', {self.part}' if self.part else ''}"


def run(count: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    """Do so many tries, spread over all that there are; 0 does every one."""
    report = Report(CAMPAIGN, seed)
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="tracestore-inject-", dir=memory if memory.is_dir() else None))
    zygotes: SimpleQueue[Zygote] = SimpleQueue()
    for _ in range(WORKERS):
        zygotes.put(Zygote())

    template = Place(root / "template")

    def one(attempt: Try) -> None:
        zygote = zygotes.get()
        try:
            examine(zygote, attempt, furnished(root / str(attempt), attempt.story, template), seed, report)
        finally:
            zygotes.put(zygote)
        if report.tries % 100 == 0:
            say(str(report))

    try:
        zygote = zygotes.get()
        template.root.mkdir()
        zygote.run(lose_a_database, template, seed)
        calls = {story: counted(zygote, furnished(root / story, story, template), seed, story) for story in STORIES}
        zygotes.put(zygote)
        chosen = choose(list(tries(calls)), count, seed)
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(one, chosen):
                pass
    finally:
        for _ in range(WORKERS):
            zygotes.get().close()
        if not report.violations:
            shutil.rmtree(root)
    return report


def tries(calls: dict[Story, dict[str, set[int]]]) -> Iterator[Try]:
    """Yield every try there is, from the calls of each story."""
    for story, by_name in calls.items():
        for call, numbers in sorted(by_name.items()):
            for nth, fault in itertools.product(sorted(numbers), FAULTS):
                yield Try(fault, call, nth, story=story)
        for nth, part in itertools.product(range(1, max(by_name["write"]) + 1), ("one byte", "half", "all but one")):
            yield Try("short", "write", nth, part, story)
        for limit_bytes in FILE_LIMITS:
            yield Try("limit", "file size", limit_bytes, story=story)


def choose(every: list[Try], count: int, seed: int) -> list[Try]:
    """Return so many tries: some of each call and fault, then whatever chance gives."""
    if not 0 < count < len(every):
        return every
    rng = random.Random(f"inject {seed}")
    rng.shuffle(every)
    kinds: Counter[tuple[str, str, str]] = Counter()
    ranks = {}
    for attempt in every:
        kind = attempt.call, attempt.fault, attempt.story
        ranks[attempt] = kinds[kind]
        kinds[kind] += 1
    return sorted(every, key=lambda attempt: ranks[attempt])[:count]


def furnished(root: Path, story: Story, template: Place) -> Place:
    """Return the place of a try: empty, or a store that lost its database."""
    if story == "rebuild":
        shutil.copytree(template.root, root)
    else:
        root.mkdir()
    return Place(root)


def lose_a_database(place: Place, seed: int) -> None:
    """Live a cycle, let a snapshot cover most of it, live another, and lose the database."""
    ack = lives.acking_in_memory(place.acks)
    start = workload.run(place.store, place.journal, seed, ack)
    with TraceStore(place.store, now_ns=partial(next, workload.clock(start))) as store:
        store.snapshot()
    workload.run(place.store, place.journal, seed, ack, start=start)
    place.lose_database()


def counted(zygote: Zygote, place: Place, seed: int, story: Story) -> dict[str, set[int]]:
    """Return which calls of each name, in a run without a fault, are about a file of the store or the journal.

    strace counts the calls of each thread by themselves, and so is it done here.
    """
    log = place.root / "calls"
    child = zygote.start(live, place, seed, Try("killed", "none", 0, story=story))
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
    """Tell whether a fault also struck a file of nobody here, such as those under /proc that DuckDB reads.

    It asks the kernel there how much memory it may take, and ends the process when it gets no answer. A first run
    tells those calls apart, but no two runs are quite the same.
    """
    struck = [line for line in log.read_text(errors="replace").splitlines() if "(INJECTED)" in line]
    # Each thread has its nth call, so that two may be struck. And where another thread comes in between, strace
    # splits a call in two lines, of which the second names no file.
    return any(str(place.root) not in line and " resumed>" not in line for line in struck)


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


def live(place: Place, seed: int, attempt: Try) -> None:
    """Stop; once released live the story, and after EIO and short writes go on."""
    ack = lives.acking_in_memory(place.acks)
    prepare(attempt)
    os.kill(os.getpid(), signal.SIGSTOP)
    if attempt.story == "rebuild":
        rebuild(place, ack)
    elif attempt.fault in ("EIO", "short"):
        lives.Stubborn(place, seed, ack).live()
    else:
        lives.live(place, seed, ack)
        return
    ack(lives.ENDED)


def rebuild(place: Place, ack: Ack) -> None:
    """Open a store that lost its database, and again where that failed."""
    for _ in range(2):
        with lives.noting_errors(ack), TraceStore(place.store, now_ns=partial(next, workload.clock(10**6))) as store:
            store.stats()
            return


def prepare(attempt: Try) -> None:
    """Arm what is no matter for strace."""
    if attempt.fault == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (attempt.nth, resource.RLIM_INFINITY))
    if attempt.fault == "short":
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
