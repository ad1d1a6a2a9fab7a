"""Disks that can lose power: a file behind a loop device, a real file system on it.

Everything lives in a mount namespace of the process that asks for it, and a loop device goes with
its last user. So a campaign that is killed leaves neither mounts nor devices behind.
"""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE_SYSTEMS = ("ext4", "xfs")
SIZE_BYTES = {"ext4": 96 * 2**20, "xfs": 320 * 2**20}
"""mkfs.xfs refuses less than 300 MiB."""

_SHUTDOWN, _WITHOUT_FLUSH = 0x8004587D, 2  # of xfs, and taken over by ext4: drop what is in memory only
_NEW_NAMESPACE, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 0x20000, 0x1000, 0x4000, 0x40000, 2
_libc = ctypes.CDLL(None, use_errno=True)


class Disk:
    """One loop device over a file, with one file system."""

    def __init__(self, image: Path, kind: str) -> None:
        """Attach an image that is there, made by `format_image`; ``kind`` is one of FILE_SYSTEMS."""
        self.image = image
        self.kind = kind
        self.device = _run("losetup", "-f", "--show", str(image)).strip()
        self._fd = os.open(self.device, os.O_RDONLY | os.O_CLOEXEC)
        _run("losetup", "-d", self.device)  # busy, so the kernel detaches it with its last user, which may be us

    def mount(self, where: Path) -> None:
        """Mount; the file system reads its journal, as after a power cut."""
        where.mkdir(parents=True, exist_ok=True)
        _mount(self.device, where, self.kind)

    def close(self) -> None:
        """Let the device go; it must not be mounted."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def format_image(image: Path, kind: str) -> None:
    """Make an empty file system in a sparse file."""
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES[kind])
    options = ("-b", "4096") if kind == "ext4" else ()  # else so small a disk gets blocks of 1 KiB
    _run(f"mkfs.{kind}", "-q", *options, str(image))


def copy_image(source: Path, target: Path) -> None:
    """Copy a sparse file; holes stay holes, and what the target held before is gone."""
    with source.open("rb") as reading, target.open("r+b" if target.exists() else "wb") as writing:
        size = os.fstat(reading.fileno()).st_size
        writing.truncate(0)
        writing.truncate(size)
        for start, end in _extents(reading.fileno(), size):
            os.lseek(writing.fileno(), start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(writing.fileno(), reading.fileno(), start, end - start)


def dig_holes(image: Path) -> None:
    """Give back what holds only zeros: mkfs.xfs writes 64 MiB of them."""
    _run("fallocate", "--dig-holes", str(image))


def cut_power(mounted: Path) -> None:
    """End a file system as a power cut does: what was not yet sent to the disk is gone."""
    fd = os.open(mounted, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
    finally:
        os.close(fd)


def bind(source: Path, target: Path) -> None:
    """Show a directory at another place as well."""
    _check(_libc.mount(bytes(source), bytes(target), None, _BIND, None), target)


def unmount(where: Path) -> None:
    """Unmount; a process that is just dying may hold it for a moment longer."""
    for attempt in range(100):
        if _libc.umount2(bytes(where), 0) == 0:
            return
        time.sleep(0.001 * attempt)
    _check(_libc.umount2(bytes(where), 0), where)


@contextmanager
def workshop() -> Iterator[Path]:
    """Give a directory in memory for images and mounts, in a mount namespace of this process's own."""
    _check(_libc.unshare(_NEW_NAMESPACE), Path("unshare"))
    _check(_libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None), Path("/"))
    directory = Path(tempfile.mkdtemp(prefix="tracestore-faults-"))
    # For others it is an empty directory; one who removed it would take the disks from under the campaign, and the
    # kernel would never give them back, for mounts and loop devices then hold one another.
    sign = directory / "in use by a fault campaign, leave it"
    sign.touch()
    try:
        _mount("tmpfs", directory, "tmpfs")
        yield directory
    finally:
        _libc.umount2(bytes(directory), _DETACH)
        with suppress(OSError):
            sign.unlink()
            directory.rmdir()


def missing(*kinds: str) -> str | None:
    """Say what this machine lacks for mounting such file systems; None when they can be had."""
    if os.geteuid() != 0:
        return "power cuts need root, to mount file systems"
    for tool in ("losetup", "fallocate", *(f"mkfs.{kind}" for kind in kinds)):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    program = (sys.executable, "-m", __name__, *kinds)
    tried = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    if tried.returncode:
        return f"this machine mounts no disk of ours: {tried.stderr.strip().splitlines()[-1]}"
    return None


def _try_out(*kinds: str) -> None:
    """Mount an empty disk of each kind; root in a container may not."""
    with workshop() as shop:
        for kind in kinds:
            format_image(shop / kind, kind)
            disk = Disk(shop / kind, kind)
            disk.mount(shop / "mounted")
            unmount(shop / "mounted")
            disk.close()


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a sparse file holds data."""
    start = 0
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
        start = end


def _mount(source: str, where: Path, kind: str) -> None:
    _check(_libc.mount(source.encode(), bytes(where), kind.encode(), 0, None), where)


def _check(result: int, path: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    _try_out(*sys.argv[1:])
