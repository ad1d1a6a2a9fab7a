"""The lines that are no records, verbatim, in ``rejected.ndjson``.

One JSON object per rejected line, appended in the order of rejection::

    {"segment": 3, "path": "…/app.ndjson", "offset": 1207, "reason": "…", "line": "…"}

``line`` holds the line when its bytes are UTF-8, else ``lineBase64`` does. A line over the line
limit goes from its segment to base64 block by block and is never in memory.

Exactly once: the database commits the length of this file and the count of its lines in the same
transaction as the offset behind them. Opening cuts away what lies beyond the committed length: it
was left by a crash before the commit, and those lines are read and rejected again. A file that is
shorter than that was moved away or lost by its owner; it is appended to.
"""

import base64
import codecs
import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreBroken, StoreUnavailable
from tracestore.journal import disk
from tracestore.journal.chunk import Line, OversizedLine
from tracestore.journal.position import path_text
from tracestore.journal.segment import Segment

_BLOCK_BYTES = 3 * 256 * 1024  # a multiple of 3, so that the base64 of the blocks can be joined
_TEXT_MARK = b', "line": "'
_BASE64_MARK = b', "lineBase64": "'
_END = b'"}\n'


class RejectedLines:
    """The appending end of ``rejected.ndjson``; one thread."""

    def __init__(self, path: str, fd: int, size_bytes: int, count: int) -> None:
        self._path = path
        self._fd = fd
        self._committed = (size_bytes, count)
        self.size_bytes = size_bytes
        """Length of the file with everything appended so far: what the database commits."""
        self.count = count
        """Committed lines and those appended since."""

    @classmethod
    def open(cls, path: str, committed_bytes: int = 0, committed_count: int = 0) -> "RejectedLines":
        """Open the file at its committed length; creates it when it is not there."""
        fd = disk.open_for_appending(path)
        try:
            with disk_errors_translated("cut the rejected lines back to what was committed", path):
                size_bytes = os.fstat(fd).st_size
                if size_bytes > committed_bytes:
                    os.ftruncate(fd, committed_bytes)
                    size_bytes = committed_bytes
                if size_bytes and os.pread(fd, 1, size_bytes - 1) != b"\n":
                    disk.write_all(fd, b"\n")  # its owner, or a power cut, tore the last line
                    size_bytes += 1
            if not size_bytes:  # it may just have been made, by this opening or by one that a crash cut short
                disk.sync_directory(os.path.dirname(path) or os.curdir)
        except StoreUnavailable:
            os.close(fd)
            raise
        return cls(path, fd, size_bytes, committed_count)

    def append(self, segment_id: int, segment: Segment, line: Line | OversizedLine, reason: str) -> None:
        """Append one line as it stands in its segment; all of it or nothing."""
        about = {"segment": segment_id, "path": path_text(segment.path), "offset": line.offset, "reason": reason}
        start = self.size_bytes
        try:
            self._write(json.dumps(about)[:-1].encode())
            for piece in _encoded(segment, line):
                self._write(piece)
            self._write(_END)
        except StoreUnavailable:
            self._cut_to(start)
            raise
        self.count += 1

    def sync(self) -> None:
        """Make every appended line durable; to be called before the length is committed."""
        disk.sync_written(self._fd, self._path)

    def committed(self) -> None:
        """Take note that the database has committed the present length and count."""
        self._committed = (self.size_bytes, self.count)

    def roll_back(self) -> None:
        """Cut away what was appended since the last commit; those lines will be read again."""
        size_bytes, self.count = self._committed
        self._cut_to(size_bytes)

    def go_back_to(self, committed_bytes: int, committed_count: int) -> None:
        """Take over what the database says is committed, after a commit that nobody could tell the end of."""
        self._committed = (min(committed_bytes, self.size_bytes), committed_count)
        self.roll_back()

    def close(self) -> None:
        """Let the file go; may be called twice."""
        if self._fd >= 0:
            with suppress(OSError):  # what was committed was synced before, and the descriptor is gone all the same
                os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "RejectedLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        with disk_errors_translated("append a rejected line", self._path):
            disk.write_all(self._fd, data)
        self.size_bytes += len(data)

    def _cut_to(self, size_bytes: int) -> None:
        with disk_errors_translated("cut the rejected lines back", self._path):
            os.ftruncate(self._fd, size_bytes)
        self.size_bytes = size_bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """One entry: where the line stood, why it was rejected, and where its bytes are found."""

    segment_id: int
    path: str
    offset: int
    reason: str
    source: str
    """Path of the file of rejected lines."""
    value_at: int
    value_bytes: int
    is_base64: bool

    def line(self) -> bytes:
        """Return the rejected line, byte for byte."""
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """Yield the rejected line in blocks, for one that should not be in memory at once."""
        segment = Segment.open(self.source)
        try:
            if self.is_base64:
                for block in segment.blocks(self.value_at, self.value_bytes, _BLOCK_BYTES // 3 * 4):
                    yield base64.b64decode(block)
            else:
                text: str = json.loads(b'"' + b"".join(segment.blocks(self.value_at, self.value_bytes)) + b'"')
                yield text.encode()
        finally:
            segment.close()


def read_rejected(path: str) -> Iterator[Rejected]:
    """Yield the entries of a file of rejected lines, the oldest first; nothing when there is no file.

    Raises StoreBroken at an entry that this module has not written.
    """
    try:
        segment = Segment.open(path)
    except StoreUnavailable as error:
        if error.errno == errno.ENOENT:
            return
        raise
    try:
        offset = 0
        while True:
            chunk = segment.read_chunk(offset)
            for line in chunk.lines:
                yield _entry(segment, line)
            if chunk.next_offset == offset:
                return
            offset = chunk.next_offset
    finally:
        segment.close()


def _entry(segment: Segment, line: Line | OversizedLine) -> Rejected:
    """Return what an entry says, without its value."""
    whole_bytes = len(line.data) if isinstance(line, Line) else line.length_bytes
    opening = segment.read_at(min(whole_bytes, _BLOCK_BYTES), line.offset)
    for mark in (_TEXT_MARK, _BASE64_MARK):
        about, found, _ = opening.partition(mark)
        if found:
            break
    else:
        raise _broken(segment, line.offset)
    value_at = line.offset + len(about) + len(mark)
    try:
        fields = json.loads(about + b"}")
        return Rejected(
            segment_id=fields["segment"],
            path=fields["path"],
            offset=fields["offset"],
            reason=fields["reason"],
            source=segment.path,
            value_at=value_at,
            value_bytes=line.offset + whole_bytes - len(_END) + 1 - value_at,
            is_base64=mark == _BASE64_MARK,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(segment, line.offset) from error


def _broken(segment: Segment, offset: int) -> StoreBroken:
    return StoreBroken(f"{segment.path} is damaged at byte {offset}: this is no rejected line; look at it there")


def _encoded(segment: Segment, line: Line | OversizedLine) -> Iterator[bytes]:
    """Yield the line's value, after the mark that says how it is written, in pieces of bounded size."""
    if isinstance(line, OversizedLine):
        blocks = segment.blocks(line.offset, line.length_bytes, _BLOCK_BYTES)
    elif _is_utf8(line.data):
        yield _TEXT_MARK
        decoder = codecs.getincrementaldecoder("utf-8")()
        for block in _sliced(line.data):
            yield json.dumps(decoder.decode(block), ensure_ascii=False)[1:-1].encode()
        return
    else:
        blocks = _sliced(line.data)
    yield _BASE64_MARK
    for block in blocks:
        yield base64.b64encode(block)


def _sliced(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _BLOCK_BYTES):
        yield data[start : start + _BLOCK_BYTES]


def _is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8, in blocks: as one text they could take four times their size."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _sliced(data):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
