"""Appends whole lines to segments of its own.

Every writer owns its segments: each is created exclusively, under a name made of the time, the
process and a count, and readable by its owner only. So no two processes ever append to one file,
and a rotation is simply the next segment. A segment is held with a lock while it is appended to, so
that `remove_segments` never takes one away from its writer.

An append is one write of whole lines. A short write is completed; where it cannot be, the segment
is cut back to where it was, so that half a line never meets the next one. `SegmentWriter.sync` is
the acknowledgement. When it fails the kernel may have dropped the pages and marked them clean: a
second fsync would succeed and prove nothing. So the segment is abandoned, and what was not yet
acknowledged has to be appended again, into a new one.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tracestore.directory.disk_errors import unavailable
from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.journal import disk
from tracestore.journal.chunk import LINE_LIMIT_BYTES

SEGMENT_LIMIT_BYTES = 64 * 1024 * 1024  # a snapshot is taken per so much journal; a segment goes as a whole
_OWN_NAME = re.compile(r"\d+-\d+-\d+\.ndjson", re.ASCII)


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the lines of one append stand: from ``offset`` to ``end_offset`` of the segment at ``path``."""

    path: str
    offset: int
    end_offset: int


class SegmentWriter:
    """The appending end of a journal directory; one thread at a time.

    No file is made before the first append. After a fork the child starts a segment of its own.
    """

    def __init__(
        self,
        directory: str | Path,
        now_ms: Callable[[], int],
        *,
        segment_limit_bytes: int = SEGMENT_LIMIT_BYTES,
    ) -> None:
        self._directory = str(directory)
        self._now_ms = now_ms
        self._limit_bytes = segment_limit_bytes
        self._sequence = 0
        self._fd = -1
        self._pid = 0
        self._path = ""
        self._end = 0
        self._synced_end = 0
        self._unacknowledged = False

    def __repr__(self) -> str:
        where = f"{self._path!r} at {self._end}" if self._fd >= 0 else "no segment"
        return f"<SegmentWriter {self._directory!r}, {where}>"

    def append(self, lines: Iterable[bytes]) -> Appended:
        """Append lines, all or none; each without its line end, not blank and within the line limit.

        They are not durable before `sync`. Raises StoreUnavailable when the disk refuses; then
        none of them stands in the journal.
        """
        data = _joined(lines)
        if not data:
            return Appended(self._path, self._end, self._end)
        if self._fd >= 0 and self._pid != os.getpid():
            self.abandon()
        elif self._fd >= 0 and self._end >= self._limit_bytes:
            self.sync()
            self.abandon()
        if self._fd < 0:
            self._start_segment()
        start = self._end
        self._write(data)
        self._unacknowledged = False
        return Appended(self._path, start, self._end)

    def sync(self) -> None:
        """Make every appended line durable. When this fails, append again what it did not cover."""
        if self._unacknowledged:
            raise StoreUnavailable(
                errno.EIO,
                "an earlier sync failed and cannot be repeated; append the lines since the last good sync again",
                self._path,
            )
        if self._fd < 0 or self._synced_end == self._end:
            return
        try:
            disk.sync_written(self._fd, self._path)
            disk.check_linked(self._fd, self._path)
        except StoreUnavailable:
            self.abandon()
            self._unacknowledged = True
            raise
        self._synced_end = self._end

    def check(self) -> None:
        """Raise StoreUnavailable, and let the segment go, where no reader would find it any more."""
        if self._fd >= 0:
            try:
                disk.check_linked(self._fd, self._path)
            except StoreUnavailable:
                self.abandon()
                raise

    def close(self) -> None:
        """Sync and let the segment go; may be called twice."""
        try:
            self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let the segment go without a sync, as the child of a fork does with its parent's."""
        if self._fd >= 0:
            with suppress(OSError):  # what counts was synced, or is appended again elsewhere
                os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_segment(self) -> None:
        pid = os.getpid()
        while True:
            name = f"{self._now_ms()}-{pid}-{self._sequence}.ndjson"
            self._sequence += 1
            path = os.path.join(self._directory, name)
            fd = disk.create_exclusive(path)
            if fd is not None:
                break
        try:
            disk.sync_directory(self._directory)
        except StoreUnavailable:
            os.close(fd)
            with suppress(OSError):  # an empty segment that stays behind holds no line
                os.unlink(path)
            raise
        self._fd, self._pid, self._path = fd, pid, path
        self._end = self._synced_end = 0

    def _write(self, data: bytes) -> None:
        """Write whole lines, or cut the segment back to where it was."""
        try:
            disk.write_all(self._fd, data)
        except BaseException as error:  # an interrupt, too: what a short write left over is not written behind it
            try:
                os.ftruncate(self._fd, self._end)
            except OSError:
                self._abandon_after_sync()
            if isinstance(error, OSError):
                raise unavailable(error, "append to the journal", self._path) from error
            raise
        self._end += len(data)

    def _abandon_after_sync(self) -> None:
        """Leave a segment that ends in a torn line; the next append must not meet it."""
        try:
            self.sync()
        finally:
            self.abandon()


def remove_segments(directory: str | Path, read: Mapping[str, int]) -> list[str]:
    """Remove finished segments of `SegmentWriter`; ``read`` maps each path to the bytes read of it.

    A file of another name, one that its writer still holds and one with bytes behind what was read
    stay. Returns the paths that are gone, durably: a removed segment that a power cut brought back
    would be read again, and what retention removed would rise with it.
    """
    gone = [
        path
        for path, size_bytes in read.items()
        if os.path.dirname(path) == str(directory)
        and _OWN_NAME.fullmatch(os.path.basename(path))
        and disk.remove_finished(path, size_bytes)
    ]
    if gone:
        disk.sync_directory(str(directory))
    return gone


def _joined(lines: Iterable[bytes]) -> bytes:
    """Return the lines, each with its line end, after a look at every one."""
    parts: list[bytes] = []
    for number, line in enumerate(lines):
        if b"\n" in line:
            raise InputInvalid(f"line {number} of this append holds a newline; encode it as one line")
        if not line or line.isspace():
            raise InputInvalid(f"line {number} of this append is blank; a journal line is one record")
        if len(line) > LINE_LIMIT_BYTES:
            found = f"has {len(line)} bytes, the limit is {LINE_LIMIT_BYTES}"
            raise InputInvalid(f"line {number} of this append {found}; shorten its body")
        parts.append(line)
    return b"\n".join([*parts, b""])
