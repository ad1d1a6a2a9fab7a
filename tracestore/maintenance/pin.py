"""The pin: while a backup copies a store, nothing is taken away from under it.

A backup holds a shared ``flock`` on the store's ``FORMAT``, for as long as it copies. Whoever removes
something (a sweep, a new snapshot with the earlier ones and the segments that it covers) holds it
exclusively meanwhile; where that cannot be had the removal is put off until next time. Rows may
expire meanwhile: a backup reads what was noted of that before it reads the journal.

The programs that a backup starts inherit the lock, so that it lasts as long as the last of them;
a crash of all frees it. ``FORMAT`` is there in every store and never replaced: on a full disk, which
needs its sweep most, nothing has to be made.

A backup cannot open the database of a store that another process holds. So it asks that process for
a snapshot, by a file that a collector looks for at each of its rounds.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreUnavailable
from tracestore.layout import FILE_MODE, StoreLayout

_LOOK_S = 0.02


@contextmanager
def pinned(layout: StoreLayout, tell: Callable[[str], None]) -> Iterator[int]:
    """Keep what a store holds from being removed; waits for a removal that runs. Gives the lock's descriptor."""
    fd = _open(layout.format)
    try:
        if not _is_locked(fd, fcntl.LOCK_SH | fcntl.LOCK_NB):
            tell("waiting for a prune or a snapshot to end")
            _is_locked(fd, fcntl.LOCK_SH)
        yield fd
    finally:
        os.close(fd)


class Removing:
    """The other side of the pin, of one store in one process; its threads may remove side by side."""

    def __init__(self, layout: StoreLayout) -> None:
        self._path = layout.format
        self._mutex = threading.Lock()
        self._inside = 0
        self._fd = -1

    @contextmanager
    def allowed(self) -> Iterator[bool]:
        """Give False while the store is pinned; while this gives True no backup begins to copy."""
        is_allowed = self._enter()
        try:
            yield is_allowed
        finally:
            if is_allowed:
                self._leave()

    def _enter(self) -> bool:
        with self._mutex:
            if not self._inside:
                fd = _open(self._path)
                try:
                    if not _is_locked(fd, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        return False
                    self._fd, fd = fd, -1
                finally:
                    if fd >= 0:
                        os.close(fd)
            self._inside += 1
        return True

    def _leave(self) -> None:
        with self._mutex:
            self._inside -= 1
            if not self._inside:
                with suppress(OSError):  # the descriptor is gone, and its lock with it, whatever close says
                    os.close(self._fd)


class SnapshotRequest:
    """A wish for a snapshot, from a process that does not hold the store to the one that does."""

    def __init__(self, layout: StoreLayout) -> None:
        self._path = layout.snapshot_request
        self._in_work = self._path.with_name(self._path.name + ".taken")

    def is_waiting(self) -> bool:
        """Tell whether somebody asks; a place that cannot be looked at says nothing."""
        with suppress(OSError):
            return self._path.exists()
        return False

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Accept what is asked until now, and say at the end that it was tried; later wishes stay."""
        with suppress(OSError):  # nobody asks, or the wish stays for the next time
            self._path.replace(self._in_work)
        try:
            yield
        finally:
            with suppress(OSError):  # whoever asked gives up waiting; the snapshot is none the worse
                self._in_work.unlink()

    def ask(self, wait_s: float) -> bool:
        """Ask, and wait for the answer; False when nobody heard it in time."""
        with disk_errors_translated("ask for a snapshot", self._path):
            self._path.touch(mode=FILE_MODE)
            deadline = time.monotonic() + wait_s
            while self._path.exists() or self._in_work.exists():
                if time.monotonic() > deadline:
                    self._path.unlink(missing_ok=True)
                    return False
                time.sleep(_LOOK_S)
        return True


def _open(path: Path) -> int:
    with disk_errors_translated("open it to lock it", path):
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_locked(fd: int, operation: int) -> bool:
    """Lock; False where somebody else is in the way and nobody wants to wait."""
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreUnavailable(error.errno, f"cannot lock the store against removals: {error.strerror}") from error
    return True
