"""Packs lose their dead bodies: dropped whole, or copied without them, or noted for later.

    1 a pack whose last live body has just died goes at once: nothing in it is named by anyone
    2 one that is dead by more than a share is copied first: whole live frames as they are, the live
        bodies of the others compressed anew; the copy is published, then the old one is given up,
        and waits as replaced packs do
    3 for any other it is written down which bodies are dead
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from blobs.backends.base import Deleted
from blobs.digest import Digest
from blobs.errors import BlobCorrupt
from blobs.packs.format import key_of
from blobs.packs.pack import Pack
from blobs.packs.tier import PackTier
from blobs.packs.writer import PackInWriting

DEAD_SHARE = 0.3
"""Of the stored bytes: from here on a copy of the rest is worth its time."""


def settle(
    tier: PackTier, packs: Iterable[Pack], lock: AbstractContextManager[object], *, at_once: bool = False
) -> Deleted:
    """Do it for packs of which bodies just died; returns the files removed.

    ``at_once`` returns all the space that can be had now: a pack is copied for the sake of a single
    dead frame, and what was replaced does not wait.
    """
    total = Deleted()
    for pack in packs:
        has_dead_frame = not all(pack.live_in(number) for number in range(len(pack.seats)))
        is_worth_it = pack.live_bytes < (1 - DEAD_SHARE) * pack.size_bytes or (at_once and has_dead_frame)
        if pack.live_bodies and is_worth_it:
            is_rewritten = _rewrite(tier, pack, lock)
            if not (at_once and is_rewritten):
                continue
        if pack.live_bodies:
            tier.save(pack)
            continue
        with lock:
            total += tier.remove(pack)
    return total


def _rewrite(tier: PackTier, pack: Pack, lock: AbstractContextManager[object]) -> bool:
    """Copy the live bodies into another pack and give this one up; False when a part of it is damaged."""
    keys = pack.index.keys_by_ordinal()
    try:
        with tier.writing(pack.footer.level) as begun:
            for number in range(len(pack.seats)):
                _copy_frame(tier, pack, number, keys, begun)
            staged = begun.finish()
    except BlobCorrupt:  # verify tells of it; whatever is whole in there stays where it is
        tier.save(pack)
        return False
    with lock:
        tier.publish(staged)
        tier.give_up(pack, range(pack.footer.bodies))
    tier.save(pack)
    return True


def _copy_frame(tier: PackTier, pack: Pack, number: int, keys: Sequence[int], begun: PackInWriting) -> None:
    seat, live = pack.seats[number], pack.live_in(number)
    if len(live) == seat.bodies:
        begun.writer.copy(tier.frame_stored(pack, number), seat.raw_bytes, [keys[ordinal] for ordinal in live])
    elif live:
        bodies = tier.frame_bodies(pack, number)
        begun.add([(Digest.of(body), body) for body in (bodies[o - seat.first] for o in live)])


def erase(tier: PackTier, digests: Iterable[Digest], lock: AbstractContextManager[object]) -> Deleted:
    """Copy every pack that holds one of these bodies, live or dead, without them; the old ones go at once."""
    total = Deleted()
    wanted = {key_of(digest) for digest in digests}
    for pack in list(tier):
        found = [ordinal for key in wanted for ordinal in pack.index.find(key)]
        if not found:
            continue
        with lock:
            tier.give_up(pack, found)
        if not pack.live_bodies or _rewrite(tier, pack, lock):
            with lock:
                total += tier.remove(pack)
    return total
