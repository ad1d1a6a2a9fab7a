"""One deterministic life of a store: everything that writes, in one cycle, the same for each seed.

Records are numbered. `record` and `line` are pure in (seed, number), so that the oracle knows what
each one must be without asking the store. Four numbers make a turn, every third turn is older than
``MAX_AGE``; some bodies belong to many records, old and new, so that a sweep meets the living.
Every ``REJECTED``-th line of the journal is no record.

A cycle inserts, appends to a journal of its own and collects it, packs, prunes by age and by size,
compacts, takes a snapshot, forgets a turn, unpacks, closes. Packs and what decides about them are
small here (`scaled_down`), so that a short life has several, merges them and writes them anew.
Each promise goes to ``ack`` as an event:

    {"op": "insert-begins", "first": n, "last": m}   then "inserted": these records are durable
    {"op": "append-begins", "first": n, "last": m}   then "appended": lines in the journal, nothing promised yet
    {"op": "collected", "first": n, "last": m}       what was appended is in the store, durably
    {"op": "prune-begins", "cutoff_ms": c, "cap": b} then "pruned"; one of the two is None
    {"op": "prune-full"}                             after it instead: the disk was full, half of a turn may wait
    {"op": "forget-begins", "turn": t}               then "forgotten": no record of that turn is there
    {"op": "packed"} {"op": "unpacked"} {"op": "compacted"} {"op": "snapshot"} {"op": "opened"} {"op": "closed"}
"""

import base64
import errno
import json
import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import blobs.store
from blobs.packs import frame, packing, window
from tests.faults.acks import Ack
from tracestore import RetentionPolicy, StoreUnavailable, TraceStore
from tracestore.collector import Collector
from tracestore.maintenance.retention import GRACE_MS

BASE_MS = 1_772_413_967_000
DAY_MS = 86_400_000
NS_PER_MS = 1_000_000
MAX_AGE = "7d"
TURN = 4
"""Records of a turn."""
REJECTED = 13
SHARED_BODIES = 9
SIZES = (0, 1, 40, 900, 6_000, 30_000)
LARGE_BYTES = 200_000
CAPS = (0, 40_000, 200_000)
AT_ONCE_MS = -100 * 365 * DAY_MS
"""A grace that is over for every file: the disk tells their times, and its clock is not that of the store."""
PACKED_FROM = 10
SMALLER: tuple[tuple[Any, str, int], ...] = (
    (blobs.store, "PACKED_FROM_BODIES", PACKED_FROM),
    (packing, "PACK_RAW_BYTES", 150_000),
    (packing, "SMALL_RAW_BYTES", 90_000),
    (window, "WINDOW_RAW_BYTES", 60_000),
    (frame, "RAW_BYTES", 12_000),
    (frame, "FEWEST_BODIES", 2),
    (frame, "MOST_RAW_BYTES", 50_000),
)
"""What makes packs out of a few bodies: a module, a name in it, and the value for the length of a life."""


def record(seed: int, number: int) -> dict[str, Any]:
    """Return one record as a dict in the journal's JSON shape; a body that is not text is base64."""
    rng = random.Random(f"record {seed} {number}")
    turn = number // TURN
    members: dict[str, Any] = {
        "id": f"{seed}-{number}",
        "timestamp": BASE_MS - (8 * DAY_MS if is_old(number) else DAY_MS) + number * 10 + (number % 4) * 0.25,
        "extensionId": rng.choice(["app", "agent"]),
        **_kind(number, rng),
        "attributes": {"n": number, "model": f"m{number % 3}", "share": number / 8, "final": number % 2 == 0},
    }
    if turns_of([number]):
        members |= {"turnId": f"{seed}-t{turn}", "conversationId": f"{seed}-c{turn // 3}"}
    if number % 6 == 0:
        members |= {"links": [{"spanId": f"s{turn - 1}", "reason": "after"}], "unknownKey": {"deep": [number, "é"]}}
    content = body(seed, number)
    if content is not None and number % 7 == 3:
        members |= {"body": base64.b64encode(content).decode(), "bodyEncoding": "base64"}
    elif content is not None:
        members["body"] = content.decode("utf-8", "surrogatepass")
    return members


def body(seed: int, number: int) -> bytes | None:
    """Return the bytes of a record's body, or None for one without."""
    rng = random.Random(f"body {seed} {number}")
    if number % 3 == 2:
        return None
    if rng.random() < 0.4:
        which = rng.randrange(SHARED_BODIES)
        return _text(random.Random(f"shared {seed} {which}"), SIZES[which % len(SIZES)])
    if rng.random() < 0.02:
        return _text(rng, LARGE_BYTES)
    return rng.randbytes(700) if number % 7 == 3 else _text(rng, rng.choice(SIZES))


def line(seed: int, number: int) -> bytes:
    """Return the journal's line of this number, newline included; some are no record."""
    if is_rejected(number):
        return f"no record {seed}-{number} {chr(0xE9)}\n".encode()
    return json.dumps(record(seed, number)).encode() + b"\n"


def is_rejected(number: int) -> bool:
    """Tell whether the journal's line of this number is no record."""
    return number % REJECTED == 7


def is_old(number: int) -> bool:
    """Tell whether a record is past ``MAX_AGE`` from the start; a turn is as a whole."""
    return (number // TURN) % 3 == 1


def numbers_of(turn: int) -> range:
    """Return the numbers of a turn's records."""
    return range(turn * TURN, (turn + 1) * TURN)


def turns_of(numbers: Iterable[int]) -> set[int]:
    """Return the turns that these records belong to; a record may have none."""
    return {turn for number in numbers if (turn := number // TURN) % 5 != 4}


@contextmanager
def scaled_down(packed_from: int = PACKED_FROM) -> Iterator[None]:
    """Let packs be small for the length of the block; so many new bodies at once become one."""
    kept = [(module, name, getattr(module, name)) for module, name, _ in SMALLER]
    for module, name, value in SMALLER:
        setattr(module, name, value)
    blobs.store.PACKED_FROM_BODIES = packed_from
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def clock(start: int = 0) -> Iterator[int]:
    """Yield times in nanoseconds, a millisecond apart; later ones for a later start."""
    now_ns = (BASE_MS + start * 20) * NS_PER_MS
    while True:
        now_ns += NS_PER_MS
        yield now_ns


def run(
    store_path: str, journal_path: str, seed: int, ack: Ack, *, cycles: int = 1, start: int = 0, threads: bool = False
) -> int:
    """Run whole cycles over records numbered from ``start`` on; return the number after the last.

    A later run on the same store begins where an earlier one may have got to, or beyond. With
    ``threads`` prunes run in a thread of their own beside the writing.
    """
    ticks = clock(start)
    mend_journal(journal_path)
    life = _Life(store_path, journal_path, seed, ack, start)
    for cycle in range(cycles):
        with scaled_down(), TraceStore(store_path, now_ns=lambda: next(ticks)) as store:
            ack({"op": "opened"})
            step = life.busy_cycle if threads else life.cycle
            step(store, random.Random(f"cycle {seed} {start} {cycle}"))
        ack({"op": "closed"})
    return life.next_number


class _Life:
    """One producer's steps on one store."""

    def __init__(self, store_path: str, journal_path: str, seed: int, ack: Ack, start: int) -> None:
        self.store_path, self.journal_path = store_path, journal_path
        self.seed, self.ack = seed, ack
        self.next_number = start
        self._resent: list[int] = []

    def cycle(self, store: TraceStore, rng: random.Random) -> None:
        """Do everything once; the seed chooses sizes, the cap, and whether inserting or collecting comes first."""
        if self.seed % 2:
            self.collect(store, 3)
        self.insert(store, rng.choice([1, 3]))
        store.stats()  # what was inserted becomes rows no later than somebody reads
        self.insert(store, 24)
        self.collect(store, 9, torn=rng.random() < 0.5)
        self.pack(store, GRACE_MS)
        self.prune(store, RetentionPolicy(max_age=MAX_AGE))
        self.insert(store, rng.choice([2, 9]))
        store.compact()
        self.ack({"op": "compacted"})
        self.snapshot(store)
        self.collect(store, 26)  # with enough new bodies to become a pack at once
        self.forget(store)
        self.pack(store, AT_ONCE_MS)
        if rng.random() < 0.6:
            self.prune(store, RetentionPolicy(max_total_body_bytes=rng.choice(CAPS)))
        self.insert(store, 4)
        if rng.random() < 0.5:
            self.unpack(store)

    def busy_cycle(self, store: TraceStore, rng: random.Random) -> None:
        """Insert, collect and take snapshots while other threads prune by age and by size, and pack and unpack."""
        self.insert(store, 12)
        with ThreadPoolExecutor(2) as others:
            pruned = others.submit(self._prunes, store, rng.choice(CAPS))
            packed = others.submit(self._packs, store)
            for _ in range(3):
                self.insert(store, rng.choice([1, 8]))
                self.collect(store, 18)
                self.snapshot(store)
            pruned.result()
            packed.result()

    def _packs(self, store: TraceStore) -> None:
        for grace_ms in (AT_ONCE_MS, GRACE_MS, AT_ONCE_MS):
            self.pack(store, grace_ms)
        self.unpack(store)

    def _prunes(self, store: TraceStore, cap: int) -> None:
        for policy in (RetentionPolicy(max_age=MAX_AGE), RetentionPolicy(max_total_body_bytes=cap)):
            self.prune(store, policy)

    def insert(self, store: TraceStore, count: int) -> None:
        """Insert new records, and one again that was inserted before."""
        first, last = self._numbers(count)
        records = [record(self.seed, number) for number in range(first, last + 1)]
        self.ack({"op": "insert-begins", "first": first, "last": last})
        store.insert_records(records + [record(self.seed, number) for number in self._resent])
        self.ack({"op": "inserted", "first": first, "last": last})
        self._resent = [number for number in range(first, last + 1) if not is_old(number)][:1]

    def collect(self, store: TraceStore, count: int, torn: bool = False) -> None:
        """Append lines to the journal, maybe in two pieces that part a line, and drain it."""
        first, last = self._numbers(count)
        data = b"".join(line(self.seed, number) for number in range(first, last + 1))
        collector = Collector(store, self.journal_path, lambda event: None)
        self.ack({"op": "append-begins", "first": first, "last": last})
        if torn:
            append(self.journal_path, data[: len(data) // 2])
            collector.drain()
        append(self.journal_path, data[len(data) // 2 :] if torn else data)
        self.ack({"op": "appended", "first": first, "last": last})
        collector.drain()
        self.ack({"op": "collected", "first": first, "last": last})
        collector.close()

    def prune(self, store: TraceStore, policy: RetentionPolicy) -> None:
        """Prune; an age always stands for the same cutoff, between the old and the others."""
        cutoff_ms = None if policy.max_age_ms is None else BASE_MS - policy.max_age_ms
        about = {"cutoff_ms": cutoff_ms, "cap": policy.max_total_body_bytes}
        self.ack({"op": "prune-begins", **about})
        try:
            store.prune(policy)
        except StoreUnavailable as error:
            if error.errno == errno.ENOSPC:
                self.ack({"op": "prune-full"})
            raise
        self.ack({"op": "pruned", **about})

    def pack(self, store: TraceStore, grace_ms: int) -> None:
        """Pack, and let what was replaced go after a grace."""
        store.pack(grace_ms=grace_ms)
        self.ack({"op": "packed"})

    def unpack(self, store: TraceStore) -> None:
        """Make every body a file of its own again, and let the packs go."""
        store.unpack(grace_ms=AT_ONCE_MS)
        self.ack({"op": "unpacked"})

    def forget(self, store: TraceStore) -> None:
        """Forget a turn that is complete; no record of it is sent again."""
        last = self.next_number // TURN - 1
        turn = last if turns_of(numbers_of(last)) else last - 1
        self._resent = [number for number in self._resent if number not in numbers_of(turn)]
        self.ack({"op": "forget-begins", "turn": turn})
        store.forget(turn_id=f"{self.seed}-t{turn}")
        self.ack({"op": "forgotten", "turn": turn})

    def snapshot(self, store: TraceStore) -> None:
        """Take a snapshot."""
        store.snapshot()
        self.ack({"op": "snapshot"})

    def _numbers(self, count: int) -> tuple[int, int]:
        first = self.next_number
        self.next_number += count
        return first, self.next_number - 1


def append(journal_path: str, data: bytes) -> None:
    """Append to a journal as a producer does: without fsync."""
    fd = os.open(journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, data)
    finally:
        os.close(fd)


def mend_journal(journal_path: str) -> None:
    """End a line that a killed producer left torn, as the next producer does when it starts."""
    path = Path(journal_path)
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        append(journal_path, b"\n")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _kind(number: int, rng: random.Random) -> dict[str, Any]:
    turn, place = divmod(number, TURN)
    if place == 0:
        return {"kind": "span-open", "spanId": f"s{turn}", "name": "turn"}
    if place == TURN - 1:
        status = {"durationMs": rng.choice([40, 12.5]), "status": rng.choice(["ok", "error"])}
        return {"kind": "span-close", "spanId": f"s{turn}", "name": "turn", **status}
    return {"kind": "log", "level": rng.choice(["info", "warn"]), "msg": f"log {number}", "parentSpanId": f"s{turn}"}


def _text(rng: random.Random, size_bytes: int) -> bytes:
    """Return text of about this size, half of which compresses; now and then with a lone surrogate."""
    text = rng.randbytes(size_bytes // 4).hex() + "tool result " * (size_bytes // 24)
    return (text + ("\ud83d" if rng.random() < 0.2 and size_bytes else "")).encode("utf-8", "surrogatepass")
