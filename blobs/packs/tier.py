"""All packs of one store: looked through, read, added to, given up. Owns the directory packs/.

Beside the loose blobs of a backend it is the second place of a body. A body may be in both, or in
several packs: each copy is as good as another. Calls may come from several threads; what changes
the directory is for one process, and its caller holds the store's lock.
"""

import errno
import heapq
import os
import secrets
import stat as st
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from blobs import durable, layout
from blobs.backends.base import Deleted, Staged
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobError, BlobNotFound, BlobsUnavailable
from blobs.packs.cache import FrameCache
from blobs.packs.format import key_of
from blobs.packs.pack import BLOCK_BYTES, Pack
from blobs.packs.requirement import require_packs
from blobs.packs.writer import PackInWriting

_OF_ONE_FILE = frozenset({errno.EIO, errno.EACCES, errno.EPERM})
"""What the disk says of one file that it cannot give."""
_NOT_A_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one body lies: a pack and its ordinal in it."""

    pack: Pack
    ordinal: int

    @property
    def frame(self) -> int:
        """The number of its frame."""
        return self.pack.frame_of(self.ordinal)

    @property
    def share_bytes(self) -> int:
        """About how many stored bytes of its frame are its own."""
        seat = self.pack.seats[self.frame]
        return seat.stored_bytes // seat.bodies


class PackTier:
    """The packs of one store."""

    def __init__(self, path: Path | None) -> None:
        """Look through the packs of the store at a path; without a path there are none and can be none."""
        self._path = path
        self._root = self._directory = -1
        self._mutex = threading.RLock()
        self._packs: tuple[Pack, ...] = ()
        self._living: set[str] = set()
        self._cache = FrameCache()
        self.damaged: dict[str, BlobError] = {}
        """Packs that could not be opened, by path: nothing in them is found."""
        if path is not None:
            with self._translated("opening packs"):
                self._root = durable.open_directory(os.fspath(path))
                try:
                    self._load()
                except BaseException:
                    self.close()
                    raise

    def __iter__(self) -> Iterator[Pack]:
        """Yield every pack, the newest first."""
        return iter(self._packs)

    def __bool__(self) -> bool:
        return bool(self._packs)

    @property
    def is_possible(self) -> bool:
        """Tell whether there can be packs here."""
        return self._root >= 0

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

    def read(self, digest: Digest, fresh: bool = False) -> bytes:
        """Return a body, hashed, even one that is dead; BlobNotFound, or BlobCorrupt where it should be and is not."""
        while True:
            packs = self._packs
            try:
                return self._read(digest, fresh)
            except (BlobNotFound, BlobsUnavailable):
                if packs is self._packs:
                    raise  # else it may have moved to another pack meanwhile

    def _read(self, digest: Digest, fresh: bool) -> bytes:
        error: BlobError = BlobNotFound(digest, str(self._path))
        for seat in chain(self.find(digest), self.find_dead(digest)):
            try:
                body = self.body(seat, fresh)
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

    def body(self, seat: Seat, fresh: bool = False) -> bytes:
        """Return what lies in a seat, unproved; BlobCorrupt when its frame is damaged."""
        pack, number = seat.pack, seat.frame
        with self._translated(f"reading {pack.path}"):
            if fresh:
                return pack.open_frame(number, fresh).body(seat.ordinal - pack.seats[number].first)
            return self._cache.body(pack, seat.ordinal)

    def frame_bodies(self, pack: Pack, number: int, fresh: bool = False) -> Sequence[bytes]:
        """Return all bodies of a frame, unproved, in order; it is read for this and not kept."""
        with self._translated(f"reading {pack.path}"):
            return list(pack.open_frame(number, fresh).bodies())

    def require_whole_index(self, pack: Pack) -> None:
        """Raise BlobCorrupt unless table and index are as written: they tell which body is given up."""
        with self._translated(f"reading {pack.path}"):
            if not pack.has_whole_index():
                raise BlobCorrupt("the index of a pack", "other bytes", None, pack.path)

    def read_range(self, pack: Pack, start: int, size_bytes: int, fresh: bool = False) -> bytes:
        """Return a part of a pack's file."""
        with self._translated(f"reading {pack.path}"):
            return pack.read_range(start, size_bytes, fresh)

    def entries(self) -> Iterator[tuple[int, Seat]]:
        """Yield key and seat of every live body, keys ascending."""
        return heapq.merge(*(_entries(pack) for pack in self._packs), key=lambda entry: entry[0])

    @contextmanager
    def writing(self, level: int) -> Iterator[PackInWriting]:
        """Begin a pack of this level; unless `finish` was called at the end of it, nothing stays behind."""
        with self._translated("writing a pack"):
            self._make_directory()
            token = secrets.token_hex(8)
            self._living.add(token)
            try:
                fd = os.open(token + layout.UNFINISHED, _NEW_FILE, layout.FILE_MODE, dir_fd=self._directory)
                try:
                    begun = PackInWriting(fd, token, level)
                    yield begun
                finally:
                    os.close(fd)
            except BaseException:
                self._abandon(token)
                raise
            if begun.staged is None:
                self._abandon(token)

    def publish(self, staged: Staged) -> Pack:
        """Make a staged pack visible and durable; on an error nothing of it may be relied upon."""
        if staged.pack is None:
            raise ValueError("a batch of loose blobs is no pack")
        unfinished, name = staged.token + layout.UNFINISHED, layout.pack_name(staged.pack)
        with self._mutex, self._translated("publishing a pack"):
            try:
                require_packs(self._root)
                os.rename(unfinished, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
                durable.sync_directory(self._directory)
                pack = Pack(self._directory, staged.pack)
            except BaseException:
                with suppress(OSError):  # it may have its name already
                    os.unlink(name, dir_fd=self._directory)
                self._abandon(staged.token)
                raise
            self._living.discard(staged.token)
            self._packs = (pack, *self._packs)
        return pack

    def discard(self, staged: Staged) -> None:
        """Throw a staged pack away; one that was published is left alone."""
        self._abandon(staged.token)

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
        with self._mutex, self._translated("writing down what is dead"):
            name = layout.dead_name(pack.name)
            content = pack.dead.encode(pack.name)
            _, before_bytes = self._note(pack)
            durable.write_file(self._directory, name, name + layout.UNFINISHED, content)
            pack.is_noted = True
            return Deleted(0, before_bytes - self._note(pack)[1])

    def remove(self, pack: Pack) -> Deleted:
        """Remove a pack, and what is written of its dead."""
        with self._mutex, self._translated("removing a pack"):
            self._packs = tuple(other for other in self._packs if other is not pack)
            self._cache.forget(pack)
            try:
                gone = self._unlink(layout.pack_name(pack.name))
            except OSError:
                self._packs += (pack,)  # its bytes are still to be had
                raise
            return gone + self._unlink(layout.dead_name(pack.name))

    def retired_at_s(self, pack: Pack) -> float:
        """Return when a pack without live bodies was given up."""
        with self._translated("looking at what is dead"):
            return self._note(pack)[0]

    def _note(self, pack: Pack) -> tuple[float, int]:
        """Return when it was last written down which bodies of a pack are dead, and the bytes that takes."""
        with suppress(FileNotFoundError):
            found = os.stat(layout.dead_name(pack.name), dir_fd=self._directory, follow_symlinks=False)
            return found.st_mtime, found.st_blocks * BLOCK_BYTES
        return pack.made_at_s, 0

    def clear_leftovers(self) -> Deleted:
        """Remove what crashes left: packs being written, and notes of packs that are gone."""
        total = Deleted()
        if self._directory < 0:
            return total
        with self._mutex, self._translated("clearing packs/"):
            for name in os.listdir(self._directory):
                if self._is_leftover(name):
                    total += self._unlink(name)
        return total

    def listing(self) -> Iterator[tuple[str, int, bool]]:
        """Yield the name and mode of every file in packs/, and whether it is a leftover."""
        if self._directory < 0:
            return
        with self._translated("looking through packs/"):
            for name in sorted(os.listdir(self._directory)):
                with suppress(FileNotFoundError):
                    mode = os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_mode
                    yield name, mode, self._is_leftover(name)

    def _is_leftover(self, name: str) -> bool:
        """Tell whether nobody needs a file: a pack nobody writes any more, or a note of a pack that is gone."""
        if layout.is_unfinished_name(name):
            return name.removesuffix(layout.UNFINISHED) not in self._living
        parsed = layout.parse_pack_name(name)
        if parsed is None or parsed[1] != layout.DEAD_SUFFIX:
            return False
        return parsed[0] not in {pack.name for pack in self._packs} and layout.pack_path(parsed[0]) not in self.damaged

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
                self._packs += tuple(pack for pack in hidden if self._is_there(pack))
                for pack in self._packs:  # what it replaced may be in a pack that is gone now
                    pack.is_moved = pack.is_swept = False

    def forget_damaged(self, path: str) -> None:
        """Tell of a pack that could not be opened no more: it is gone from its place."""
        self.damaged.pop(path, None)

    def close(self) -> None:
        """Let go of the directory; may be called twice."""
        descriptors, self._root, self._directory = (self._root, self._directory), -1, -1
        self._packs = ()
        self._cache.clear()
        for fd in descriptors:
            if fd >= 0:
                with suppress(OSError):  # nothing was written through it, and it is gone whatever close says
                    os.close(fd)

    def _load(self) -> None:
        try:
            self._directory = durable.open_directory(layout.PACKS, self._root)
        except FileNotFoundError:
            return
        except OSError as error:  # a file or a link in its place: verify reports it, and nothing in it counts
            if error.errno not in _NOT_A_DIRECTORY:
                raise  # an empty directory would make everything in it seem lost
            self.damaged[layout.PACKS] = BlobCorrupt("a directory", "something else", None, layout.PACKS)
            return
        for fd in (self._root, self._directory):  # whoever gave a name here may have died before it was durable
            durable.sync_directory(fd)
        found = []
        for name in os.listdir(self._directory):
            parsed = layout.parse_pack_name(name)
            if parsed is not None and parsed[1] == layout.PACK_SUFFIX:
                with suppress(FileNotFoundError):  # a link, which verify reports, or gone since it was listed
                    found += self._open(parsed[0])
        self._packs = tuple(sorted(found, key=lambda pack: (-pack.made_at_s, pack.name)))

    def _open(self, name: Digest) -> list[Pack]:
        try:
            pack = Pack(self._directory, name)
        except BlobCorrupt as error:
            self.damaged[layout.pack_path(name)] = error
            return []
        except OSError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            path = layout.pack_path(name)
            self.damaged[path] = BlobsUnavailable(error.errno, f"opening it failed: {error.strerror}", path)
            return []
        pack.read_dead()
        return [pack]

    def _is_there(self, pack: Pack) -> bool:
        with suppress(OSError):
            return bool(os.stat(layout.pack_name(pack.name), dir_fd=self._directory, follow_symlinks=False))
        return False

    def _make_directory(self) -> None:
        with self._mutex:
            if self._directory < 0:
                durable.make_directory(self._root, layout.PACKS)
                self._directory = durable.open_directory(layout.PACKS, self._root)

    def _abandon(self, token: str) -> None:
        with suppress(OSError):  # what cannot be removed now is a leftover once nobody writes it
            os.unlink(token + layout.UNFINISHED, dir_fd=self._directory)
        self._living.discard(token)

    def _unlink(self, name: str) -> Deleted:
        try:
            found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            if st.S_ISDIR(found.st_mode):
                return Deleted()  # a stranger, whatever its name
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return Deleted()
        return Deleted(1, found.st_blocks * BLOCK_BYTES)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, BlobError):
                raise
            advice = "check free space, permissions and the disk, then try again"
            text = f"{doing} failed: {error.strerror or error}; {advice}"
            raise BlobsUnavailable(error.errno or errno.EIO, text, str(self._path)) from error


def _entries(pack: Pack) -> Iterator[tuple[int, Seat]]:
    return ((key, Seat(pack, ordinal)) for key, ordinal in pack.entries())


def by_pack(seats: Iterable[Seat]) -> dict[Pack, list[int]]:
    """Return the ordinals of seats, pack by pack."""
    found: dict[Pack, list[int]] = {}
    for seat in seats:
        found.setdefault(seat.pack, []).append(seat.ordinal)
    return found
