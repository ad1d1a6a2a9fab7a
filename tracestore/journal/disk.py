"""The journal's system calls, with their errors translated.

The three sync functions are separate and are always called through this module, so that a fault
campaign can take one of them away and prove that its absence is noticed.
"""

import errno
import fcntl
import os
import stat

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid

_F_FULLFSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: its fsync stops at the drive's cache


def open_for_reading(path: str) -> int:
    """Open a regular file; anything else at the path is an InputInvalid.

    O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
    """
    with disk_errors_translated("open a journal segment for reading", path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    raise InputInvalid(f"a journal segment is a regular file, and {path!r} is not; name a file or a directory")


def create_exclusive(path: str) -> int | None:
    """Create a file that only its owner may read, for appending, and hold it; None when the name is taken.

    It is held with a ``flock`` for as long as it is open: what is not held is finished.
    """
    with disk_errors_translated("start a journal segment", path):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # who removes finished segments looked at it between the two calls
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        return fd


def remove_finished(path: str, size_bytes: int) -> bool:
    """Unlink a file of exactly this size that no writer holds; True when it is gone, then or before.

    Its name is not durably gone before `sync_directory`.
    """
    with disk_errors_translated("remove a journal segment", path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_size != size_bytes:
                return False
            os.unlink(path)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(fd)


def open_for_appending(path: str) -> int:
    """Open a file for reading and appending, created for its owner alone when it is not there."""
    with disk_errors_translated("open for appending", path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte: what a short write left over is written next. Raises the plain OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_read(fd: int, path: str) -> None:
    """Make durable what another process wrote, before the offset behind it is committed.

    Works on a descriptor that is open for reading only. A file system that cannot sync answers
    EINVAL or ENOTSUP; going on is harmless, for a tail that a power cut then takes away is
    recognised by the fingerprint in front of the offset.
    """
    with disk_errors_translated("make the journal durable", path):
        try:
            _sync(fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise


def sync_written(fd: int, path: str) -> None:
    """Make durable what this process wrote."""
    with disk_errors_translated("make the journal durable", path):
        _sync(fd)


def check_linked(fd: int, path: str) -> None:
    """Raise StoreUnavailable when an open file was removed, or its directory moved: nobody would read it here."""
    with disk_errors_translated("find the journal", path):
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    with disk_errors_translated("make a directory of the journal durable", path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sync(fd: int) -> None:
    """Flush a file's data, and as much of its metadata as reading it back needs."""
    if _F_FULLFSYNC is not None:
        fcntl.fcntl(fd, _F_FULLFSYNC)
    else:
        os.fdatasync(fd)
