"""Writer, sweeper and snapshot, each stopped at every step while another one runs.

One of them comes to a step and stands still there; another starts, and runs to its end or until it
waits for a lock; then the first goes on. No order depends on luck or on time. What has to hold:

    writer and sweeper     invariant I4: no body is deleted that a committed row names
    snapshot and sweeper   a store that loses its database then is rebuilt as it was: nothing that
                           retention removed rises again, and no body counts as lost

The writer sends again what is about to go: a body whose records expire, a body that the byte cap
evicts, one more record of an expiring turn. All tries share one store; each has bodies of its own.
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

from tests.faults import steps, workload
from tests.faults.report import Report
from tracestore import RetentionPolicy, TraceStore, TraceStoreError

CAMPAIGN = "interleavings"
WAIT_S = 2.0
"""How long the other side may take before the first goes on without it; an order is weaker then, never wrong."""
WEEK = RetentionPolicy(max_age="7d")
NOTHING = RetentionPolicy(max_total_body_bytes=0)
OLD_MS, NEW_MS = workload.BASE_MS - 8 * workload.DAY_MS, workload.BASE_MS - workload.DAY_MS

PRUNE_STEPS = (
    "removal noted", "rows expired", "sweep confirms", "bodies forgotten", "bodies marked evicted", "sweep deletes",
    "shard swept", "empty shard removed", "leftovers cleared", "gone bodies forgotten", "prune recorded", "checkpoint",
)  # fmt: skip
WRITE_STEPS = (
    "blobs staged", "file system sync", "blob file sync", "blob rename", "blobs published", "journal read sync",
    "rows committed",
)  # fmt: skip


SNAPSHOT_STEPS = (
    "snapshot file finished", "snapshot manifest written", "snapshot taken", "old snapshots cleared",
    "removals forgotten", "segments removed",
)  # fmt: skip
NOTING_STEPS = ("removal noted", "rows expired", "bodies marked evicted", "sweep deletes", "prune recorded")
Side = Literal["writer", "sweeper", "snapshot"]
Sent = Literal["its body", "its turn", "a new body", "an old record"]


@dataclass(frozen=True, slots=True)
class Order:
    """Who stands still where, who runs meanwhile, what is sent and what may be deleted."""

    stands: Side
    runs: Side
    step: str
    when: steps.When
    policy: RetentionPolicy
    sent: Sent = "its body"

    def __str__(self) -> str:
        about = f"prune by {'age' if self.policy is WEEK else 'size'}"
        about += f", {self.sent} is sent" if "writer" in (self.stands, self.runs) else ""
        return f"{self.stands} stands {self.when} {self.step!r}, {self.runs} runs, {about}"

    @property
    def concerns_rebuild(self) -> bool:
        """Tell whether the store has to be rebuilt as it is afterwards."""
        return "snapshot" in (self.stands, self.runs) or self.step in NOTING_STEPS


def orders() -> Iterator[Order]:
    """Yield every order; some do not come about."""
    whens: tuple[steps.When, ...] = ("after", "before")
    for policy, when in product((WEEK, NOTHING), whens):
        for sent in get_args(Sent):
            yield from (Order("sweeper", "writer", step, when, policy, sent) for step in PRUNE_STEPS)
            yield from (Order("writer", "sweeper", step, when, policy, sent) for step in WRITE_STEPS)
        yield from (Order("snapshot", "sweeper", step, when, policy) for step in SNAPSHOT_STEPS)
        yield from (Order("sweeper", "snapshot", step, when, policy) for step in NOTING_STEPS)


def run(count: int = 0, seed: int = 0, without: str | None = None) -> Report:
    """Play all orders (0), or so many drawn by the seed; with a safety step taken away until one fails."""
    report = Report(CAMPAIGN, seed)
    chosen = list(orders())
    if 0 < count < len(chosen):
        chosen = random.Random(seed).sample(chosen, count)
    root = Path(tempfile.mkdtemp(prefix="tracestore-orders-"))
    try:
        with (steps.without(without) if without else nullcontext()), TraceStore(root / "store", now_ns=_now) as store:
            for number, order in enumerate(chosen):
                _play(store, order, str(number), report)
                if without and report.violations:
                    break
    finally:
        shutil.rmtree(root)
    return report


def _now() -> int:
    return workload.BASE_MS * workload.NS_PER_MS


def _play(store: TraceStore, order: Order, name: str, report: Report) -> None:
    texts = [f"{name} {which} " * 40 for which in ("dying", "dying too")]
    store.insert_records(_record(f"old{n} {name}", OLD_MS, f"old {name}", text) for n, text in enumerate(texts))
    turn = f"old {name}" if order.sent == "its turn" else f"new {name}"
    text = f"{name} new " * 40 if order.sent == "a new body" else texts[0]
    at_ms = OLD_MS if order.sent == "an old record" else NEW_MS
    sides = {
        "writer": lambda: _send(store, _record(f"new {name}", at_ms, turn, text)),
        "sweeper": lambda: store.prune(order.policy),
        "snapshot": store.snapshot,
    }
    try:
        if not _in_order(store, order, sides[order.stands], sides[order.runs]):
            report.notes["step not met"] += 1  # a body that is there already is not staged, and the like
            return
        found = [*_rebuilt_otherwise(store, name)] if order.concerns_rebuild else []
        if "writer" in (order.stands, order.runs):
            found += _broken(store, turn, text, order)
    except TraceStoreError as error:
        found = [f"{type(error).__name__}: {error}"]
    report.add(found, str(order))


def _send(store: TraceStore, record: dict[str, Any]) -> None:
    store.insert_records([record])
    store.get_turn(record["turnId"])  # what was inserted becomes a row no later than somebody reads


def _record(own_id: str, at_ms: int, turn: str, text: str) -> dict[str, Any]:
    about = {"kind": "log", "id": own_id, "timestamp": at_ms, "extensionId": "app", "level": "info", "msg": own_id}
    return about | {"turnId": turn, "body": text}


def _broken(store: TraceStore, turn: str, text: str, order: Order) -> Iterator[str]:
    sent = [record for record in store.get_turn(turn) if record.producer_id.startswith("new")]
    may_evict, may_expire = order.policy is NOTHING, order.policy is WEEK and order.sent == "an old record"
    if len(sent) != 1 and not (may_expire and not sent):
        yield f"the record that was sent is there {len(sent)} times"
    for record in sent:
        if record.body != text and not (may_evict and record.body_state == "evicted"):
            yield f"its body is {record.body_state}"
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
    return [(store._blobs, "lock"), (store._database, "_writing"), (store, "_inserting"), (recovery, "_taking")]


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

    def __enter__(self) -> "_WatchedLock":
        if not self._lock.acquire(blocking=False):
            self._waits()
            self._lock.acquire()
        return self

    def __exit__(self, *about: object) -> None:
        self._lock.release()
