"""One segment of the journal, open for reading.

The handle stays on its file whatever happens to the name: a segment that is renamed, or unlinked
by a rotation, is read to its end through it. Reads use pread, so the handle has no position of its
own; the position is a value (`Position`) that the caller commits with the rows it covers.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreUnavailable
from tracestore.journal import disk
from tracestore.journal.chunk import BLOCK_BYTES, CHUNK_BYTES, CHUNK_LINES, Chunk, ChunkReader
from tracestore.journal.position import HEAD_BYTES, TAIL_BYTES, Position, fingerprint, path_text


class SegmentChanged(StoreUnavailable):
    """The file changed under a read; nothing of that read may be committed. Poll again."""


class Segment:
    """A file of the journal: its identity, its bytes, its fingerprints."""

    __slots__ = ("_fd", "device", "inode", "path", "torn_state")

    def __init__(self, fd: int, path: str) -> None:
        status = os.fstat(fd)
        self._fd = fd
        self.path = path
        self.device = status.st_dev
        self.inode = status.st_ino
        self.torn_state: tuple[int, int] | None = None
        """(offset, size) at which a read found nothing but a torn line."""

    @classmethod
    def open(cls, path: str) -> "Segment":
        """Open the file at the path; raises StoreUnavailable when that cannot be done."""
        fd = disk.open_for_reading(path)
        try:
            with disk_errors_translated("look at a journal segment", path):
                return cls(fd, path)
        except StoreUnavailable:
            os.close(fd)
            raise

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Segment {self.path!r} inode {self.inode} {state}>"

    @property
    def closed(self) -> bool:
        """Whether the handle was let go."""
        return self._fd < 0

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    def stat(self) -> os.stat_result:
        """Return the file's present state, whether or not it still has a name."""
        with disk_errors_translated("look at a journal segment", self.path):
            return os.fstat(self._fd)

    @property
    def size_bytes(self) -> int:
        """The file's present size."""
        return self.stat().st_size

    def start(self, segment_id: int) -> Position:
        """Return the position in front of this segment's first byte."""
        return Position.start(segment_id, self.path, self.device, self.inode)

    def holds(self, position: Position) -> bool:
        """Whether the file still holds, at both fingerprinted ends, what was read up to the position."""
        tail = self.read_at(position.tail_bytes, position.offset - position.tail_bytes)
        return fingerprint(tail) == position.tail_digest and self.holds_head(position)

    def holds_head(self, position: Position) -> bool:
        """Whether the file still begins as it did when the position was reached."""
        return fingerprint(self.read_at(position.head_bytes, 0)) == position.head_digest

    def read_chunk(self, offset: int, max_bytes: int = CHUNK_BYTES, max_lines: int = CHUNK_LINES) -> Chunk:
        """Return whole lines from the offset on; an empty chunk when there is none yet."""
        size_bytes = self.size_bytes
        chunk = ChunkReader(self.read_at, size_bytes, offset, max_bytes, max_lines).read()
        self.torn_state = (offset, offset + chunk.torn_bytes) if chunk.next_offset == offset else None
        return chunk

    def advance(self, position: Position, chunk: Chunk) -> Position:
        """Return the position behind a chunk that was read at ``position``.

        Raises SegmentChanged when the file no longer holds what was read, before the chunk or in
        it: it was truncated or rewritten meanwhile, and the chunk may begin inside a record.
        """
        first_at, last_at = chunk.offset, chunk.next_offset - len(chunk.last)
        if (
            chunk.offset != position.offset
            or not self.holds(position)
            or self.read_at(len(chunk.first), first_at) != chunk.first
            or self.read_at(len(chunk.last), last_at) != chunk.last
        ):
            raise SegmentChanged(
                errno.ESTALE,
                f"the journal changed while bytes {chunk.offset} to {chunk.next_offset} were read; "
                "drop what was read and poll again",
                self.path,
            )
        return self._position(position.segment_id, chunk.next_offset)

    def _position(self, segment_id: int, offset: int) -> Position:
        head_bytes, tail_bytes = min(HEAD_BYTES, offset), min(TAIL_BYTES, offset)
        return Position(
            segment_id=segment_id,
            path=path_text(self.path),
            device=self.device,
            inode=self.inode,
            offset=offset,
            head_bytes=head_bytes,
            head_digest=fingerprint(self.read_at(head_bytes, 0)),
            tail_bytes=tail_bytes,
            tail_digest=fingerprint(self.read_at(tail_bytes, offset - tail_bytes)),
        )

    def read_at(self, length_bytes: int, offset: int) -> bytes:
        """Return the bytes at an offset; fewer only where the file ends."""
        with disk_errors_translated("read the journal", self.path):
            return os.pread(self._fd, length_bytes, offset)

    def blocks(self, offset: int, length_bytes: int, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield a range in blocks of exactly ``block_bytes``, the last one shorter.

        Raises SegmentChanged when the file ends inside the range.
        """
        end = offset + length_bytes
        while offset < end:
            wanted_bytes = min(block_bytes, end - offset)
            block = self.read_at(wanted_bytes, offset)
            if len(block) < wanted_bytes:
                found = f"the journal ends at {offset + len(block)} and was read up to {end}; poll again"
                raise SegmentChanged(errno.ESTALE, found, self.path)
            yield block
            offset += len(block)

    def sync(self) -> None:
        """Make the segment durable; to be called before an offset into it is committed."""
        disk.sync_read(self._fd, self.path)

    def close(self) -> None:
        """Let the file go; may be called twice."""
        if self._fd >= 0:
            with suppress(OSError):  # nothing was written through it, and the descriptor is gone all the same
                os.close(self._fd)
            self._fd = -1
