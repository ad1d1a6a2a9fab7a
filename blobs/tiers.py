"""What each tier of a store takes up, and what would come back if a body went."""

from collections.abc import Hashable
from dataclasses import dataclass

from blobs.backends.base import Backend
from blobs.digest import Digest
from blobs.packs.packing import small_packs
from blobs.packs.tier import PackTier


@dataclass(frozen=True, slots=True)
class Tiers:
    """Loose blobs and packs; allocated bytes are counted as `du` counts files."""

    loose_blobs: int
    loose_bytes: int
    unpacked_blobs: int
    """Those of the loose blobs that no pack holds: the next packing moves them."""
    unpacked_bytes: int
    packs: int
    small_packs: int
    """Those of the packs that the next packing merges."""
    packed_bodies: int
    packed_raw_bytes: int
    """Of live bodies, before they were compressed; nearly exact where some are dead."""
    pack_bytes: int


@dataclass(frozen=True, slots=True)
class Place:
    """What a body shares with others: these bytes come back once all of its live bodies are gone."""

    unit: Hashable
    """A digest for a loose blob, pack and number for a frame."""
    size_bytes: int
    live_bodies: int


def measure(backend: Backend, tier: PackTier) -> Tiers:
    """Count and add up."""
    count = size_bytes = unpacked = unpacked_bytes = 0
    for blob in backend.list():
        count += 1
        size_bytes += blob.allocated_bytes
        if not tier.has(blob.digest):
            unpacked += 1
            unpacked_bytes += blob.allocated_bytes
    packs = list(tier)
    return Tiers(
        loose_blobs=count,
        loose_bytes=size_bytes,
        unpacked_blobs=unpacked,
        unpacked_bytes=unpacked_bytes,
        packs=len(packs),
        small_packs=len(small_packs(tier)),
        packed_bodies=sum(pack.live_bodies for pack in packs),
        packed_raw_bytes=sum(pack.footer.raw_bytes * pack.live_bodies // pack.footer.bodies for pack in packs),
        pack_bytes=sum(pack.allocated_bytes for pack in packs),
    )


class Places:
    """Where bodies are, for one look through many of them: what is live in a frame is counted once."""

    def __init__(self, backend: Backend, tier: PackTier) -> None:
        self._backend = backend
        self._tier = tier
        self._frames: dict[Hashable, Place] = {}

    @property
    def dead_bytes(self) -> int:
        """Bytes of frames in which nothing lives, beside others in which something does."""
        packs = [pack for pack in self._tier if pack.dead and pack.live_bodies]
        return sum(s.stored_bytes for pack in packs for n, s in enumerate(pack.seats) if not pack.live_in(n))

    def of(self, digest: Digest) -> list[Place]:
        """Return every place of a body; none where it is missing. Where a pack has it, its own file only waits."""
        found = []
        for seat in self._tier.find(digest):
            number = seat.frame
            unit = seat.pack.name, number
            if unit not in self._frames:
                stored_bytes = seat.pack.seats[number].stored_bytes
                self._frames[unit] = Place(unit, stored_bytes, len(seat.pack.live_in(number)))
            found.append(self._frames[unit])
        loose = None if found else self._backend.stat(digest)
        return found if loose is None else [Place(digest, loose.allocated_bytes, 1)]
