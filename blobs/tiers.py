"""What each tier of a store takes up."""

from dataclasses import dataclass

from blobs.backends.base import Backend
from blobs.packs.tier import PackTier


@dataclass(frozen=True, slots=True)
class Tiers:
    """Loose blobs and packs; allocated bytes are counted as `du` counts them."""

    loose_blobs: int
    loose_bytes: int
    packs: int
    packed_bodies: int
    packed_raw_bytes: int
    """Of live bodies, before they were compressed; nearly exact where some are dead."""
    pack_bytes: int


def measure(backend: Backend, tier: PackTier) -> Tiers:
    """Count and add up."""
    count = size_bytes = 0
    for blob in backend.list():
        count += 1
        size_bytes += blob.allocated_bytes
    packs = list(tier)
    return Tiers(
        count, size_bytes, len(packs), sum(pack.live_bodies for pack in packs),
        sum(pack.footer.raw_bytes * pack.live_bodies // pack.footer.bodies for pack in packs),
        sum(pack.allocated_bytes for pack in packs),
    )  # fmt: skip
