"""Writing a pack: frames into a file that nobody reads yet, then what finds them."""

import os
import secrets
from collections.abc import Sequence

from blake3 import blake3

from blobs import durable
from blobs.backends.base import Staged
from blobs.digest import Digest
from blobs.errors import BlobCorrupt
from blobs.packs import format as pack_format
from blobs.packs import frame
from blobs.packs.format import FrameSeat, key_of

_PIECE_BYTES = 4 * 2**20


class PackWriter:
    """Writes one pack into an open file; lets OSError through."""

    def __init__(self, fd: int, level: int) -> None:
        self._fd = fd
        self._level = level
        self._hasher = blake3()
        self._seats: list[FrameSeat] = []
        self._keys: list[int] = []
        self._raw_bytes = 0
        self.size_bytes = 0
        self._write(pack_format.MAGIC + secrets.token_bytes(pack_format.SALT_BYTES))

    @property
    def name(self) -> Digest:
        """What a pack of everything written so far is called."""
        return Digest(self._hasher.digest())

    @property
    def bodies(self) -> int:
        """Number of bodies so far."""
        return len(self._keys)

    @property
    def raw_bytes(self) -> int:
        """Bytes of all bodies so far."""
        return self._raw_bytes

    def add(self, bodies: Sequence[tuple[Digest, bytes]]) -> None:
        """Write bodies as one frame."""
        contents = [body for _, body in bodies]
        stored = frame.encode(contents, self._level)
        self.copy(stored, frame.raw_bytes_of(contents), [key_of(digest) for digest, _ in bodies])

    def copy(self, stored: bytes, raw_bytes: int, keys: Sequence[int]) -> None:
        """Write a frame as it is stored in another pack."""
        self._seats.append(FrameSeat(self.size_bytes, len(stored), raw_bytes, len(self._keys), len(keys)))
        self._keys.extend(keys)
        self._raw_bytes += raw_bytes - 4 - 4 * len(keys)
        self._write(stored)

    def finish(self) -> Digest:
        """Write the rest, make the file durable and read it back from the disk; returns its name, or BlobCorrupt."""
        self._write(pack_format.encode_tail(self._level, self._seats, self._keys, self.size_bytes, self._raw_bytes))
        durable.sync_file(self._fd)
        if self.read_back() != self.name:
            raise BlobCorrupt("a disk that gives back what was written", "other bytes")
        return self.name

    def read_back(self) -> Digest:
        """Return the name of what the disk itself has now."""
        durable.drop_cache(self._fd)
        hasher = blake3()
        for start in range(0, self.size_bytes, _PIECE_BYTES):
            hasher.update(os.pread(self._fd, _PIECE_BYTES, start))
        return Digest(hasher.digest())

    def _write(self, content: bytes) -> None:
        durable.write_all(self._fd, content)
        self._hasher.update(content)
        self.size_bytes += len(content)


class PackInWriting:
    """A pack between its first byte and its staging."""

    def __init__(self, fd: int, token: str, level: int) -> None:
        self._token = token
        self.writer = PackWriter(fd, level)
        self.stored_bytes: dict[Digest, int] = {}
        self.staged: Staged | None = None

    def add(self, bodies: Sequence[tuple[Digest, bytes]]) -> None:
        """Write bodies as one frame."""
        self.writer.add(bodies)
        self.stored_bytes.update((digest, 0) for digest, _ in bodies)

    def finish(self) -> Staged:
        """Make it durable, yet invisible."""
        self.staged = Staged(self._token, self.stored_bytes, self.writer.finish())
        return self.staged
