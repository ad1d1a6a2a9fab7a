"""Takes lines without holding up who makes them, and appends them to the journal.

A line goes into a queue in memory, which is bounded in bytes; one background thread appends what is
there, in the order in which it came, a few milliseconds later and each line whole. Nobody waits for
the disk: where the queue is full a new line is dropped, and counted. A process that ends by itself
writes what is queued; one that is killed loses at most those milliseconds. With ``is_direct`` the
caller appends, so that a line outlives the process at once; only while another line is being
written, or synced, it is queued as well.

While the disk refuses, lines wait in the queue, and the thread tries again. How many were dropped is
itself a line, written as soon as there is room.

The journal's segments and their promise are those of `tracestore.journal`: a segment for each
process and start, whole lines only. After a fork the child has an empty queue and starts a segment
of its own. `flush` is the acknowledgement.
"""

import atexit
import errno
import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, TypeAlias, get_args
from weakref import WeakSet

from tracestore.capture.drops import REASONS, Drops, Reason
from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.journal.chunk import LINE_LIMIT_BYTES
from tracestore.journal.writer import SegmentWriter
from tracestore.layout import DIRECTORY_MODE

Fsync: TypeAlias = Literal["none", "periodic", "always"]

QUEUE_LIMIT_BYTES = 64 * 1024 * 1024
SYNC_EVERY_S = 1.0
_GROUP_BYTES = 1024 * 1024  # of one write
_GATHER_S = 0.005  # how long a line waits for others: a thread that woke for each would take the caller's time
_RETRY_EVERY_S = 0.1  # while the disk refuses
_EXIT_FLUSH_S = 2.0

_log = logging.getLogger("tracestore.capture")
_queues: "WeakSet[JournalQueue]" = WeakSet()


class JournalQueue:
    """The queue in front of a journal directory; any thread, and any signal handler, may `put`.

    ``line_of_drops`` makes the line that says how many records were dropped, by reason.
    """

    _thread: threading.Thread | None
    _unsynced_since_s: float | None

    def __init__(
        self,
        directory: str | Path,
        now_ms: Callable[[], int],
        line_of_drops: Callable[["Counter[Reason]"], bytes],
        *,
        fsync: Fsync = "periodic",
        is_direct: bool = False,
        limit_bytes: int = QUEUE_LIMIT_BYTES,
    ) -> None:
        if fsync not in get_args(Fsync):
            raise InputInvalid(f"fsync: wanted one of {', '.join(get_args(Fsync))}, found {fsync!r:.40}")
        if limit_bytes <= 0:
            raise InputInvalid(f"queue_bytes: wanted more than 0, found {limit_bytes}")
        self._directory = Path(os.path.abspath(directory))  # the application may change its own
        self._now_ms = now_ms
        self._line_of_drops = line_of_drops
        self._fsync = fsync
        self._is_direct = is_direct
        self._limit_bytes = limit_bytes
        self._is_ended_at_exit = False
        self._writer = SegmentWriter(self._directory, now_ms)
        self._start_over()
        _queues.add(self)

    def __repr__(self) -> str:
        return f"<JournalQueue {str(self._directory)!r}, {self._waiting_bytes} bytes wait>"

    @property
    def dropped(self) -> dict[Reason, int]:
        """How many records this process ever dropped, by reason."""
        with self._counting:
            return dict(self._drops.ever)

    def put(self, line: bytes) -> None:
        """Take one line, without its line end; it is appended later, or dropped and counted."""
        if len(line) > LINE_LIMIT_BYTES:
            self.drop("too_large")
            return
        with self._counting:
            is_taken = not self._waiting_bytes or self._waiting_bytes + len(line) <= self._limit_bytes
            if is_taken:
                self._lines.append(line)
                self._waiting_bytes += len(line)
        if not is_taken:
            self.drop("disk" if self._is_refused else "queue_full")
        elif self._is_direct and self._writing.acquire(blocking=False):
            try:
                self._append_waiting()
                if self._fsync == "always":
                    self._sync()
            finally:
                self._writing.release()
        self._wake()

    def drop(self, reason: Reason) -> None:
        """Count a record that cannot be recorded, and warn of the first one."""
        with self._counting:
            is_first = self._drops.count(reason)
        if is_first:
            with suppress(Exception):  # whatever handlers the application has
                _log.warning("a record is dropped: %s; the journal will say how many were", REASONS[reason])

    def flush(self, timeout_s: float) -> bool:
        """Append what is queued and, unless fsync is ``none``, make it durable.

        True promises that for all that was put before. False: the disk refuses, or takes longer;
        what is queued stays so.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self._writing.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
                try:
                    if self._append_waiting() and (self._fsync == "none" or self._sync()):
                        return True
                finally:
                    self._writing.release()
            rest_s = deadline_s - time.monotonic()
            if rest_s <= 0:
                return False
            time.sleep(min(_RETRY_EVERY_S, rest_s))

    def close(self, timeout_s: float) -> bool:
        """Flush, and let thread and segment go; a line that is put later starts both anew."""
        is_flushed = self.flush(timeout_s)
        self._thread = None
        self._wakes.put(None)
        if self._writing.acquire(timeout=timeout_s):
            try:
                with suppress(StoreUnavailable):  # `flush` said so
                    self._writer.close()
            finally:
                self._writing.release()
        return is_flushed

    def start_over(self) -> None:
        """Begin anew in the child of a fork: the parent's lines, thread and segment are the parent's."""
        self._writer.abandon()
        self._writer = SegmentWriter(self._directory, self._now_ms)
        self._start_over()

    def _start_over(self) -> None:
        self._counting = threading.RLock()  # a signal handler may put while its thread is in `put`
        self._writing = threading.Lock()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._drops = Drops()
        self._is_asleep = self._is_refused = False
        self._unsynced_since_s = None
        self._thread = None

    def _wake(self) -> None:
        if self._thread is None:
            self._start_thread()
        elif self._is_asleep:
            self._is_asleep = False
            self._wakes.put(None)

    def _start_thread(self) -> None:
        with self._counting:
            if self._thread is not None:
                return
            try:
                self._end_at_exit()
                thread = threading.Thread(target=self._run, name="tracestore-journal", daemon=True)
                self._thread = thread
                thread.start()
            except RuntimeError:  # the interpreter ends, and no thread can start: lines are written as they come
                self._thread = None
                self._is_direct = True

    def _end_at_exit(self) -> None:
        """Have the queue written when the process ends by itself."""
        if not self._is_ended_at_exit:
            atexit.register(self._end)
            self._is_ended_at_exit = True
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None and multiprocessing.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(self, self._end, exitpriority=0)  # such a process leaves without what `atexit` has

    def _end(self) -> None:
        self.flush(_EXIT_FLUSH_S)
        self._is_direct = True  # what others still say as they end

    def _run(self) -> None:
        me = threading.current_thread()
        while self._thread is me:
            self._is_asleep = True
            if self._is_refused:
                time.sleep(_RETRY_EVERY_S)
            elif not self._lines:
                with suppress(Empty):
                    self._wakes.get(timeout=self._sync_in_s())
            self._is_asleep = False
            time.sleep(_GATHER_S)
            with self._writing:
                self._append_waiting()
                if self._sync_in_s() == 0.0:
                    self._sync()

    def _sync_in_s(self) -> float | None:
        """Return the seconds until the journal is to be synced; None: there is nothing to be synced."""
        if self._unsynced_since_s is None or self._fsync == "none":
            return None
        if self._fsync == "always":
            return 0.0
        return max(0.0, self._unsynced_since_s + SYNC_EVERY_S - time.monotonic())

    def _sync(self) -> bool:
        """Make durable what was appended; the caller holds `_writing`."""
        try:
            self._writer.sync()
        except StoreUnavailable:
            self._is_refused = True
            return False
        self._unsynced_since_s = None
        return True

    def _append_waiting(self) -> bool:
        """Append what is queued, and what was dropped; True when nothing is left. The caller holds `_writing`."""
        while lines := self._first_lines():
            appended = self._append(lines)
            with self._counting:
                for _ in range(appended):
                    self._waiting_bytes -= len(self._lines.popleft())
                if not self._lines:
                    self._waiting_bytes = 0  # a signal handler between two steps of a sum leaves it wrong
            if appended < len(lines):
                return False
            self._tell_drops()
        return self._tell_drops()

    def _first_lines(self) -> list[bytes]:
        lines: list[bytes] = []
        size_bytes = 0
        with self._counting:
            for line in self._lines:
                size_bytes += len(line)
                if lines and size_bytes > _GROUP_BYTES:
                    break
                lines.append(line)
        return lines

    def _tell_drops(self) -> bool:
        """Write how many records were dropped since it was last said; True when there is nothing to say."""
        with self._counting:
            untold = self._drops.untold()
        if not untold:
            return True
        if not self._append([self._line_of_drops(untold)]):
            return False
        with self._counting:
            self._drops.told(untold)
        return True

    def _append(self, lines: list[bytes]) -> int:
        """Append lines in one write, or else as many of them as fit; returns how many."""
        if self._is_appended(lines):
            return len(lines)
        if len(lines) > 1:
            for number, line in enumerate(lines):
                if not self._is_appended([line]):
                    return number
        return 0

    def _is_appended(self, lines: list[bytes]) -> bool:
        try:
            self._append_whole(lines)
        except StoreUnavailable:
            self._is_refused = True
            return False
        self._is_refused = False
        if self._unsynced_since_s is None:
            self._unsynced_since_s = time.monotonic()
        return True

    def _append_whole(self, lines: list[bytes]) -> None:
        try:
            self._writer.append(lines)
        except StoreUnavailable as error:
            if error.errno != errno.ENOENT:
                raise
            self._make_directory()
            self._writer.append(lines)

    def _make_directory(self) -> None:
        for directory in reversed([self._directory, *self._directory.parents]):
            with suppress(OSError):  # the append behind this says what is wrong
                directory.mkdir(DIRECTORY_MODE)


def _start_all_over() -> None:
    for queue in list(_queues):
        queue.start_over()


os.register_at_fork(after_in_child=_start_all_over)
