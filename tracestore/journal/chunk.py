"""Whole lines from a run of bytes, in bounded memory.

A line ends at ``\\n``; one ``\\r`` before it belongs to the line end. Offsets count bytes, whatever the
bytes mean: invalid UTF-8 shifts nothing. Blank lines (empty, or ASCII whitespace only) are passed
over, and so are NUL bytes in front of a line: they are the hole that a writer without O_APPEND, or
a power cut, leaves in a file. The bytes after the last ``\\n`` are a torn line; they wait.

Memory: at most ``max_bytes`` of lines and one block, or one single line of up to LINE_LIMIT_BYTES.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

LINE_LIMIT_BYTES = 32 * 1024 * 1024  # a longer line is set aside without ever being in memory
CHUNK_BYTES = 8 * 1024 * 1024  # large enough that the cost of a transaction disappears behind it
CHUNK_LINES = 10_000
BLOCK_BYTES = 1024 * 1024  # one pread: bounds what is read in vain when the line budget ends a chunk
PROOF_BYTES = 256  # kept of both ends of a chunk, to prove later that the file still holds it

_SPACE = 0x20
_CARRIAGE_RETURN = 0x0D

ReadAt = Callable[[int, int], bytes]
"""``read_at(length, offset)``: up to that many bytes from there, fewer only at the end."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line without its line end; ``offset`` is where its first byte stands in the segment."""

    offset: int
    data: bytes


class OversizedLine(msgspec.Struct, frozen=True, gc=False):
    """A line of more than LINE_LIMIT_BYTES: where it stands, not what it says."""

    offset: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines in order, and the range ``offset`` to ``next_offset`` they were taken from."""

    lines: list[Line | OversizedLine]
    offset: int
    next_offset: int
    torn_bytes: int
    """Bytes behind ``next_offset`` that wait for their newline; 0 while more lines follow."""
    first: bytes
    last: bytes


class ChunkReader:
    """Collects one chunk; used once."""

    __slots__ = ("_at", "_first", "_last", "_lines", "_max_bytes", "_max_lines", "_offset", "_read_at", "_size")

    def __init__(self, read_at: ReadAt, size_bytes: int, offset: int, max_bytes: int, max_lines: int) -> None:
        self._read_at = read_at
        self._size = size_bytes
        self._offset = self._at = offset
        self._max_bytes = max_bytes
        self._max_lines = max_lines
        self._lines: list[Line | OversizedLine] = []
        self._first = self._last = b""

    def read(self) -> Chunk:
        """Return the lines from the offset on, as many as both budgets and the file allow."""
        torn_bytes = 0
        while self._at < self._size and self._has_budget():
            budget_bytes = self._max_bytes - (self._at - self._offset)
            block = self._read_at(min(BLOCK_BYTES, budget_bytes, self._size - self._at), self._at)
            if not block:
                break  # the file shrank after its size was taken; the next poll looks into it
            if self._take_lines(block):
                continue
            if self._at + len(block) >= self._size:
                torn_bytes = len(block)
                break
            if self._at > self._offset and len(block) < BLOCK_BYTES:
                break  # the byte budget ends inside this line; it starts the next chunk
            taken = self._take_long_line()
            if not taken:
                torn_bytes = self._size - self._at
                break
        return Chunk(self._lines, self._offset, self._at, torn_bytes, self._first, self._last)

    def _has_budget(self) -> bool:
        return len(self._lines) < self._max_lines and self._at - self._offset < self._max_bytes

    def _take_lines(self, block: bytes) -> bool:
        """Take the whole lines of a block; False when there is not one."""
        parts = block.split(b"\n", self._max_lines - len(self._lines))
        rest = parts.pop()
        if not parts:
            return False
        at = self._at
        append = self._lines.append
        for data in parts:
            if data and data[0] > _SPACE and data[-1] != _CARRIAGE_RETURN:
                append(Line(at, data))
            elif line := _tidied(at, data):
                append(line)
            at += len(data) + 1
        self._consume(memoryview(block)[: len(block) - len(rest)])
        return True

    def _take_long_line(self) -> bool:
        """Take the one line that is longer than a block; False when it is torn or changes underfoot."""
        begin, end = self._find_long_line()
        if end is None:
            return False
        length_bytes = end - begin
        if length_bytes > LINE_LIMIT_BYTES:
            self._lines.append(OversizedLine(begin, length_bytes))
        else:
            data = self._read_at(length_bytes, begin)
            if len(data) < length_bytes or b"\n" in data:
                return False
            if line := _tidied(begin, data):
                self._lines.append(line)
        span_bytes = end + 1 - self._at
        if (wanted_bytes := PROOF_BYTES - len(self._first)) > 0:
            self._first += self._read_at(min(wanted_bytes, span_bytes), self._at)
        self._last = self._read_at(min(PROOF_BYTES, span_bytes), end + 1 - min(PROOF_BYTES, span_bytes))
        self._at = end + 1
        return True

    def _find_long_line(self) -> tuple[int, int | None]:
        """Return where the line's first byte other than NUL and its newline stand, without keeping it."""
        begin, at = None, self._at
        while block := self._read_at(BLOCK_BYTES, at):
            if begin is None and (content := block.lstrip(b"\0")):
                begin = at + len(block) - len(content)
            if (newline := block.find(b"\n")) >= 0:
                return (at + newline if begin is None else begin), at + newline
            at += len(block)
        return self._at, None

    def _consume(self, taken: memoryview) -> None:
        """Step over bytes whose lines were taken, and keep both ends of the chunk."""
        if len(self._first) < PROOF_BYTES:
            self._first += bytes(taken[: PROOF_BYTES - len(self._first)])
        self._last = (self._last + bytes(taken[-PROOF_BYTES:]))[-PROOF_BYTES:]
        self._at += len(taken)


def _tidied(offset: int, data: bytes) -> Line | None:
    """Return a line without its hole in front and its carriage return; None when nothing is left."""
    content = data.lstrip(b"\0")
    offset += len(data) - len(content)
    content = content.removesuffix(b"\r")
    return Line(offset, content) if content and not content.isspace() else None
