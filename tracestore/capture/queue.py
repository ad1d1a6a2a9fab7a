"""Takes lines without holding up who makes them, and has them appended to the journal.

A line waits in memory, in a `Backlog`; one background thread appends what is there a few milliseconds
later. Nobody waits for the disk. A process that ends by itself writes what waits; one that is killed
loses at most those milliseconds. With ``is_direct`` the caller appends, so that a line outlives the
process at once; only while another line is being written, or synced, it waits as well.

While the disk refuses, the thread says why, once, and tries again.

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
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import TypeAlias, get_args
from weakref import WeakSet

from tracestore.capture.appender import Appender, Fsync
from tracestore.capture.backlog import Backlog
from tracestore.capture.drops import Reason
from tracestore.errors import InputInvalid

QUEUE_LIMIT_BYTES = 64 * 1024 * 1024
_GATHER_S = 0.005  # how long a line waits for others: a thread that woke for each would take the caller's time
_RETRY_EVERY_S = 0.1  # while the disk refuses
_DIRECT_WAIT_S = 0.1  # for another thread that appends or syncs
_EXIT_FLUSH_S = 2.0
_LONGEST_WAIT_S = 86_400.0  # for who says `inf`, which no lock takes

_Answer: TypeAlias = queue.SimpleQueue[bool]

_queues: "WeakSet[JournalQueue]" = WeakSet()


class JournalQueue:
    """The queue in front of a journal directory; any thread, and any signal handler, may `put`.

    ``line_of_drops`` is that of `Backlog`.
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
        path = os.path.abspath(directory)  # the application may change its own before it forks

        def new_backlog() -> Backlog:
            return Backlog(Appender(path, now_ms, fsync), line_of_drops, limit_bytes=limit_bytes)

        self._new_backlog = new_backlog
        self._is_direct = is_direct
        self._start_over()
        _queues.add(self)

    def __repr__(self) -> str:
        return f"<JournalQueue {str(self._backlog.appender.directory)!r}, {self._backlog.size_bytes} bytes wait>"

    @property
    def dropped(self) -> dict[Reason, int]:
        """How many records this process ever dropped, by reason."""
        return dict(self._backlog.dropped())

    def put(self, line: bytes) -> None:
        """Take one line, without its line end; it is appended later, or dropped and counted."""
        is_taken = self._backlog.take(line)
        try:
            if is_taken and self._is_direct and not self._backlog.appender.is_refused:
                self._backlog.append(_DIRECT_WAIT_S)
            if not self._wake():
                self._backlog.append(_DIRECT_WAIT_S)
        except Exception:  # a caller at the limit of recursion; it is taken, and waits
            pass

    def drop(self, reason: Reason) -> None:
        """Count a record that cannot be recorded, and warn of the first one."""
        self._backlog.drop(reason)
        self._wake()

    def flush(self, timeout_s: float) -> bool:
        """Append what is queued and, unless fsync is ``none``, make it durable.

        True promises that for all that was put before. False: the disk refuses, or takes longer;
        what is queued stays so.
        """
        until_s = time.monotonic() + min(timeout_s, _LONGEST_WAIT_S)
        is_flushed = self._thread is None and self._backlog.is_done()
        while not is_flushed and (left_s := until_s - time.monotonic()) > 0:
            is_flushed = self._ask(left_s)
        return is_flushed

    def close(self, timeout_s: float) -> bool:
        """Flush, and let thread and segment go; a line that is put later starts both anew."""
        until_s = time.monotonic() + min(timeout_s, _LONGEST_WAIT_S)
        is_flushed = self.flush(timeout_s)
        with self._starting:  # nobody starts another one in between
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
        self._backlog.appender.abandon()
        self._start_over()

    def _start_over(self) -> None:
        self._backlog = self._new_backlog()
        self._starting = threading.RLock()  # a signal handler may put while its thread is in `put`
        self._thread = None
        self._wakes: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._is_forgotten = False

    def _ask(self, timeout_s: float) -> bool:
        """Have the thread append and sync everything; tells whether it did, in time."""
        answer: _Answer = queue.SimpleQueue()
        if not self._wake(answer):
            return self._backlog.append(timeout_s, is_synced=True)
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
        with self._starting:
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
        backlog = self._backlog
        is_last = False
        while not is_last:
            if backlog.appender.is_refused:
                time.sleep(_RETRY_EVERY_S)
            answer = None
            with suppress(Empty):
                answer = wakes.get(timeout=backlog.appender.due_in_s())
            # Asked before the lines are looked at: what found this thread still there is taken along.
            is_last = self._thread is None or self._wakes is not wakes
            if answer is None and not is_last:
                time.sleep(_GATHER_S)
            try:
                is_done = backlog.append(is_synced=answer is not None)
                if is_done and self._is_forgotten:
                    self._thread, is_last = None, True
                if is_last:
                    backlog.close()
            except Exception:  # no memory, or a clock that fails: what waits is tried again
                is_done = False
                time.sleep(_RETRY_EVERY_S)
            backlog.warn_of_disk()
            if answer is not None:
                answer.put(is_done)
        with suppress(Empty):
            while True:  # who asked too late asks the next thread
                answer = wakes.get_nowait()
                if answer is not None:
                    answer.put(False)


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
