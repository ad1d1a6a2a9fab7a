"""The lines that wait for the disk, and their way onto it, in the order in which they came.

How many bytes may wait is bounded; a line that finds no room is dropped, and counted. While the disk
refuses, lines wait. How many were dropped is itself a line, appended as soon as there is room.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

from tracestore.capture.appender import Appender
from tracestore.capture.drops import REASONS, Drops, Reason
from tracestore.journal.chunk import LINE_LIMIT_BYTES

_GROUP_BYTES = 1024 * 1024  # of one write
_GROUP_LINES = 4096


class Backlog:
    """What waits for an appender; any thread, and any signal handler, may `take` and `append`.

    ``line_of_drops`` makes the line that says how many records were dropped, by reason.
    """

    def __init__(
        self, appender: Appender, line_of_drops: Callable[["Counter[Reason]"], bytes], *, limit_bytes: int
    ) -> None:
        self.appender = appender
        self.size_bytes = 0
        self._line_of_drops = line_of_drops
        self._limit_bytes = limit_bytes
        self._lines: deque[bytes] = deque()
        self._drops = Drops()
        self._has_warned_of_disk = False
        self._counting = threading.RLock()  # a signal handler may take while its thread is in `take`
        self._writing = threading.RLock()  # or append: it does not wait for the thread that it has interrupted
        self._is_appending = False

    def take(self, line: bytes) -> bool:
        """Have a line wait, without its line end; False: it is dropped."""
        if len(line) > LINE_LIMIT_BYTES:
            self.drop("too_large")
            return False
        with self._counting:
            is_taken = not self.size_bytes or self.size_bytes + len(line) <= self._limit_bytes
            if is_taken:
                self._lines.append(line)
                self.size_bytes += len(line)
        if not is_taken:
            self.drop("disk" if self.appender.is_refused else "queue_full")
        return is_taken

    def drop(self, reason: Reason) -> None:
        """Count a record that cannot be recorded, and warn of the first one."""
        with self._counting:
            is_first = self._drops.note(reason)
        if is_first:
            _warn("a record is dropped: %s; the journal will say how many were", REASONS[reason])

    def dropped(self) -> "Counter[Reason]":
        """Return how many records were ever dropped, by reason."""
        with self._counting:
            return self._drops.ever()

    def is_done(self) -> bool:
        """Tell whether no line waits, neither to be appended nor to be made durable."""
        return not self._lines and self.appender.due_in_s() is None

    def append(self, timeout_s: float = -1, *, is_synced: bool = False) -> bool:
        """Append what waits by now, and sync it when that is asked for; False: the disk refuses, or others append.

        Another thread that appends is waited for, at most ``timeout_s``; -1: as long as it takes.
        """
        writing = self._writing
        try:
            return writing.acquire(timeout=timeout_s) and self._append_once(is_synced=is_synced)
        finally:  # right away: an interrupt may come behind any call, also behind the one that took the lock
            try:  # noqa: SIM105
                writing.release()
            except RuntimeError:  # it was not taken
                pass

    def close(self) -> None:
        """Sync, and let the segment go; the next append starts another."""
        with self._writing:
            self.appender.close()

    def warn_of_disk(self) -> None:
        """Say, the first time, why nothing is written: nobody would find out about a wrong path otherwise."""
        if self.appender.is_refused and not self._has_warned_of_disk:
            self._has_warned_of_disk = True
            said = "the journal %s takes no lines: %s; they wait in memory, and are lost when the process ends first"
            _warn(said, self.appender.directory, self.appender.refusal)

    def _append_once(self, *, is_synced: bool) -> bool:
        if self._is_appending:  # by this very thread, which a signal handler, or a collected object, interrupts
            return False
        self._is_appending = True
        try:
            return self._append_lines() and (not is_synced or self.appender.sync())
        finally:
            self._is_appending = False

    def _append_lines(self) -> bool:
        """Append what waits by now, and say what was dropped, and sync where it is time; False: the disk refuses."""
        left = len(self._lines)
        while True:
            lines = self._first_lines(left)
            appended = self.appender.append(lines)
            with self._counting:
                for _ in range(appended):
                    self.size_bytes -= len(self._lines.popleft())
                if not self._lines:
                    self.size_bytes = 0  # a signal handler between two steps of a sum leaves it wrong
            if appended < len(lines) or not self._tell_drops():
                return False
            if self.appender.due_in_s() == 0.0 and not self.appender.sync():
                return False
            left -= appended
            if left <= 0:
                return True

    def _first_lines(self, count: int) -> list[bytes]:
        lines: list[bytes] = []
        size_bytes = 0
        for number in range(min(count, _GROUP_LINES)):  # an iterator would fail when a signal handler takes a line
            size_bytes += len(self._lines[number])
            if lines and size_bytes > _GROUP_BYTES:
                break
            lines.append(self._lines[number])
        return lines

    def _tell_drops(self) -> bool:
        """Append how many records were dropped since it was last said; True when there is nothing to say."""
        with self._counting:
            untold = self._drops.untold()
        if not untold:
            return True
        if not self.appender.append([self._line_of_drops(untold)]):
            return False
        with self._counting:
            self._drops.told(untold)
        return True


def _warn(message: str, *args: object) -> None:
    with suppress(Exception):  # whatever handlers the application has
        import logging  # by now, seldom; it takes a tenth of the time that this package needs to start

        logging.getLogger("tracestore.capture").warning(message, *args)
