"""What a disk refuses, as an error of ours: with the errno, and what to do next."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tracestore.errors import StoreUnavailable, TraceStoreError


@contextmanager
def disk_errors_translated(doing: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError inside the block into a StoreUnavailable that says what was being done."""
    try:
        yield
    except TraceStoreError:  # ours, though some are OSErrors too
        raise
    except OSError as error:
        raise unavailable(error, doing, path) from error


def unavailable(error: OSError, doing: str, path: str | os.PathLike[str]) -> StoreUnavailable:
    """Return the StoreUnavailable for a failed system call, errno kept."""
    advice = {
        errno.EACCES: "let this user read and write there, or name another path",
        errno.ENOSPC: "free some space, then try again",
        errno.EDQUOT: "free some space, then try again",
        errno.EROFS: "mount the file system writable, or name another path",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.EIO: "check the disk",
    }.get(error.errno or 0, "check that the path is there and its file system works")
    text = f"cannot {doing}: {os.strerror(error.errno or 0)}; {advice}"
    return StoreUnavailable(error.errno or 0, text, os.fspath(path))
