"""Writer, sweeper, snapshot, packer, reader and others, each stopped at every step while another one runs.

One of them comes to a step and stands still there; another starts, and runs to its end or until it
waits for a lock; then the first goes on. No order depends on luck or on time. What has to hold:

    writer and sweeper     invariant I4: no body is deleted that a committed row names
    snapshot and sweeper   a store that loses its database then is rebuilt as it was: nothing that
                           retention removed rises again, and no body counts as lost
    packer, unpacker       whoever writes, reads, sweeps, forgets or copies beside them finds every body
                           that he would find without them, and nothing that is forgotten outlives in a pack

The writer sends again what is about to go: a body whose records expire, a body that the byte cap
evicts, one more record of an expiring turn; or a backlog, which becomes a pack. All tries share one
store; each has bodies of its own, which may lie in packs to begin with.
"""

import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from blake3 import blake3

from tests.faults import steps, workload
from tests.faults.report import Report
from tracestore import RetentionPolicy, TraceStore, TraceStoreError
from tracestore.layout import StoreLayout
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.restore import restore
from tracestore.maintenance.rsync import Place

CAMPAIGN = "interleavings"
WAIT_S = 2.0
"""How long the other side may take before the first goes on without it; an order is weaker then, never wrong."""
WEEK = RetentionPolicy(max_age="7d")
NOTHING = RetentionPolicy(max_total_body_bytes=0)
LENGTH = 800
"""Repetitions in a body: two of them fill a frame."""
OLD_MS, NEW_MS = workload.BASE_MS - 8 * workload.DAY_MS, workload.BASE_MS - workload.DAY_MS

PRUNE_STEPS = (
    "removal noted", "rows expired", "sweep confirms", "bodies forgotten", "bodies marked evicted", "sweep deletes",
    "shard swept", "empty shard removed", "leftovers cleared", "gone bodies forgotten", "prune recorded", "checkpoint",
)  # fmt: skip
PRUNE_PACK_STEPS = (
    "bodies given up", "packs settled", "pack rewritten", "pack published", "dead noted", "pack removed",
    "replaced released", "pack leftovers cleared",
)  # fmt: skip
WRITE_STEPS = (
    "blobs staged", "file system sync", "blob file sync", "blob rename", "blobs published", "journal read sync",
    "rows committed",
)  # fmt: skip
WRITE_PACK_STEPS = ("pack frame written", "pack finished", "packs required", "pack published", "rows committed")
PACK_STEPS = (
    "bodies packed", "pack frame written", "pack finished", "pack published", "bodies given up", "dead noted",
    "copies proved", "replaced released", "pack removed",
)  # fmt: skip
UNPACK_STEPS = ("unpacked", "blobs staged", "blobs published", "bodies given up", "dead noted", "pack removed")
READ_STEPS = ("loose body read", "packed body read")
FORGET_STEPS = ("bodies erased", "bodies given up", "pack rewritten", "pack published", "pack removed")
BACKUP_STEPS = ("backup sync", "snapshot taken")
SNAPSHOT_STEPS = (
    "snapshot file finished", "snapshot manifest written", "snapshot taken", "old snapshots cleared",
    "removals forgotten", "segments removed",
)  # fmt: skip
NOTING_STEPS = ("removal noted", "rows expired", "bodies marked evicted", "sweep deletes", "prune recorded")
Side = Literal["writer", "sweeper", "snapshot", "packer", "unpacker", "reader", "forgetter", "backup"]
Sent = Literal["its body", "its turn", "a new body", "an old record", "a backlog"]
MOVERS: dict[Side, tuple[str, ...]] = {"packer": PACK_STEPS, "unpacker": UNPACK_STEPS}
BESIDE_MOVERS: dict[Side, tuple[str, ...]] = {
    "writer": (*WRITE_STEPS, *WRITE_PACK_STEPS), "sweeper": (*PRUNE_STEPS, *PRUNE_PACK_STEPS), "reader": READ_STEPS,
    "forgetter": FORGET_STEPS, "backup": BACKUP_STEPS,
}  # fmt: skip
"""Who else is about while bodies move, and where they may stand meanwhile."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who stands still where, who runs meanwhile, what is sent and what may be deleted."""

    stands: Side
    runs: Side
    step: str
    when: steps.When
    policy: RetentionPolicy = WEEK
    sent: Sent = "its body"
    is_packed: bool = False
    """Whether the bodies that are there lie in packs, but for the last one."""

    def __str__(self) -> str:
        about = f"prune by {'age' if self.policy is WEEK else 'size'}" if "sweeper" in self.sides else "no prune"
        about += f", {self.sent} is sent" if "writer" in self.sides else ""
        about += ", packed" if self.is_packed else ""
        return f"{self.stands} stands {self.when} {self.step!r}, {self.runs} runs, {about}"

    @property
    def sides(self) -> tuple[Side, Side]:
        """Who takes part."""
        return self.stands, self.runs

    @property
    def concerns_rebuild(self) -> bool:
        """Tell whether the store has to be rebuilt as it is afterwards."""
        return "snapshot" in self.sides or (self.step in NOTING_STEPS and "sweeper" in self.sides)


def orders() -> Iterator[Order]:
    """Yield every order; some do not come about."""
    whens: tuple[steps.When, ...] = ("after", "before")
    for policy, when in product((WEEK, NOTHING), whens):
        for sent in get_args(Sent):
            yield from (Order("sweeper", "writer", step, when, policy, sent) for step in PRUNE_STEPS)
            written = WRITE_PACK_STEPS if sent == "a backlog" else WRITE_STEPS
            yield from (Order("writer", "sweeper", step, when, policy, sent) for step in written)
            yield from (Order("writer", "sweeper", step, when, policy, sent, True) for step in written)
        for sent, step in product(("its body", "a backlog"), (*PRUNE_STEPS, *PRUNE_PACK_STEPS)):
            yield Order("sweeper", "writer", step, when, policy, sent, True)
        yield from (Order("snapshot", "sweeper", step, when, policy) for step in SNAPSHOT_STEPS)
        yield from (Order("sweeper", "snapshot", step, when, policy) for step in NOTING_STEPS)
        yield from (Order("sweeper", "reader", step, when, policy, is_packed=True) for step in PRUNE_PACK_STEPS)
        yield from (Order("reader", "sweeper", step, when, policy, is_packed=True) for step in READ_STEPS)
    for mover, when, is_packed in product(MOVERS, whens, (True, False)):
        for other, other_steps in BESIDE_MOVERS.items():
            for policy, sent in product(
                (NOTHING, WEEK) if other == "sweeper" else (WEEK,),
                ("its body", "a backlog") if other == "writer" else ("its body",),
            ):
                yield from (Order(mover, other, step, when, policy, sent, is_packed) for step in MOVERS[mover])
                yield from (Order(other, mover, step, when, policy, sent, is_packed) for step in other_steps)


def run(count: int = 0, seed: int = 0, without: str | None = None, between: frozenset[Side] = frozenset()) -> Report:
    """Play all orders (0), or so many drawn by the seed; with a safety step taken away until one fails.

    ``between`` leaves out the orders in which not all of these take part.
    """
    report = Report(CAMPAIGN, seed)
    chosen = [order for order in dict.fromkeys(orders()) if between.issubset(order.sides)]
    if 0 < count < len(chosen):
        chosen = random.Random(seed).sample(chosen, count)
    root = Path(tempfile.mkdtemp(prefix="tracestore-orders-"))
    try:
        with (
            workload.scaled_down(),
            steps.without(without) if without else nullcontext(),
            TraceStore(root / "store", now_ns=_now) as store,
        ):
            for number, order in enumerate(chosen):
                _play(_Case(store, order, str(number)), report)
                if without and report.violations:
                    break
    finally:
        shutil.rmtree(root)
    return report


def _now() -> int:
    return workload.BASE_MS * workload.NS_PER_MS


def _play(case: "_Case", report: Report) -> None:
    case.prepare()
    order = case.order
    try:
        if not _in_order(case.store, order, *(getattr(case, side) for side in order.sides)):
            report.notes["step not met"] += 1  # a body that is there already is not staged, and the like
            return
        found = [*_rebuilt_otherwise(case.store, case.name)] if order.concerns_rebuild else []
        found += case.broken()
    except TraceStoreError as error:
        found = [f"{type(error).__name__}: {error}"]
    report.add(found, str(order))


class _Case:
    """One order on the store that all of them share; its sides are methods by their names."""

    def __init__(self, store: TraceStore, order: Order, name: str) -> None:
        self.store, self.order, self.name = store, order, name
        self.dying = [f"{name} {which} " * LENGTH for which in ("dying", "dying too")]
        self.staying = [f"{name} {which} " * LENGTH for which in ("staying", "staying too")]
        self.turn = f"old {name}" if order.sent == "its turn" else f"new {name}"
        self.text = f"{name} new " * 40 if order.sent == "a new body" else self.dying[0]
        self._wrong: list[str] = []

    def prepare(self) -> None:
        """Insert what the order is about: records that will go, and records that stay."""
        for which in (0, 1):
            self.store.insert_records([
                _record(f"old{which} {self.name}", OLD_MS, f"old {self.name}", self.dying[which]),
                _record(f"staying{which} {self.name}", NEW_MS, f"staying {self.name}", self.staying[which]),
            ])  # fmt: skip
            if self.order.is_packed and which == 0:
                self.store.pack(grace_ms=workload.AT_ONCE_MS)
        self.store.stats()  # what was inserted becomes a row no later than somebody reads

    def writer(self) -> None:
        at_ms = OLD_MS if self.order.sent == "an old record" else NEW_MS
        more = range(workload.PACKED_FROM if self.order.sent == "a backlog" else 0)
        self.store.insert_records([
            _record(f"new {self.name}", at_ms, self.turn, self.text),
            *(_record(f"more{n} {self.name}", NEW_MS, self.turn, f"{self.name} more {n} " * 40) for n in more),
        ])  # fmt: skip
        self.store.get_turn(self.turn)

    def sweeper(self) -> None:
        self.store.prune(self.order.policy)

    def snapshot(self) -> None:
        self.store.snapshot()

    def packer(self) -> None:
        self.store.pack(grace_ms=workload.AT_ONCE_MS)

    def unpacker(self) -> None:
        self.store.unpack(grace_ms=workload.AT_ONCE_MS)

    def forgetter(self) -> None:
        self.store.forget(turn_id=f"old {self.name}")

    def backup(self) -> None:
        """Copy the store, and look at what a restore makes of the copy."""
        with tempfile.TemporaryDirectory(prefix="tracestore-copied-") as home:
            target = Place.local(Path(home) / "backup")
            back_up(StoreLayout(self.store.path), target, self.store.snapshot, tell=lambda text: None)
            restore(target, StoreLayout(Path(home) / "restored"))
            with TraceStore(Path(home) / "restored", now_ns=_now) as restored:
                self._wrong += [f"restored: {wrong}" for wrong in self._unread(restored, may_go=False)]
                self._wrong += [f"restored: {wrong}" for wrong in _damage(restored)]

    def reader(self) -> None:
        self._wrong += self._unread(self.store, may_go="sweeper" in self.order.sides)

    def _unread(self, store: TraceStore, *, may_go: bool) -> Iterator[str]:
        """Read every body at once, and each by itself; nothing else may come back, and nothing only if it may go."""
        wanted = {f"{which}{n} {self.name}": text for which, texts in (("old", self.dying), ("staying", self.staying))
                  for n, text in enumerate(texts)}  # fmt: skip
        for turn in ("old", "staying"):
            for record in store.get_turn(f"{turn} {self.name}"):
                text = wanted.pop(record.producer_id, None)
                alone = store.get_body(str(record.body_digest))
                if record.body != text and not (may_go and record.body is None):
                    yield f"{record.producer_id!r} is read as {record.body_state}"
                if text is not None and alone != text.encode() and not (may_go and alone is None):
                    yield f"the body of {record.producer_id!r} alone is not to be had"
        if not may_go:
            yield from (f"{own_id!r} is not there" for own_id in wanted)

    def broken(self) -> Iterator[str]:
        """Yield what is not as it must be afterwards."""
        order = self.order
        yield from self._wrong
        if "writer" in order.sides:
            yield from self._unsent()
        if not {"sweeper", "forgetter"}.intersection(order.sides):
            yield from self._unread(self.store, may_go=False)
        elif order.policy is WEEK:
            bodies = [record.body for record in self.store.get_turn(f"staying {self.name}")]
            if sorted(map(str, bodies)) != sorted(self.staying):
                yield "a body that was to stay is not there"
        if "forgetter" in order.sides:
            digests = {blake3(text.encode()).digest() for text in self.dying}
            found = list(self.store._blobs.salvage(["objects", "packs", "quarantine"], digests))
            yield from (f"forgotten, and still in {path}" for path, _, _ in found)
        yield from _damage(self.store)

    def _unsent(self) -> Iterator[str]:
        order = self.order
        sent = [record for record in self.store.get_turn(self.turn) if record.producer_id.startswith("new")]
        has_pruned = "sweeper" in order.sides
        may_evict = has_pruned and order.policy is NOTHING
        may_expire = has_pruned and order.policy is WEEK and order.sent == "an old record"
        if len(sent) != 1 and not (may_expire and not sent):
            yield f"the record that was sent is there {len(sent)} times"
        for record in sent:
            if record.body != self.text and not (may_evict and record.body_state == "evicted"):
                yield f"its body is {record.body_state}"


def _record(own_id: str, at_ms: int, turn: str, text: str) -> dict[str, Any]:
    about = {"kind": "log", "id": own_id, "timestamp": at_ms, "extensionId": "app", "level": "info", "msg": own_id}
    return about | {"turnId": turn, "body": text}


def _damage(store: TraceStore) -> Iterator[str]:
    for finding in store.verify(data=True).findings:
        if not finding.harmless:
            yield f"verify: {finding.kind}: {finding.detail}"


def _rebuilt_otherwise(store: TraceStore, name: str) -> Iterator[str]:
    """Rebuild a copy of the store without its database, and say where the records of a try differ."""
    with tempfile.TemporaryDirectory(prefix="tracestore-rebuilt-") as home:
        copy = Path(home) / "store"
        shutil.copytree(store.path, copy, ignore=shutil.ignore_patterns("records.duckdb*"))
        with TraceStore(copy, now_ns=_now) as rebuilt:
            there, after = _states(store, name), _states(rebuilt, name)
    for own_id in sorted(there.keys() | after.keys()):
        if there.get(own_id) != after.get(own_id):
            yield f"{own_id!r} is {there.get(own_id, 'gone')}, and after a rebuild {after.get(own_id, 'gone')}"


def _states(store: TraceStore, name: str) -> dict[str, str]:
    states = "SELECT producer_id, state FROM records JOIN bodies ON bodies.digest = records.body_digest"
    return {own_id: state for own_id, state in store.sql(states).rows if name in own_id.split()}


def _in_order(store: TraceStore, order: Order, first: Callable[[], object], second: Callable[[], object]) -> bool:
    """Run both, the second when the first stands at its step; tell whether it ever did."""
    other = _Other(second)
    with ExitStack() as stack:
        stack.enter_context(steps.pause_at(order.step, other.go, order.when))
        for owner, name in _locks(store):
            if not isinstance(lock := getattr(owner, name), steps.NoLock):
                setattr(owner, name, _WatchedLock(lock, other.waits))
                stack.callback(setattr, owner, name, lock)
        first()
        other.finish()
    return other.started


def _locks(store: TraceStore) -> list[tuple[Any, str]]:
    """Return where the store keeps the locks that its threads wait for."""
    recovery = store._writing("prune").recovery
    return [
        (store._blobs, "lock"), (store._blobs, "packing"), (store._blobs._tier, "_mutex"),
        (store._database, "_writing"), (store, "_inserting"), (recovery, "_taking"),
    ]  # fmt: skip


class _Other:
    """The side that runs while the first stands still; it starts when that happens first."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._first = threading.get_ident()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self.started = False

    def go(self) -> None:
        """Start, and return when it has ended or waits for the first."""
        if threading.get_ident() == self._first and not self.started:
            self.started = True
            self._thread.start()
            self._stopped.wait(WAIT_S)

    def waits(self) -> None:
        """Take note that a thread waits for a lock."""
        if threading.current_thread() is self._thread:
            self._stopped.set()

    def finish(self) -> None:
        """Wait for its end, and raise what it raised."""
        if self.started:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
        finally:
            self._stopped.set()


class _WatchedLock:
    """A lock that says when a thread has to wait for it."""

    def __init__(self, lock: Any, waits: Callable[[], None]) -> None:
        self._lock, self._waits = lock, waits

    def acquire(self, timeout: float = -1) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        self._waits()
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> "_WatchedLock":
        self.acquire()
        return self

    def __exit__(self, *about: object) -> None:
        self.release()
