"""Packs lose their dead bodies: dropped whole, or copied without them, or noted for later.

    1 a pack whose last live body has just died goes at once: nothing in it is named by anyone
    2 one that is dead by more than a share is copied first: whole live frames as they are, the live
        bodies of the others compressed anew; the copy is published, then the old one is given up,
        and waits as replaced packs do
    3 for any other it is written down which bodies are dead
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress

from blobs.backends.base import Deleted
from blobs.digest import Digest
from blobs.errors import BlobCorrupt
from blobs.packs.format import key_of
from blobs.packs.frame import Frame
from blobs.packs.pack import Pack
from blobs.packs.seat import Seat
from blobs.packs.tier import PackTier
from blobs.packs.writer import PackInWriting

DEAD_SHARE = 0.3
"""Of the stored bytes: from here on a copy of the rest is worth its time."""


def settle(
    tier: PackTier, packs: Iterable[Pack], lock: AbstractContextManager[object], *, at_once: bool = False
) -> Deleted:
    """Do it for packs of which bodies just died; returns the files removed, less the bytes of copies written.

    ``at_once`` returns all the space that can be had now: a pack is copied for the sake of a single
    dead frame, and what was replaced does not wait.
    """
    total = Deleted()
    for pack in sorted(packs, key=lambda pack: (bool(pack.live_bodies), pack.name)):  # a full disk needs space to copy
        has_dead_frame = not all(pack.live_in(number) for number in range(len(pack.seats)))
        is_worth_it = pack.live_bytes < (1 - DEAD_SHARE) * pack.size_bytes or (at_once and has_dead_frame)
        if pack.live_bodies and is_worth_it:
            total += _rewrite(tier, pack, lock)
            if pack.live_bodies or not at_once:
                continue
        if pack.live_bodies:
            total += tier.save(pack)
            continue
        with lock:
            total += tier.remove(pack)
    return total


def _rewrite(tier: PackTier, pack: Pack, lock: AbstractContextManager[object]) -> Deleted:
    """Copy the live bodies into another pack and give this one up, unless a part of it is damaged; takes space."""
    try:
        tier.require_whole_index(pack)
        keys = pack.index.keys_by_ordinal()
        with tier.writing(pack.footer.level) as begun:
            for number in range(len(pack.seats)):
                _copy_frame(tier, pack, number, keys, begun)
            staged = begun.finish()
    except BlobCorrupt:  # verify tells of it; whatever is whole in there stays where it is
        return tier.save(pack)
    with lock:
        copy = tier.publish(staged)
        tier.give_up(pack, range(pack.footer.bodies))
    return tier.save(pack) + Deleted(0, -copy.allocated_bytes)


def _copy_frame(tier: PackTier, pack: Pack, number: int, keys: Sequence[int], begun: PackInWriting) -> None:
    seat, live = pack.seats[number], pack.live_in(number)
    wanted = [keys[ordinal] for ordinal in live]
    if len(live) == seat.bodies:
        stored = tier.read_range(pack, seat.start, seat.stored_bytes)
        if len(Frame(stored, pack.path)) != seat.bodies or Frame(stored, pack.path).finish():
            raise BlobCorrupt(f"{seat.bodies} bodies in a frame", "something else", None, pack.path)
        begun.writer.copy(stored, seat.raw_bytes, wanted)
    elif live:
        found = dict(enumerate(tier.frame_bodies(pack, number), seat.first))
        bodies = [(Digest.of(body), body) for body in (found.get(ordinal, b"") for ordinal in live)]
        if [key_of(digest) for digest, _ in bodies] != wanted:
            raise BlobCorrupt("the bodies of an index", "others", None, pack.path)
        begun.add(bodies)


def erase(
    tier: PackTier, digests: Iterable[Digest], lock: AbstractContextManager[object], is_loose: Callable[[Digest], bool]
) -> Deleted:
    """Copy every pack that holds one of these bodies, live or dead, without them; the old ones go at once.

    What else is dead in them goes along, but for bodies that are nowhere else: a sweep knows if anything names them.
    Raises BlobCorrupt, once all others are done, when a pack is too damaged to be copied and may still hold one.
    """
    total = Deleted()
    wanted = list(digests)
    left = next(iter(tier.damaged.values()), None)
    for pack in list(tier):
        try:
            tier.require_whole_index(pack)
        except BlobCorrupt as error:
            left = error
            continue
        found = [seat.ordinal for digest in wanted for seat in own_seats(tier, digest, _seats(pack, digest))]
        if not found:
            continue
        with lock:
            for seat in list(_alone(tier, pack, is_loose)):
                tier.revive(seat)
            tier.give_up(pack, found)
        if pack.live_bodies:
            total += _rewrite(tier, pack, lock)
        if not pack.live_bodies:
            with lock:
                total += tier.remove(pack)
        else:
            left = BlobCorrupt("frames that can be copied without a body", "damaged ones", None, pack.path)
    if left is not None:
        raise left
    return total


def _alone(tier: PackTier, pack: Pack, is_loose: Callable[[Digest], bool]) -> Iterator[Seat]:
    """Yield the dead bodies of a pack that may be needed and are nowhere else."""
    for key, ordinal in () if pack.is_moved or pack.is_swept else pack.index.entries():
        if ordinal in pack.dead and not any(other.find(key) for other in tier):
            with suppress(BlobCorrupt):
                if not is_loose(Digest.of(tier.body(Seat(pack, ordinal)))):
                    yield Seat(pack, ordinal)


def own_seats(tier: PackTier, digest: Digest, seats: Iterable[Seat]) -> Iterator[Seat]:
    """Leave out the seats of another body with the same key; what cannot be read may be this one."""
    for seat in seats:
        with suppress(BlobCorrupt):
            if Digest.of(tier.body(seat)) != digest:
                continue
        yield seat


def _seats(pack: Pack, digest: Digest) -> Iterator[Seat]:
    return (Seat(pack, ordinal) for ordinal in pack.index.find(key_of(digest)))
