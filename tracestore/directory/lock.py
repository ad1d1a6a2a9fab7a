"""The lock of a store: one writer, or several readers at rest.

DuckDB lets one process write a file and then nobody else open it; this lock says so before DuckDB
does, in words: it names the process and the command that hold the store. It is a ``flock``, so it
is gone with its process, however that ends; the file itself stays and means nothing by itself.
"""

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tracestore.errors import StoreLocked, StoreUnavailable
from tracestore.layout import FILE_MODE

WAIT_S = 1.0
"""How long to wait for a holder to finish: a reading command takes less, a collector never ends."""
_RETRY_S = 0.02


class StoreLock:
    """Held from construction until ``release``; StoreLocked when somebody else is in the way.

    It waits ``WAIT_S`` for a holder to finish, unless ``is_pointless`` says that it will not.
    """

    def __init__(self, path: Path, *, shared: bool, is_pointless: Callable[[], bool] = lambda: False) -> None:
        self._is_pointless = is_pointless
        try:
            flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
            self._fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except OSError as error:
            raise StoreUnavailable(error.errno, f"cannot open the lock: {error.strerror}", str(path)) from error
        try:
            self._acquire(fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if not shared:
                self._write_holder()
        except OSError as error:
            os.close(self._fd)
            if error.errno != errno.EWOULDBLOCK:
                raise StoreUnavailable(error.errno, f"cannot lock: {error.strerror}", str(path)) from error
            holder = self.read_holder(path)
            message = f"{path.parent}: the store is held by {holder}; wait for it or stop it"
            raise StoreLocked(message, holder) from error

    def _acquire(self, operation: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return fcntl.flock(self._fd, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline or self._is_pointless():
                    raise
                time.sleep(_RETRY_S)

    @staticmethod
    def read_holder(path: Path) -> str:
        """Say who holds the lock, as far as the file tells."""
        try:
            found = json.loads(path.read_bytes())
            os.kill(int(found["pid"]), 0)  # a reader holds it now when the writer named here is gone
            return f"process {int(found['pid'])} ({str(found['command'])[:200]})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def release(self) -> None:
        """Let the store go; may be called twice."""
        if self._fd >= 0:
            with suppress(OSError):  # a descriptor is gone, and its lock with it, whatever close says
                os.close(self._fd)
            self._fd = -1

    def _write_holder(self) -> None:
        program = Path(sys.argv[0] or "python")
        name = program.parent.name if program.name == "__main__.py" else program.name
        command = " ".join([name, *sys.argv[1:]])
        content = json.dumps({"pid": os.getpid(), "command": command[:500]}).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, content, 0)

    def __enter__(self) -> "StoreLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
