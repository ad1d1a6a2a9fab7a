"""All packs of one store: looked through, read, added to, given up.

Beside the loose blobs of a backend it is the second place of a body. A body may be in both, or in
several packs: each copy is as good as another. Calls may come from several threads; what changes
the directory is for one process, and its caller holds the store's lock.
"""

import heapq
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path

from blobs.backends.base import Deleted, Staged
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobError, BlobNotFound, BlobsUnavailable
from blobs.packs.cache import FrameCache
from blobs.packs.directory import PackDirectory
from blobs.packs.format import key_of
from blobs.packs.pack import Pack
from blobs.packs.seat import Seat
from blobs.packs.writer import PackInWriting


class PackTier:
    """The packs of one store."""

    def __init__(self, path: Path | None) -> None:
        """Look through the packs of the store at a path; without a path there are none and can be none."""
        self._files = PackDirectory(path)
        self._mutex = threading.RLock()
        self._cache = FrameCache()
        self._packs: tuple[Pack, ...] = ()
        try:
            self._packs = tuple(self._files.open_packs())
        except BaseException:
            self._files.close()
            raise

    @property
    def damaged(self) -> Mapping[str, BlobError]:
        """Packs that could not be opened, by path: nothing in them is found."""
        return self._files.damaged

    def __iter__(self) -> Iterator[Pack]:
        """Yield every pack, the newest first."""
        return iter(self._packs)

    def __bool__(self) -> bool:
        return bool(self._packs)

    @property
    def is_possible(self) -> bool:
        """Tell whether there can be packs here."""
        return self._files.is_possible

    def find(self, digest: bytes) -> Iterator[Seat]:
        """Yield where a live body of this key is: most likely this one, for certain only once it was hashed."""
        key = key_of(digest)
        for pack in self._packs:
            for ordinal in pack.find(key):
                yield Seat(pack, ordinal)

    def find_dead(self, digest: bytes) -> Iterator[Seat]:
        """Yield where a dead body of this key is: the last resort, see `dead`."""
        key = key_of(digest)
        for pack in self._packs:
            for ordinal in pack.find_dead(key):
                yield Seat(pack, ordinal)

    def has(self, digest: bytes) -> bool:
        """Tell whether a live body of this key is in a pack."""
        key = key_of(digest)
        return any(pack.find(key) for pack in self._packs)

    def order_of(self, digest: bytes) -> tuple[int, int]:
        """Return what sorts digests so that each frame is decoded once."""
        key = key_of(digest)
        for number, pack in enumerate(self._packs):
            for ordinal in pack.find(key):
                return number, ordinal
        return -1, 0

    def read(self, digest: Digest) -> bytes:
        """Return a body, hashed, even one that is dead; BlobNotFound, or BlobCorrupt where it should be and is not."""
        while True:
            packs = self._packs
            try:
                return self._read(digest)
            except (BlobNotFound, BlobsUnavailable):
                if packs is self._packs:
                    raise  # else it may have moved to another pack meanwhile

    def _read(self, digest: Digest) -> bytes:
        error: BlobError = BlobNotFound(digest, str(self._files.path))
        for seat in chain(self.find(digest), self.find_dead(digest)):
            try:
                body = self.body(seat)
            except (BlobCorrupt, BlobsUnavailable) as failure:
                error = failure
                if isinstance(failure, BlobCorrupt):
                    failure.digest = digest
                continue
            found = Digest.of(body)
            if found == digest:
                return body
            if key_of(found) != key_of(digest):
                error = BlobCorrupt(f"a body of digest {digest}", f"one of digest {found}", digest, seat.pack.path)
        raise error

    def body(self, seat: Seat) -> bytes:
        """Return what lies in a seat, unproved; BlobCorrupt when its frame is damaged."""
        with self._files.translated(f"reading {seat.pack.path}"):
            return self._cache.body(seat.pack, seat.ordinal)

    def frame_bodies(self, pack: Pack, number: int, fresh: bool = False) -> Sequence[bytes]:
        """Return all bodies of a frame, unproved, in order; it is read for this and not kept."""
        with self._files.translated(f"reading {pack.path}"):
            return list(pack.open_frame(number, fresh).bodies())

    def bodies(self, pack: Pack, number: int, seats: Iterable[Seat]) -> Iterator[tuple[Seat, bytes]]:
        """Yield what lies in some seats of a frame, unproved; it is decoded as far as that needs, and not kept."""
        with self._files.translated(f"reading {pack.path}"):
            frame = pack.open_frame(number)
        for seat in seats:
            yield seat, frame.body(seat.ordinal - pack.seats[number].first)

    def require_whole_index(self, pack: Pack) -> None:
        """Raise BlobCorrupt unless table and index are as written: they tell which body is given up."""
        with self._files.translated(f"reading {pack.path}"):
            if not pack.has_whole_index():
                raise BlobCorrupt("the index of a pack", "other bytes", None, pack.path)

    def read_range(self, pack: Pack, start: int, size_bytes: int, fresh: bool = False) -> bytes:
        """Return a part of a pack's file."""
        with self._files.translated(f"reading {pack.path}"):
            return pack.read_range(start, size_bytes, fresh)

    def entries(self) -> Iterator[tuple[int, Seat]]:
        """Yield key and seat of every live body, keys ascending."""
        return heapq.merge(*(_entries(pack) for pack in self._packs), key=lambda entry: entry[0])

    def writing(self, level: int) -> AbstractContextManager[PackInWriting]:
        """Begin a pack of this level; unless `finish` was called at the end of it, nothing stays behind."""
        return self._files.writing(level)

    def publish(self, staged: Staged) -> Pack:
        """Make a staged pack visible and durable; on an error nothing of it may be relied upon."""
        with self._mutex:
            pack = self._files.publish(staged)
            self._packs = (pack, *self._packs)
        return pack

    def discard(self, staged: Staged) -> None:
        """Throw a staged pack away; one that was published is left alone."""
        self._files.abandon(staged.token)

    def give_up(self, pack: Pack, ordinals: Collection[int]) -> None:
        """Find these bodies no more; `save` writes it down."""
        pack.dead.add(ordinals)
        pack.is_noted = False

    def revive(self, seat: Seat) -> None:
        """Find this body again; `save` writes it down."""
        seat.pack.dead.remove(seat.ordinal)
        seat.pack.is_moved = seat.pack.is_swept = seat.pack.is_noted = False

    def save(self, pack: Pack) -> Deleted:
        """Write down which bodies of a pack are dead; returns the bytes that this gives back, or below zero takes."""
        with self._mutex:
            return self._files.write_note(pack)

    def remove(self, pack: Pack) -> Deleted:
        """Remove a pack, and what is written of its dead."""
        with self._mutex:
            self._packs = tuple(other for other in self._packs if other is not pack)
            self._cache.forget(pack)
            try:
                gone = self._files.remove(pack)
            except BlobsUnavailable:
                self._packs += (pack,)  # its bytes are still to be had
                raise
            return gone + self._files.remove_note(pack)

    def retired_at_s(self, pack: Pack) -> float:
        """Return when a pack without live bodies was given up."""
        return self._files.noted_at_s(pack)

    def clear_leftovers(self) -> Deleted:
        """Remove what crashes left: packs being written, and notes of packs that are gone."""
        with self._mutex:
            return self._files.clear_leftovers({pack.name for pack in self._packs})

    def listing(self) -> Iterator[tuple[str, int, bool]]:
        """Yield the name and mode of every file in packs/, and whether it is a leftover."""
        return self._files.listing({pack.name for pack in self._packs})

    @contextmanager
    def without(self, paths: Collection[str]) -> Iterator[None]:
        """Find nothing in the packs at these paths inside the block, and in those that it takes away no more."""
        with self._mutex:
            hidden = [pack for pack in self._packs if pack.path in paths]
            self._packs = tuple(pack for pack in self._packs if pack.path not in paths)
        try:
            yield
        finally:
            with self._mutex:
                self._packs += tuple(pack for pack in hidden if self._files.has(pack))
                for pack in self._packs:  # what it replaced may be in a pack that is gone now
                    pack.is_moved = pack.is_swept = False

    def forget_damaged(self, path: str) -> None:
        """Tell of a pack that could not be opened no more: it is gone from its place."""
        self._files.damaged.pop(path, None)

    def close(self) -> None:
        """Let go of the directory; may be called twice."""
        self._packs = ()
        self._cache.clear()
        self._files.close()


def _entries(pack: Pack) -> Iterator[tuple[int, Seat]]:
    return ((key, Seat(pack, ordinal)) for key, ordinal in pack.entries())
