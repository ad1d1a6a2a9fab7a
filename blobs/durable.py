"""Making bytes survive a power cut: files, directories, file systems.

Every step a write protocol relies upon is one function here, called as `durable.sync_file(...)`,
so that a test can take exactly one of them away and prove that the loss is noticed.

A sync that failed is never repeated: after the error the kernel marks the lost pages clean, and
a second fsync "succeeds". The OSError goes up as it is, and the caller gives its batch up.
"""

import ctypes
import fcntl
import os
import platform
import re
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x80086601, 0x40086602, 0x00020000  # linux/fs.h
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def sync_file(fd: int) -> None:
    """Return once the content of an open file survives a power cut."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync of macOS stops at the drive's volatile cache
    else:
        os.fsync(fd)


def sync_directory(fd: int) -> None:
    """Return once the names in an open directory survive a power cut."""
    os.fsync(fd)


def can_sync_filesystem() -> bool:
    """Tell whether `sync_filesystem` works here; without it every file is synced by itself."""
    return _syncfs is not None


def sync_filesystem(fd: int) -> None:
    """Return once everything written to the file system of an open directory survives a power cut.

    The descriptor must have been opened before the writes it stands for: an error in writing
    back is reported to each descriptor that was open when it happened.
    """
    if _syncfs is None:
        raise OSError("this platform has no syncfs")
    if _syncfs(fd) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"syncfs: {os.strerror(errno)}")


def write_file(directory_fd: int, name: str, staged_name: str, content: bytes) -> None:
    """Write a small file so that after a crash it is there whole, or not at all."""
    with suppress(FileNotFoundError):
        os.unlink(staged_name, dir_fd=directory_fd)  # left by a crash, and read-only even to its owner
    fd = os.open(staged_name, _NEW_FILE | os.O_EXCL, 0o400, dir_fd=directory_fd)
    try:
        write_all(fd, content)
        sync_file(fd)
    finally:
        os.close(fd)
    os.rename(staged_name, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    sync_directory(directory_fd)


def write_all(fd: int, content: bytes) -> None:
    """Write all of the bytes; a short write is carried on."""
    written = os.write(fd, content)
    while written < len(content):
        written += os.write(fd, memoryview(content)[written:])


def make_directory(parent_fd: int, name: str) -> None:
    """Make a private directory and its name durable; one that is there already is left alone."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        return
    sync_directory(parent_fd)


def spread_subdirectories(fd: int) -> None:
    """Ask ext4 to place each new subdirectory, and the files made in it, in a region of its own.

    ext4 does not reuse an inode for minutes after its file was deleted, and looks at every such
    inode of the region again for each file it makes: after deleting 10,000 files a new one took 600 us
    instead of 25 us. Other file systems refuse the hint, which changes nothing.
    """
    flags = bytearray(struct.calcsize("l"))
    with suppress(OSError):
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        wanted = int.from_bytes(flags[:4], sys.byteorder) | _TOP_DIRECTORY
        fcntl.ioctl(fd, _SET_FLAGS, wanted.to_bytes(4, sys.byteorder) + bytes(4))


def drop_cache(fd: int, start: int = 0, size_bytes: int = 0) -> None:
    """Ask that the next read comes from the disk itself; 0 bytes means to the end."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # advice; a file system that takes none is read as it is
            os.posix_fadvise(fd, start, size_bytes, os.POSIX_FADV_DONTNEED)


def open_directory(name: str, parent_fd: int | None = None) -> int:
    """Open a directory; a symbolic link in its place is an error."""
    return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def _find_syncfs() -> Callable[[int], int] | None:
    # Before Linux 5.8 syncfs returned 0 even when writing back had failed.
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if sys.platform != "linux" or release is None or (int(release[1]), int(release[2])) < (5, 8):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int]
    function.restype = ctypes.c_int
    found: Callable[[int], int] = function
    return found


_syncfs = _find_syncfs()
