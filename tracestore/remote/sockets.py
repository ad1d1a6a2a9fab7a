"""A Unix socket at a path of any length.

The kernel takes paths of at most 107 bytes (104 on macOS). Where a store's path is longer, it is reached
through a short link in a directory of our own, which is gone once the socket is bound or connected.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.layout import FILE_MODE

PATH_LIMIT_BYTES = 100
BACKLOG = 128


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``, for its owner alone; the caller holds the store.

    What a process that was killed left there is removed. Raises StoreUnavailable.
    """
    with disk_errors_translated("listen on the store's socket", path):
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(path) as name:
                listening.bind(name)
            path.chmod(FILE_MODE)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    return listening


def connect(path: Path) -> socket.socket:
    """Return a connection to whoever listens at ``path``; OSError where nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def is_answered(path: Path) -> bool:
    """Tell whether somebody listens at ``path``."""
    try:
        connect(path).close()
    except OSError:  # nothing there, or what a process that was killed left
        return False
    return True


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a path that the kernel takes, and that leads to the same place."""
    if len(os.fsencode(path)) <= PATH_LIMIT_BYTES:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="tracestore-") as directory:
        link = Path(directory) / "s"
        link.symlink_to(path.parent.absolute())
        yield str(link / path.name)
