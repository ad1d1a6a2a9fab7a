"""Takes lines without holding up who makes them, and appends them to the journal.

A line goes into a queue in memory, which is bounded in bytes; one background thread appends what is
there, in the order in which it came, a few milliseconds later and each line whole. Nobody waits for
the disk: where the queue is full a new line is dropped, and counted. A process that ends by itself
writes what is queued; one that is killed loses at most those milliseconds. With ``is_direct`` the
caller appends, so that a line outlives the process at once; only while another line is being
written, or synced, it is queued as well.

While the disk refuses, lines wait in the queue; the thread says why, once, and tries again. How many
were dropped is itself a line, written as soon as there is room.

The journal's segments and their promise are those of `tracestore.journal`: a segment for each
process and start, whole lines only. After a fork the child has an empty queue and starts a segment
of its own. `flush` is the acknowledgement; it, too, leaves the disk to the thread, and waits no
longer than it was told.
"""

import atexit
import os
import queue  # its SimpleQueue is looked up when it is made: gevent may have put another one there by then
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty
from typing import TypeAlias, get_args
from weakref import WeakSet

from tracestore.capture.appender import Appender, Fsync
from tracestore.capture.drops import REASONS, Drops, Reason
from tracestore.errors import InputInvalid
from tracestore.journal.chunk import LINE_LIMIT_BYTES

QUEUE_LIMIT_BYTES = 64 * 1024 * 1024
_GROUP_BYTES = 1024 * 1024  # of one write
_GROUP_LINES = 4096
_GATHER_S = 0.005  # how long a line waits for others: a thread that woke for each would take the caller's time
_RETRY_EVERY_S = 0.1  # while the disk refuses
_DIRECT_WAIT_S = 0.1  # for another thread that appends or syncs
_EXIT_FLUSH_S = 2.0

_Answer: TypeAlias = queue.SimpleQueue[bool]

_queues: "WeakSet[JournalQueue]" = WeakSet()


class JournalQueue:
    """The queue in front of a journal directory; any thread, and any signal handler, may `put`.

    ``line_of_drops`` makes the line that says how many records were dropped, by reason.
    """

    _thread: threading.Thread | None

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
        if not isinstance(limit_bytes, int) or limit_bytes <= 0:
            raise InputInvalid(f"queue_bytes: wanted a number over 0, found {limit_bytes!r:.40}")
        if not isinstance(directory, str | os.PathLike):
            raise InputInvalid(f"path: wanted a directory, found {directory!r:.80}")
        if "\0" in os.fspath(directory):
            raise InputInvalid(f"path: wanted a directory, found one that no file system can name: {directory!r:.80}")
        self._line_of_drops = line_of_drops
        self._is_direct = is_direct
        self._limit_bytes = limit_bytes
        self._new_appender = partial(Appender, os.path.abspath(directory), now_ms, fsync)
        self._start_over()
        _queues.add(self)

    def __repr__(self) -> str:
        return f"<JournalQueue {str(self._appender.directory)!r}, {self._waiting_bytes} bytes wait>"

    @property
    def dropped(self) -> dict[Reason, int]:
        """How many records this process ever dropped, by reason."""
        with self._counting:
            return dict(self._drops.ever())

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
            self.drop("disk" if self._appender.is_refused else "queue_full")
            return
        try:
            if self._is_direct and not self._appender.is_refused:
                self._append_now(_DIRECT_WAIT_S)
            if not self._wake():
                self._append_now(_DIRECT_WAIT_S)
        except Exception:  # a caller at the limit of recursion; it is taken, and waits
            pass

    def drop(self, reason: Reason) -> None:
        """Count a record that cannot be recorded, and warn of the first one."""
        with self._counting:
            is_first = self._drops.note(reason)
        if is_first:
            _warn("a record is dropped: %s; the journal will say how many were", REASONS[reason])
        self._wake()

    def flush(self, timeout_s: float) -> bool:
        """Append what is queued and, unless fsync is ``none``, make it durable.

        True promises that for all that was put before. False: the disk refuses, or takes longer;
        what is queued stays so.
        """
        until_s = time.monotonic() + timeout_s
        is_flushed = self._thread is None and not self._lines and self._appender.due_in_s() is None
        while not is_flushed and (left_s := until_s - time.monotonic()) > 0:
            is_flushed = self._ask(left_s)
        return is_flushed

    def close(self, timeout_s: float) -> bool:
        """Flush, and let thread and segment go; a line that is put later starts both anew."""
        until_s = time.monotonic() + timeout_s
        is_flushed = self.flush(timeout_s)
        with self._counting:  # nobody starts another one in between
            thread, self._thread = self._thread, None
            self._wakes.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, until_s - time.monotonic()))
        return is_flushed

    def forget(self) -> None:
        """Let thread and segment go as soon as all is appended: nobody is left who could put a line."""
        self._is_forgotten = True
        self._wakes.put(None)

    def end(self, timeout_s: float) -> None:
        """Flush as the process ends; what others still say as they end is appended as it comes."""
        self._is_direct = True
        self.flush(timeout_s)

    def start_over(self) -> None:
        """Begin anew in the child of a fork: the parent's lines, thread and segment are the parent's."""
        self._appender.abandon()
        self._start_over()

    def _start_over(self) -> None:
        self._counting = threading.RLock()  # a signal handler may put while its thread is in `put`
        self._writing = threading.RLock()  # or append: it does not wait for the thread that it has interrupted
        self._is_appending = False
        self._is_forgotten = False
        self._wakes: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._drops = Drops()
        self._has_warned_of_disk = False
        self._appender = self._new_appender()
        self._thread = None

    def _ask(self, timeout_s: float) -> bool:
        """Have the thread append and sync everything; tells whether it did, in time."""
        answer: _Answer = queue.SimpleQueue()
        if not self._wake(answer):
            return self._append_now(timeout_s, is_synced=True)
        try:
            return answer.get(timeout=timeout_s)
        except Empty:
            return False

    def _wake(self, answer: _Answer | None = None) -> bool:
        """Have the thread look at what is there, now or as soon as it is back; False: there can be no thread."""
        if self._thread is None and not self._start_thread():
            return False
        if answer is not None or self._wakes.empty():
            self._wakes.put(answer)
        return True

    def _start_thread(self) -> bool:
        with self._counting:
            if self._thread is not None:
                return True
            _flush_when_multiprocessing_ends(self)
            self._wakes = queue.SimpleQueue()
            thread = threading.Thread(target=self._run, args=(self._wakes,), name="tracestore-journal", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except Exception:  # the interpreter ends, or there are too many: lines are written as they come
                self._thread = None
                self._is_direct = True
                return False
            except BaseException:  # an interrupt; the next line starts another, and this one, if it runs, ends
                self._thread = None
                raise
        return True

    def _run(self, wakes: "queue.SimpleQueue[_Answer | None]") -> None:
        is_last = False
        while not is_last:
            if self._appender.is_refused:
                time.sleep(_RETRY_EVERY_S)
            answer = None
            with suppress(Empty):
                answer = wakes.get(timeout=self._appender.due_in_s())
            # Asked before the lines are looked at: what found this thread still there is taken along.
            is_last = self._thread is None or self._wakes is not wakes
            if answer is None and not is_last:
                time.sleep(_GATHER_S)
            try:
                with self._writing:
                    is_done = self._append_waiting(is_synced=answer is not None)
                    if is_done and self._is_forgotten:
                        self._thread, is_last = None, True
                    if is_last:
                        self._appender.close()
            except Exception:  # no memory, or a clock that fails: what waits is tried again
                is_done = False
                time.sleep(_RETRY_EVERY_S)
            self._warn_of_disk()
            if answer is not None:
                answer.put(is_done)
        with suppress(Empty):
            while True:  # who asked too late asks the next thread
                answer = wakes.get_nowait()
                if answer is not None:
                    answer.put(False)

    def _warn_of_disk(self) -> None:
        """Say, the first time, why nothing is written: nobody would find out about a wrong path otherwise."""
        if self._appender.is_refused and not self._has_warned_of_disk:
            self._has_warned_of_disk = True
            said = "the journal %s takes no lines: %s; they wait in memory, and are lost when the process ends first"
            _warn(said, self._appender.directory, self._appender.refusal)

    def _append_now(self, timeout_s: float, *, is_synced: bool = False) -> bool:
        writing = self._writing
        try:
            return writing.acquire(timeout=timeout_s) and self._append_waiting(is_synced=is_synced)
        finally:  # right away: an interrupt may come behind any call, also behind the one that took the lock
            try:  # noqa: SIM105
                writing.release()
            except RuntimeError:  # it was not taken
                pass

    def _append_waiting(self, *, is_synced: bool) -> bool:
        """Append what is queued by now, and sync it when that is asked for; the caller holds `_writing`."""
        if self._is_appending:  # by this very thread, which a signal handler, or a collected object, interrupts
            return False
        self._is_appending = True
        try:
            return self._append_lines() and (not is_synced or self._appender.sync())
        finally:
            self._is_appending = False

    def _append_lines(self) -> bool:
        """Append what is queued by now, and what was dropped, and sync where it is time.

        False: the disk refuses, and what is left waits.
        """
        left = len(self._lines)
        while True:
            lines = self._first_lines(left)
            appended = self._appender.append(lines)
            with self._counting:
                for _ in range(appended):
                    self._waiting_bytes -= len(self._lines.popleft())
                if not self._lines:
                    self._waiting_bytes = 0  # a signal handler between two steps of a sum leaves it wrong
            if appended < len(lines) or not self._tell_drops():
                return False
            if self._appender.due_in_s() == 0.0 and not self._appender.sync():
                return False
            left -= appended
            if left <= 0:
                return True

    def _first_lines(self, count: int) -> list[bytes]:
        lines: list[bytes] = []
        size_bytes = 0
        for number in range(min(count, _GROUP_LINES)):  # an iterator would fail when a signal handler puts
            size_bytes += len(self._lines[number])
            if lines and size_bytes > _GROUP_BYTES:
                break
            lines.append(self._lines[number])
        return lines

    def _tell_drops(self) -> bool:
        """Write how many records were dropped since it was last said; True when there is nothing to say."""
        with self._counting:
            untold = self._drops.untold()
        if not untold:
            return True
        if not self._appender.append([self._line_of_drops(untold)]):
            return False
        with self._counting:
            self._drops.told(untold)
        return True


def _warn(message: str, *args: object) -> None:
    with suppress(Exception):  # whatever handlers the application has
        import logging  # by now, seldom; it takes a tenth of the time that this package needs to start

        logging.getLogger("tracestore.capture").warning(message, *args)


def _flush_when_multiprocessing_ends(queue: JournalQueue) -> None:
    """Have a process that `multiprocessing` started write its queue: it leaves without what `atexit` has."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(queue, queue.end, args=(_EXIT_FLUSH_S,), exitpriority=0)


def _end_all() -> None:
    until_s = time.monotonic() + _EXIT_FLUSH_S
    for each in list(_queues):
        each.end(until_s - time.monotonic())


def _start_all_over() -> None:
    for each in list(_queues):
        each.start_over()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_start_all_over)
