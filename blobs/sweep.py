"""Mark and sweep: every blob that nothing names goes away.

A caller writes a blob and then its row, and deletes a row and then its blob; so a crash leaves
garbage, never a row without a blob. Sweeping is the other half of that rule:

    plan    1 list blobs, live digests and retired digests side by side, all in ascending order:
              one pass, and no mark set in memory
            2 a blob that is live stays; a retired one is dead; one in neither is a stray: left by
              a crash, or bereft of its row by a database that lost rows
            3 a live digest without a blob is looked up once more; one that was given up in a pack is
              revived, any other counts as missing
    apply   4 refuse when the plan does not add up (`SweepPlan.refusals`)
            5 for each chunk of dead blobs, under the lock that every writer holds: ask the caller
              which are still unreferenced, delete those; in a pack they are given up
            6 drop or copy packs that are dead, or dead enough (`rewriting`)
            7 clear what crashes left

Plan reads the store at one time and the live set at another, so a writer may refer to a "dead"
blob meanwhile. What makes the sweep right is step 5: `confirm` looks again, under the lock,
immediately before the deletion. Leave it out only where no writer can run.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import chain

from blobs.backends.base import Backend, BlobStat, Deleted
from blobs.comparing import aligned, loose, names
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, SweepRefused
from blobs.packs import rewriting
from blobs.packs.format import key_of
from blobs.packs.pack import Pack
from blobs.packs.seat import Seat, by_pack
from blobs.packs.tier import PackTier

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
    seats: Mapping[Digest, tuple[Seat, ...]] = field(default_factory=dict)
    """Where the dead lie in packs; those that are not named here are loose alone."""
    revived: tuple[Seat, ...] = ()
    """Live bodies whose only copy is one that was given up: in a copy of a store that was taken while they moved."""
    doubled: tuple[tuple[Seat, Seat], ...] = ()
    """Live bodies that lie in two packs, after a crash or a restore: the older seat and the newer."""

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
    """Allocated bytes of the deleted files."""
    files_deleted: int = 0
    blobs_spared: int = 0
    """Blobs of the plan that were referenced again, or gone, when their turn came."""
    leftovers_deleted: int = 0
    leftover_bytes: int = 0


def plan(backend: Backend, tier: PackTier, live: Iterable[bytes], retired: Iterable[bytes] = ()) -> SweepPlan:
    """Compare the store with the live and the retired digests; both ascending, else ValueError."""
    living, retirees = _Ascending(live, "live"), _Ascending(retired, "retired")
    found = _Found(backend, tier)
    doubted = set(_with_damaged_index(tier))
    packed = (entry for entry in tier.entries() if entry[1].pack not in doubted)
    for lives, gone, blobs, seats in aligned(living, retirees, loose(backend), packed):
        found.take(set(lives), set(gone), blobs, seats)
    return SweepPlan(
        tuple(found.dead), found.dead_bytes, found.stray_count, found.stray_bytes, found.total_count, found.total_bytes,
        living.count, retirees.count, found.missing_count, tuple(found.missing),
        found.seats, tuple(found.revived), tuple(found.doubled),
    )  # fmt: skip


def apply(
    backend: Backend,
    tier: PackTier,
    sweep_plan: SweepPlan,
    lock: AbstractContextManager[object],
    confirm: Confirm | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
    at_once: bool = False,
) -> SweepSummary:
    """Delete what the plan found dead and `confirm` still finds unreferenced.

    `confirm` gets a chunk of digests, runs under the lock, and may delete its own rows of those it
    returns; one it did not get raises ValueError. `on_progress` gets blobs done and blobs planned.
    `at_once` see `rewriting`.
    """
    if sweep_plan.refusals and not force:
        raise SweepRefused(sweep_plan.refusals)
    done = deleted = 0
    total = Deleted()
    touched: set[Pack] = set()
    for chunk in _chunks(sweep_plan.dead):
        with lock:
            gone = chunk if confirm is None else _confirmed(chunk, confirm)
            packed = {digest: seats for digest in gone if (seats := _live(sweep_plan.seats.get(digest, ())))}
            loose_alone = backend.delete([digest for digest in gone if digest not in packed])
            total += loose_alone
            if packed:
                total += backend.delete(list(packed))
            for pack, ordinals in by_pack(chain(*packed.values())).items():
                tier.give_up(pack, ordinals)
                touched.add(pack)
        deleted += loose_alone.blobs + len(packed)
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, sweep_plan.dead_count)
    with lock:
        for seat in sweep_plan.revived:
            tier.revive(seat)
    doubled = _give_up_doubled(tier, sweep_plan.doubled)
    # What is dead because it was replaced waits: a copy of the directory may have listed only this pack.
    died = touched | doubled if at_once else touched - doubled
    changed = [pack for pack in tier if not pack.is_noted or (at_once and pack.dead)]
    unsettled = [pack for pack in changed if pack.live_bodies or pack in died]
    total += rewriting.settle(tier, unsettled, lock, at_once=at_once)
    for pack in tier:
        if not pack.is_noted:
            total += tier.save(pack)
        pack.is_swept = not pack.live_bodies
    with lock:
        leftovers = backend.clear_leftovers() + tier.clear_leftovers()
    return SweepSummary(
        deleted, total.bytes_reclaimed, total.blobs, done - deleted, leftovers.blobs, leftovers.bytes_reclaimed
    )


def _with_damaged_index(tier: PackTier) -> Iterator[Pack]:
    """Yield packs in which nothing is condemned: what their index says of a dead body may be true of a live one."""
    for pack in tier:
        try:
            tier.require_whole_index(pack)
        except BlobCorrupt:
            yield pack


def _live(seats: Iterable[Seat]) -> list[Seat]:
    return [seat for seat in seats if seat.ordinal not in seat.pack.dead]


def _confirmed(chunk: Sequence[Digest], confirm: Confirm) -> Sequence[Digest]:
    confirmed = set(confirm(chunk))
    if not confirmed.issubset(chunk):
        raise ValueError("confirm returned digests it was not asked about; return a part of its argument")
    return [digest for digest in chunk if digest in confirmed]


def _give_up_doubled(tier: PackTier, doubled: Iterable[tuple[Seat, Seat]]) -> set[Pack]:
    """Keep the newer of two copies, once both were read and are the same."""
    touched = set()
    for older, newer in doubled:
        with suppress(BlobCorrupt):
            if tier.body(older) == tier.body(newer):
                tier.give_up(older.pack, [older.ordinal])
                touched.add(older.pack)
    return touched


def _chunks(digests: Sequence[Digest]) -> Iterator[Sequence[Digest]]:
    for start in range(0, len(digests), CHUNK_BLOBS):
        yield digests[start : start + CHUNK_BLOBS]


class _Ascending:
    """Digests by key, distinct ones counted."""

    def __init__(self, digests: Iterable[bytes], name: str) -> None:
        self._digests = digests
        self._name = name
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, Digest]]:
        last = b""
        for digest in self._digests:
            if digest < last:
                raise ValueError(f"{self._name} digests must ascend; sort them (ORDER BY digest)")
            if digest > last:
                last = digest
                self.count += 1
                yield key_of(digest), Digest(digest)


class _Found:
    """What a plan has found so far."""

    def __init__(self, backend: Backend, tier: PackTier) -> None:
        self._backend = backend
        self._tier = tier
        self.dead: list[Digest] = []
        self.seats: dict[Digest, tuple[Seat, ...]] = {}
        self.revived: list[Seat] = []
        self.doubled: list[tuple[Seat, Seat]] = []
        self.missing: list[Digest] = []
        self.dead_bytes = self.stray_bytes = self.stray_count = self.total_count = self.total_bytes = 0
        self.missing_count = 0

    def take(self, live: set[Digest], retired: set[Digest], blobs: Sequence[BlobStat], seats: Sequence[Seat]) -> None:
        """Judge everything of one key: nearly always one body, in one place."""
        bytes_of = {blob.digest: blob.allocated_bytes for blob in blobs}
        if seats and not live:
            for digest, its_seats in self._names(retired, seats).items():
                self.seats[digest] = its_seats
                bytes_of[digest] = bytes_of.get(digest, 0) + sum(seat.share_bytes for seat in its_seats)
        elif seats:
            self.doubled += [(seat, seats[0]) for seat in seats[1:]]
            packed = next(iter(live))
            bytes_of[packed] = bytes_of.get(packed, 0) + sum(seat.share_bytes for seat in seats)
        for digest, size_bytes in sorted(bytes_of.items()):
            self.total_count += 1
            self.total_bytes += size_bytes
            if digest not in live:
                self._bury(digest, size_bytes, is_stray=digest not in retired)
        if not seats:
            self._look_for(live - bytes_of.keys())

    def _bury(self, digest: Digest, size_bytes: int, *, is_stray: bool) -> None:
        self.dead.append(digest)
        self.dead_bytes += size_bytes
        if is_stray:
            self.stray_count += 1
            self.stray_bytes += size_bytes

    def _names(self, retired: set[Digest], seats: Sequence[Seat]) -> dict[Digest, tuple[Seat, ...]]:
        """Return the digests of packed bodies that nobody lives by: the retired one, else what its bytes say."""
        if len(retired) == 1 == len(seats):
            return {next(iter(retired)): tuple(seats)}
        return names(self._tier, seats)

    def _look_for(self, digests: Iterable[Digest]) -> None:
        """Look each digest up once more: it may have been published after its part was listed."""
        for digest in sorted(digests):
            if self._backend.stat(digest) is not None or self._tier.has(digest):
                continue
            given_up = names(self._tier, self._tier.find_dead(digest)).get(digest)
            if given_up:
                self.revived.append(given_up[0])
                continue
            self.missing_count += 1
            if len(self.missing) < MISSING_SHOWN:
                self.missing.append(digest)
