"""What is stored and what should be, side by side in the order of digests: one pass, nothing in memory."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from blobs.backends.base import Backend, BlobStat
from blobs.digest import Digest
from blobs.errors import BlobCorrupt
from blobs.packs.format import key_of
from blobs.packs.seat import Seat
from blobs.packs.tier import PackTier


def aligned(*streams: Iterable[tuple[int, Any]]) -> Iterator[Sequence[list[Any]]]:
    """Yield, key by key, the items that each stream has under it; each stream ascends by key."""
    iterators = [iter(stream) for stream in streams]
    heads = [next(iterator, None) for iterator in iterators]
    while any(head is not None for head in heads):
        key = min(head[0] for head in heads if head is not None)
        found: list[list[Any]] = []
        for number, iterator in enumerate(iterators):
            items = []
            head = heads[number]
            while head is not None and head[0] == key:
                items.append(head[1])
                head = next(iterator, None)
            heads[number] = head
            found.append(items)
        yield found


def compare(
    backend: Backend, tier: PackTier, digests: Iterable[bytes]
) -> Iterator[tuple[Digest, bool, BlobStat | None]]:
    """Yield each digest, True, and the sizes of its blob or None; and blobs that were not asked for, with False."""
    asked = ((key_of(digest), Digest(digest)) for digest in digests)
    for wanted, blobs, seats in aligned(asked, loose(backend), tier.entries()):
        stats: dict[Digest, BlobStat | None] = {blob.digest: blob for blob in blobs}
        if not wanted:
            for digest, found in names(tier, seats).items():
                stats.setdefault(digest, _packed(digest, found[0]))
        for digest in wanted:
            if stats.get(digest) is None:
                seat = next(iter(seats), None) or next(tier.find_dead(digest), None)
                stats[digest] = _packed(digest, seat) if seat else None
        for digest in sorted(stats):
            yield digest, digest in wanted, stats[digest]


def loose(backend: Backend) -> Iterator[tuple[int, BlobStat]]:
    """Yield every loose blob behind its key."""
    return ((key_of(blob.digest), blob) for blob in backend.list())


def names(tier: PackTier, seats: Iterable[Seat]) -> dict[Digest, tuple[Seat, ...]]:
    """Say what lies in these seats, by reading it; what is in a damaged frame has no name."""
    found: dict[Digest, tuple[Seat, ...]] = {}
    for seat in seats:
        with suppress(BlobCorrupt):
            digest = Digest.of(tier.body(seat))
            found[digest] = (*found.get(digest, ()), seat)
    return found


def _packed(digest: Digest, seat: Seat) -> BlobStat:
    return BlobStat(digest, 0, seat.share_bytes, is_packed=True)
