"""Appends lines to a journal for as long as the disk takes them, and again what it may have lost.

A sync that fails may have lost all that was appended since the last good one, as may a directory
that somebody removed. So these lines are kept until they are durable, and appended again; a
collector stores a line that it reads twice once. With fsync ``none`` they are kept until the
segment is seen to be still where it was.
"""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from tracestore.errors import StoreUnavailable
from tracestore.journal.writer import SegmentWriter
from tracestore.layout import DIRECTORY_MODE

Fsync: TypeAlias = Literal["none", "periodic", "always"]

SYNC_EVERY_S = 1.0
_UNSYNCED_LIMIT_BYTES = 16 * 1024 * 1024


class Appender:
    """The appending end of a journal directory, which is made when it is missing; one thread at a time.

    Nothing raises: ``is_refused`` tells whether the disk refused what was last asked of it, ``refusal`` what it
    said when it last did.
    """

    def __init__(self, directory: str | Path, now_ms: Callable[[], int], fsync: Fsync) -> None:
        self.directory = Path(os.path.abspath(directory))  # the application may change its own
        self.is_refused = False
        self.refusal = ""
        self._writer = SegmentWriter(self.directory, now_ms)
        self._fsync = fsync
        self._path = ""
        self._unsynced: list[bytes] = []
        self._unsynced_bytes = 0
        self._unsynced_since_s: float | None = None
        self._doubtful: list[bytes] = []

    def append(self, lines: list[bytes]) -> int:
        """Append lines in one write, or else as many of them as fit; returns how many."""
        if self._doubtful:
            if not self._is_appended(self._doubtful):
                return 0
            self._doubtful = []
        if not lines or self._is_appended(lines):
            return len(lines)
        if len(lines) == 1:
            return 0
        for number, line in enumerate(lines):
            if not self._is_appended([line]):
                return number
        return len(lines)

    def sync(self) -> bool:
        """Make durable what was appended, unless fsync is ``none``; False when the disk refuses."""
        try:
            self._make_sure()
        except StoreUnavailable as error:
            self.is_refused, self.refusal = True, str(error)
            self._doubtful += self._unsynced
        else:
            self.is_refused = bool(self._doubtful)
        self._unsynced, self._unsynced_bytes, self._unsynced_since_s = [], 0, None
        return not self.is_refused

    def due_in_s(self) -> float | None:
        """Return the seconds until there is something to do, without more lines; None: there is nothing."""
        if self.is_refused:
            return 0.0
        if self._unsynced_since_s is None:
            return None
        if self._fsync == "always" or self._unsynced_bytes > _UNSYNCED_LIMIT_BYTES:
            return 0.0
        return max(0.0, self._unsynced_since_s + SYNC_EVERY_S - time.monotonic())

    def close(self) -> None:
        """Sync, and let the segment go; the next append starts another."""
        self.sync()
        self._writer.abandon()

    def abandon(self) -> None:
        """Let the segment go as it is, as the child of a fork does with its parent's."""
        self._writer.abandon()

    def _is_appended(self, lines: list[bytes]) -> bool:
        try:
            self._path = self._append_to_directory(lines)
        except Exception as error:  # MemoryError, too: a line that waits is tried again, and a thread that died is not
            self.sync()  # the segment may be lost with this line, and what stands in it with the segment
            self.is_refused, self.refusal = True, str(error) or type(error).__name__
            return False
        self.is_refused = False
        self._unsynced += lines
        self._unsynced_bytes += sum(map(len, lines))
        if self._unsynced_since_s is None:
            self._unsynced_since_s = time.monotonic()
        return True

    def _make_sure(self) -> None:
        if self._fsync != "none":
            self._writer.sync()
        elif self._unsynced:
            self._writer.check()

    def _append_to_directory(self, lines: list[bytes]) -> str:
        try:
            return self._writer.append(lines).path
        except StoreUnavailable as error:
            if error.errno == errno.EFBIG and error.filename == self._path:
                self._writer.close()  # no file may be larger, and lines stand in this one: another takes more
            elif error.errno == errno.ENOENT:
                for directory in reversed([self.directory, *self.directory.parents]):
                    with suppress(OSError):  # the append behind this says what is wrong
                        directory.mkdir(DIRECTORY_MODE)
            else:
                raise
            return self._writer.append(lines).path
