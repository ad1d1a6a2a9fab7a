"""What was replaced: copies that nobody needs, kept a while for a copy of the directory that is running.

A loose blob is replaced when a pack holds its body, since that pack was made; a pack, when none of its
bodies is live, since that was written down. A plain copy of the directory lists files first and reads
them later, so what it listed must stay until it is done: an hour is for that.

A file goes only after the other copy of each of its bodies was read from the disk and hashed; or a sweep
has found just before that nothing names the bodies that have none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from blobs.backends.base import Backend, BlobStat, Deleted
from blobs.digest import Digest
from blobs.errors import BlobError
from blobs.packs.pack import Pack
from blobs.packs.seat import Seat
from blobs.packs.tier import PackTier
from blobs.reading import read_body


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits to be released."""

    files: int = 0
    allocated_bytes: int = 0

    def __add__(self, other: "Waiting") -> "Waiting":
        return Waiting(self.files + other.files, self.allocated_bytes + other.allocated_bytes)


def waiting(backend: Backend, tier: PackTier) -> Waiting:
    """Count what is replaced and still there."""
    total = Waiting()
    if tier:
        for blob in backend.list():
            if tier.has(blob.digest):
                total += Waiting(1, blob.allocated_bytes)
        for pack in tier:
            if not pack.live_bodies:
                total += Waiting(1, pack.allocated_bytes)
    return total


def release(
    backend: Backend,
    tier: PackTier,
    lock: AbstractContextManager[object],
    until_s: float,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Deleted:
    """Remove what was replaced at this time (seconds since 1970) or before; ends between two frames when told to."""
    total = Deleted()
    for pack in list(tier):
        if is_stopped():
            return total
        is_due = not pack.live_bodies and tier.retired_at_s(pack) <= until_s
        if is_due and (pack.is_moved or _is_elsewhere(backend, tier, pack)):
            with lock:
                total += tier.remove(pack)
    if any(pack.made_at_s <= until_s for pack in tier):
        for seats in _by_frame(_replaced(backend.list(), tier, until_s)):
            if is_stopped():
                return total
            proved = _proved(tier, seats)
            with lock:
                total += backend.delete(sorted(proved))
    return total


def _is_elsewhere(backend: Backend, tier: PackTier, pack: Pack) -> bool:
    """Read the other copy of every body in a pack; what is in it is known by reading it, too.

    After a sweep a body may have none.
    """
    packed = []
    try:
        for number in range(len(pack.seats)):
            for digest in map(Digest.of, tier.frame_bodies(pack, number)):
                seat = next(tier.find(digest), None)
                if seat is not None:
                    packed.append((digest, seat))
                elif not (pack.is_swept and backend.stat(digest) is None):
                    read_body(backend, digest, fresh=True)
    except BlobError:
        return False  # unknown, or nowhere else: the next sweep knows whether anything names it
    return all(len(_proved(tier, seats)) == len(seats) for seats in _by_frame(packed))


def _replaced(blobs: Iterable[BlobStat], tier: PackTier, until_s: float) -> Iterator[tuple[Digest, Seat]]:
    for blob in blobs:
        seat = next((seat for seat in tier.find(blob.digest) if seat.pack.made_at_s <= until_s), None)
        if seat is not None:
            yield blob.digest, seat


def _by_frame(found: Iterable[tuple[Digest, Seat]]) -> list[list[tuple[Digest, Seat]]]:
    frames: dict[tuple[Pack, int], list[tuple[Digest, Seat]]] = defaultdict(list)
    for digest, seat in found:
        frames[seat.pack, seat.frame].append((digest, seat))
    return list(frames.values())


def _proved(tier: PackTier, seats: list[tuple[Digest, Seat]]) -> list[Digest]:
    """Return the digests whose bodies their frame gives back, read from the disk itself."""
    seat = seats[0][1]
    first = seat.pack.seats[seat.frame].first
    try:
        tier.require_whole_index(seat.pack)
        bodies = tier.frame_bodies(seat.pack, seat.frame, fresh=True)
    except BlobError:
        return []  # the other copies are the only good ones; verify tells of the pack
    found = {ordinal: Digest.of(body) for ordinal, body in enumerate(bodies, first)}
    return [digest for digest, seat in seats if found.get(seat.ordinal) == digest]
