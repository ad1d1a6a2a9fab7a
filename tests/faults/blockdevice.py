"""A disk that writes down every block write and every flush, in the order in which it got them.

A file of a FUSE file system stands under a loop device, so whatever a real file system sends to
its disk passes through here, and so do marks: what the workload was promised, in the same log.
"""

import ctypes
import errno
import importlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tests.faults import disks

PAGE_BYTES = 4096
_HEAD = struct.Struct("<cQI")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_WRITE, _FLUSH, _MARK = b"W", b"F", b"M"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes sent to the disk, at a byte position; in its volatile cache until the next flush."""

    offset: int
    data: bytes

    @property
    def pages(self) -> list["Write"]:
        """The same bytes in pieces that a disk writes as a whole."""
        cuts = range(0, len(self.data), PAGE_BYTES)
        return [Write(self.offset + cut, self.data[cut : cut + PAGE_BYTES]) for cut in cuts]


@dataclass(frozen=True, slots=True)
class Flush:
    """Everything that was sent before is on the disk for good."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that somebody was told at this point."""

    text: bytes


Entry: TypeAlias = Write | Flush | Mark


@dataclass(frozen=True, slots=True)
class Served:
    """The files of a running block device: put a loop device over ``disk``, write marks to ``marks``."""

    disk: Path
    marks: Path


@contextmanager
def recording(image: Path, log: Path, where: Path) -> Iterator[Served]:
    """Serve an image at a directory while the block is run; what happens to it goes to the log."""
    where.mkdir()
    log.touch()
    command = (sys.executable, "-m", __name__, str(image), str(log), str(where))
    server = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
    served = Served(where / "disk", where / "marks")
    try:
        while not served.disk.exists():
            if server.poll() is not None:
                raise OSError(errno.ENODEV, f"the block device at {where} did not start; is fuse3 installed?")
            time.sleep(0.005)
        yield served
    finally:
        if os.path.ismount(where):
            disks.unmount(where)
        server.kill()  # one that never got as far as to mount would wait for ever
        server.wait()


def read_log(log: Path) -> list[Entry]:
    """Return what happened, in order."""
    data = memoryview(log.read_bytes())
    entries: list[Entry] = []
    while data:
        kind, offset, length = _HEAD.unpack_from(data)
        content = bytes(data[_HEAD.size : _HEAD.size + length])
        entries.append(Write(offset, content) if kind == _WRITE else Flush() if kind == _FLUSH else Mark(content))
        data = data[_HEAD.size + length :]
    return entries


def missing() -> str | None:
    """Say what this machine lacks for a block device of one's own; None when it can be had."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse"
    try:
        importlib.import_module("mfusepy")
    except (ImportError, OSError) as error:
        return f"mfusepy cannot be used ({error}); pip install mfusepy, and the system's package fuse3"
    return None


def serve(image: str, log: str, where: str) -> None:
    """Serve until the directory is unmounted; one thread, so that the log has one order."""
    import mfusepy

    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    mfusepy.FUSE(_Device(image, log), where, foreground=True, nothreads=True)


class _Device:
    """The two files; methods as FUSE calls them."""

    use_ns = True

    def __init__(self, image: str, log: str) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND)

    def getattr(self, path: str, handle: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": 0o40700, "st_nlink": 2}
        if path not in ("/disk", "/marks"):
            raise FileNotFoundError(errno.ENOENT, path)
        size = os.fstat(self._image).st_size if path == "/disk" else 0
        return {"st_mode": 0o100600, "st_nlink": 1, "st_size": size}

    def open(self, path: str, flags: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        return os.pread(self._image, size, offset)

    def write(self, path: str, data: bytes, offset: int, handle: int) -> int:
        if path == "/marks":
            self._note(_MARK, 0, data)
        else:
            self._note(_WRITE, offset, data)
            os.pwrite(self._image, data, offset)
        return len(data)

    def fsync(self, path: str, datasync: int, handle: int) -> int:
        if path == "/disk":
            self._note(_FLUSH, 0, b"")
        return 0

    def truncate(self, path: str, length: int, handle: int | None = None) -> int:
        return 0

    def _note(self, kind: bytes, offset: int, content: bytes) -> None:
        os.write(self._log, _HEAD.pack(kind, offset, len(content)) + content)


if __name__ == "__main__":
    serve(*sys.argv[1:])
