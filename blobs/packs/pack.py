"""One pack on disk, open for reading: its index mapped, its frames read when they are asked for.

A mapped file that another hand cuts short, or that its disk cannot read, ends the process at the
next search (SIGBUS), as it does for every program that maps files. Checks read the file instead.
"""

import errno
import mmap
import os
import stat as st
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress

from blobs import durable, layout
from blobs.digest import Digest
from blobs.errors import BlobCorrupt
from blobs.packs import dead
from blobs.packs import format as pack_format
from blobs.packs.dead import Dead
from blobs.packs.format import FOOTER_BYTES, Footer, FrameSeat, Index
from blobs.packs.frame import Frame

BLOCK_BYTES = 512
_SMALL_INDEX_BYTES = 64 * 1024
"""Up to here, 5,461 bodies, an index is kept in memory: a backlog makes packs faster than they are merged, and
before Python 3.13 a mapping holds a descriptor open, of which a process has 1,024."""


class Pack:
    """A pack whose footer and table are sound; which of its bodies are dead is `dead`, by ordinal."""

    def __init__(self, directory_fd: int, name: Digest) -> None:
        """Open a pack by its name; BlobCorrupt, or an OSError."""
        self.name = name
        self._directory_fd = directory_fd
        self.path = layout.pack_path(name)
        fd = open_file(directory_fd, layout.pack_name(name))
        try:
            found = os.fstat(fd)
            self.size_bytes, self.allocated_bytes = found.st_size, found.st_blocks * BLOCK_BYTES
            self.made_at_s = found.st_mtime
            self.footer = _read_footer(fd, found, self.path)
            table = os.pread(fd, self.footer.index_start - self.footer.table_start, self.footer.table_start)
            self.seats = pack_format.decode_table(table, self.footer, self.path)
            self.index = Index(_index_of(fd, self.footer, self.path), self.footer.bodies)
        finally:
            os.close(fd)
        self.dead = Dead(self.footer.bodies)
        self.is_moved = False
        """Whether each of its bodies was moved, by this process, to a pack that was read back from the disk."""
        self.is_swept = False
        """Whether a sweep found that nothing names those of its dead bodies that are nowhere else."""
        self.is_noted = True
        """Whether the note beside it says what is dead now; a sweep that failed may not have come so far."""
        self.is_stuck = False
        """Whether merging had to leave bodies in it: damaged ones, or some that belong nowhere."""

    def __repr__(self) -> str:
        return f"Pack({self.name.hex()[:12]}…, {self.footer.bodies} bodies)"

    def read_dead(self) -> None:
        """Read which bodies are dead from the note beside the pack; without it they are found dead again."""
        bodies = self.footer.bodies
        with suppress(OSError):
            fd = open_file(self._directory_fd, layout.dead_name(self.name))
            try:
                self.dead = dead.decode(os.read(fd, dead.file_bytes(bodies) + 1), self.name, bodies)
            finally:
                os.close(fd)

    @property
    def live_bodies(self) -> int:
        """Bodies that nobody gave up."""
        return self.footer.bodies - len(self.dead)

    @property
    def live_bytes(self) -> int:
        """About how many stored bytes the live bodies take."""
        dead_bytes = 0
        for number, seat in enumerate(self.seats):
            dead_bytes += seat.stored_bytes * (seat.bodies - len(self.live_in(number))) // seat.bodies
        return self.size_bytes - dead_bytes

    def find(self, key: int) -> list[int]:
        """Return the ordinals of the live bodies of a key."""
        return [ordinal for ordinal in self.index.find(key) if ordinal not in self.dead]

    def find_dead(self, key: int) -> list[int]:
        """Return the ordinals of the dead bodies of a key."""
        return [ordinal for ordinal in self.index.find(key) if ordinal in self.dead]

    def entries(self) -> Iterator[tuple[int, int]]:
        """Yield key and ordinal of every live body, keys ascending."""
        for key, ordinal in self.index.entries():
            if ordinal not in self.dead:
                yield key, ordinal

    def frame_of(self, ordinal: int) -> int:
        """Return the number of the frame that a body is in."""
        return bisect_right(self.seats, ordinal, key=lambda seat: seat.first) - 1

    def live_in(self, number: int) -> list[int]:
        """Return the ordinals of the live bodies of a frame."""
        seat = self.seats[number]
        return [ordinal for ordinal in range(seat.first, seat.first + seat.bodies) if ordinal not in self.dead]

    def read_stored(self, number: int, fresh: bool = False) -> bytes:
        """Return a frame as it is stored."""
        seat: FrameSeat = self.seats[number]
        return self.read_range(seat.start, seat.stored_bytes, fresh)

    def read_range(self, start: int, size_bytes: int, fresh: bool = False) -> bytes:
        """Return a part of the file; `fresh` drops the kernel's cached pages of it first."""
        fd = open_file(self._directory_fd, layout.pack_name(self.name))
        try:
            if fresh:
                durable.drop_cache(fd, start, size_bytes)
            return _pread(fd, size_bytes, start)
        finally:
            os.close(fd)

    def open_frame(self, number: int, fresh: bool = False) -> Frame:
        """Read a frame, to be decoded as far as is needed."""
        return Frame(self.read_stored(number, fresh), f"{self.path}, frame {number}")

    def has_whole_index(self) -> bool:
        """Compare table and index with their checksum; reads them from the file."""
        start = self.footer.table_start
        return pack_format.is_whole(self.read_range(start, self.size_bytes - start - FOOTER_BYTES), self.footer)


def open_file(directory_fd: int, name: str) -> int:
    """Open a file for reading; a link is not followed, anything but a regular file is not there."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(name) from None
        raise
    if not st.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(name)
    return fd


def _index_of(fd: int, footer: Footer, path: str) -> memoryview:
    """Map the index of an open pack; a small one is read."""
    size_bytes = footer.bodies * (pack_format.KEY_BYTES + 4)
    if size_bytes > _SMALL_INDEX_BYTES:
        return memoryview(_map(fd))[footer.index_start :][:size_bytes]
    content = _pread(fd, size_bytes, footer.index_start)
    if len(content) != size_bytes:
        raise BlobCorrupt(f"an index of {size_bytes} bytes", f"{len(content)}", None, path)
    return memoryview(content)


def _map(fd: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ, trackfd=False)
    else:
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)  # keeps a descriptor of its own for each pack
    if hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)  # reading ahead makes the first search 20 times as long
    return mapped


def _read_footer(fd: int, found: os.stat_result, path: str) -> Footer:
    if found.st_size < pack_format.SMALLEST_BYTES:
        raise BlobCorrupt(f"a pack of at least {pack_format.SMALLEST_BYTES} bytes", f"{found.st_size}", None, path)
    content = os.pread(fd, FOOTER_BYTES, found.st_size - FOOTER_BYTES)
    return pack_format.decode_footer(content, found.st_size, path)


def _pread(fd: int, size_bytes: int, start: int) -> bytes:
    content = os.pread(fd, size_bytes, start)
    while len(content) < size_bytes:
        more = os.pread(fd, size_bytes - len(content), start + len(content))
        if not more:
            break  # cut short since it was opened; the frame will say so
        content += more
    return content
