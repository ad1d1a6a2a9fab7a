"""Mark and sweep: every blob that nothing names goes away.

A caller writes a blob and then its row, and deletes a row and then its blob; so a crash leaves
garbage, never a row without a blob. Sweeping is the other half of that rule:

    plan    1 list blobs, live digests and retired digests side by side, all in ascending order:
              one pass, and no mark set in memory
            2 a blob that is live stays; a retired one is dead; one in neither is a stray: left by
              a crash, or bereft of its row by a database that lost rows
            3 a live digest without a blob is looked up once more, then counts as missing
    apply   4 refuse when the plan does not add up (`SweepPlan.refusals`)
            5 for each chunk of dead blobs, under the lock that every writer holds: ask the caller
              which are still unreferenced, delete those
            6 clear what crashes left in stage/

Plan reads the store at one time and the live set at another, so a writer may refer to a "dead"
blob meanwhile. What makes the sweep right is step 5: `confirm` looks again, under the lock,
immediately before the deletion. Leave it out only where no writer can run.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from blobs.backends.base import Backend, Deleted
from blobs.digest import Digest
from blobs.errors import SweepRefused

CHUNK_BLOBS = 2048
"""Blobs per hold of the lock: about 0.2 s in which writers wait."""

MISSING_SHOWN = 1000
"""Missing digests kept in a plan; the count is exact beyond that."""

STRAY_FLOOR_BYTES = 1024 * 1024
"""Strays below this never stop a sweep: in a tiny store one crash may well leave half of the bytes."""

Confirm = Callable[[Sequence[Digest]], Collection[Digest]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What a sweep would delete, and the whole it is measured against. Bytes are allocated bytes."""

    dead: tuple[Digest, ...] = ()
    dead_bytes: int = 0
    stray_count: int = 0
    stray_bytes: int = 0
    """Strays are the part of the dead that the caller did not retire."""
    total_count: int = 0
    total_bytes: int = 0
    live_count: int = 0
    retired_count: int = 0
    missing_count: int = 0
    missing: tuple[Digest, ...] = ()
    """The first live digests without a blob, at most MISSING_SHOWN."""

    @property
    def dead_count(self) -> int:
        """Number of blobs that would go."""
        return len(self.dead)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Say why this plan must not be applied without force; empty when it may be."""
        reasons = []
        if self.missing_count:
            reasons.append(f"{self.missing_count} live blobs are missing, the first is {self.missing[0]}")
        if self.total_count and not self.live_count and not self.retired_count:
            reasons.append(f"nothing is live and nothing was retired, yet {self.total_count} blobs are stored")
        if self.stray_bytes >= STRAY_FLOOR_BYTES and self.stray_bytes * 2 > self.total_bytes:
            reasons.append(f"{self.stray_bytes} of {self.total_bytes} bytes have lost their references unexplained")
        return tuple(reasons)


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """What a sweep did."""

    blobs_deleted: int = 0
    bytes_reclaimed: int = 0
    """Allocated bytes of the deleted blobs."""
    blobs_spared: int = 0
    """Blobs of the plan that were referenced again, or gone, when their turn came."""
    leftovers_deleted: int = 0
    leftover_bytes: int = 0


def plan(backend: Backend, live: Iterable[bytes], retired: Iterable[bytes] = ()) -> SweepPlan:
    """Compare the store with the live and the retired digests; both ascending, else ValueError."""
    living = _Cursor(live, "live")
    retirees = _Cursor(retired, "retired")
    missing = _Missing(backend)
    dead: list[Digest] = []
    dead_bytes = stray_bytes = stray_count = total_count = total_bytes = 0
    for blob in backend.list():
        total_count += 1
        total_bytes += blob.allocated_bytes
        missing.look_for(living.skip_below(blob.digest))
        deque(retirees.skip_below(blob.digest), maxlen=0)
        if living.take(blob.digest):
            continue
        dead.append(blob.digest)
        dead_bytes += blob.allocated_bytes
        if not retirees.take(blob.digest):
            stray_count += 1
            stray_bytes += blob.allocated_bytes
    missing.look_for(living.skip_below(None))
    deque(retirees.skip_below(None), maxlen=0)
    return SweepPlan(
        tuple(dead), dead_bytes, stray_count, stray_bytes, total_count, total_bytes,
        living.count, retirees.count, missing.count, tuple(missing.shown),
    )  # fmt: skip


def apply(
    backend: Backend,
    sweep_plan: SweepPlan,
    lock: AbstractContextManager[object],
    confirm: Confirm | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
) -> SweepSummary:
    """Delete what the plan found dead and `confirm` still finds unreferenced.

    `confirm` gets a chunk of digests, runs under the lock, and may delete its own rows of those it
    returns; one it did not get raises ValueError. `on_progress` gets blobs done and blobs planned.
    """
    if sweep_plan.refusals and not force:
        raise SweepRefused(sweep_plan.refusals)
    done = deleted = reclaimed = 0
    for chunk in _chunks(sweep_plan.dead):
        with lock:
            gone = _delete_confirmed(backend, chunk, confirm)
        deleted += gone.blobs
        reclaimed += gone.bytes_reclaimed
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, sweep_plan.dead_count)
    with lock:
        leftovers = backend.clear_leftovers()
    return SweepSummary(deleted, reclaimed, done - deleted, leftovers.blobs, leftovers.bytes_reclaimed)


def _delete_confirmed(backend: Backend, chunk: Sequence[Digest], confirm: Confirm | None) -> Deleted:
    if confirm is None:
        return backend.delete(chunk)
    confirmed = set(confirm(chunk))
    if not confirmed.issubset(chunk):
        raise ValueError("confirm returned digests it was not asked about; return a part of its argument")
    return backend.delete([digest for digest in chunk if digest in confirmed])


def _chunks(digests: Sequence[Digest]) -> Iterator[Sequence[Digest]]:
    for start in range(0, len(digests), CHUNK_BLOBS):
        yield digests[start : start + CHUNK_BLOBS]


class _Cursor:
    """Reads ascending digests once, forwards; counts distinct ones."""

    def __init__(self, digests: Iterable[bytes], name: str) -> None:
        self._digests = iter(digests)
        self._name = name
        self.count = 0
        self._head: bytes | None = None
        self._advance()

    def skip_below(self, limit: bytes | None) -> Iterator[bytes]:
        """Move on to the first digest that is not below the limit (None: to the end), yielding those passed."""
        while self._head is not None and (limit is None or self._head < limit):
            yield self._head
            self._advance()

    def take(self, digest: bytes) -> bool:
        """Move past this digest if it is the next one."""
        if self._head != digest:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        for digest in self._digests:
            if self._head is None or digest > self._head:
                self._head = digest
                self.count += 1
                return
            if digest < self._head:
                raise ValueError(f"{self._name} digests must ascend; sort them (ORDER BY digest)")
        self._head = None


class _Missing:
    """Live digests without a blob: all counted, the first kept."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.count = 0
        self.shown: list[Digest] = []

    def look_for(self, digests: Iterable[bytes]) -> None:
        """Look each digest up once more: it may have been published after its part was listed."""
        for raw in digests:
            digest = Digest(raw)
            if self._backend.stat(digest) is None:
                self.count += 1
                if len(self.shown) < MISSING_SHOWN:
                    self.shown.append(digest)
