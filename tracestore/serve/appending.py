"""Group commit on the journal: many requests, one thread, one sync.

Each `Appending.submit` waits in line. The thread takes what waits (up to GROUP_BYTES), appends it
as one, syncs once, and only then resolves the futures of all. So while a sync runs the next group
gathers, and the disk sees one sync for as many requests as came meanwhile.

An append or a sync that fails fails every future of its group, none of another. Lines of a group
whose sync failed may stand in the journal all the same; who sends them again makes no second row,
for a record is known by its content. The next group starts anew, with a new segment.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tracestore.errors import StoreUnavailable, TraceStoreError
from tracestore.journal.writer import SegmentWriter

WAITING_LIMIT_BYTES = 64 * 1024 * 1024
"""What may wait in memory: beyond it the disk is too slow, and telling the client is all that helps."""
GROUP_BYTES = 16 * 1024 * 1024
"""The cost of a sync disappears behind this; more only takes memory and time."""


class Behind(TraceStoreError):
    """Lines cannot be taken now: too much waits for the disk, or it is shutting down."""


class _Waiting(NamedTuple):
    lines: list[bytes]
    size_bytes: int
    future: "Future[None]"


class Appending:
    """Appends lines to a journal directory from any thread; durable when the future resolves."""

    def __init__(
        self, directory: str | Path, now_ms: Callable[[], int], *, limit_bytes: int = WAITING_LIMIT_BYTES
    ) -> None:
        self._writer = SegmentWriter(directory, now_ms)
        self._limit_bytes = limit_bytes
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._waiting_bytes = 0
        self._is_closing = False
        self.appended_lines = 0
        """Lines that are durable; likewise `appended_bytes`, line ends included."""
        self.appended_bytes = 0
        self.syncs = 0
        """Groups that were made durable."""
        self._thread = threading.Thread(target=self._run, name="appending", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were submitted and are neither durable nor refused yet."""
        return self._waiting_bytes

    def submit(self, lines: list[bytes]) -> "Future[None]":
        """Queue lines, none or all of which are appended; the future resolves when they are durable.

        Lines as `encode_line` writes them, within the journal's line limit. Raises Behind when too
        many bytes wait, or after `close`; the future raises StoreUnavailable when the disk refuses.
        """
        size_bytes = sum(map(len, lines)) + len(lines)
        future: Future[None] = Future()
        with self._changed:
            if self._is_closing:
                raise Behind("wanted a journal that takes lines, found one that shuts down; send them again later")
            if self._waiting_bytes and self._waiting_bytes + size_bytes > self._limit_bytes:  # one alone always goes
                found = f"{self._waiting_bytes} bytes that wait for the disk"
                raise Behind(f"wanted at most {self._limit_bytes} bytes in line, found {found}; send them again later")
            self._waiting.append(_Waiting(lines, size_bytes, future))
            self._waiting_bytes += size_bytes
            self._changed.notify()
        return future

    def close(self) -> None:
        """Append and sync what waits, then let the segment go; may be called twice."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            size_bytes = sum(waiting.size_bytes for waiting in group)
            wanted = [waiting for waiting in group if waiting.future.set_running_or_notify_cancel()]
            failure: Exception | None = None
            try:
                self._append(wanted)
            except Exception as error:  # whatever it is, those who wait have to hear of it
                failure = error
            with self._changed:
                self._waiting_bytes -= size_bytes
            for waiting in wanted:
                if failure is None:
                    waiting.future.set_result(None)
                else:
                    waiting.future.set_exception(failure)
        with suppress(StoreUnavailable):  # what counts was synced
            self._writer.close()

    def _next_group(self) -> list[_Waiting]:
        """Wait for something to append; an empty group when it is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            group: list[_Waiting] = []
            size_bytes = 0
            while self._waiting and (not group or size_bytes + self._waiting[0].size_bytes <= GROUP_BYTES):
                size_bytes += self._waiting[0].size_bytes
                group.append(self._waiting.popleft())
            return group

    def _append(self, group: list[_Waiting]) -> None:
        """Append a group as one: where an append fails, no line of an earlier one is left without a sync."""
        lines = [line for waiting in group for line in waiting.lines]
        if not lines:
            return
        self._writer.append(lines)
        self._writer.sync()
        self.syncs += 1
        self.appended_lines += len(lines)
        self.appended_bytes += sum(waiting.size_bytes for waiting in group)
