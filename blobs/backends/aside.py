"""What is no blob in its seat: looked at, read and set aside by its path.

A path is relative to the root of the store, as findings name it. Every directory on the way is
opened by itself, so that no symbolic link is followed; a link at the end is moved as a link. The
functions take the open root and let OSError through; `local` translates.
"""

import os
import stat as st
from collections.abc import Iterator
from contextlib import contextmanager

from blobs import durable, layout
from blobs.backends.batch import READ
from blobs.errors import BlobCorrupt

_DEEPEST = 8
"""Levels below the root that are looked into: a store has three, a copy of one inside it a few more."""


def files(root_fd: int, path: str) -> Iterator[str]:
    """Yield every regular file at or below a path, in order."""
    with _parent(root_fd, path) as (parent_fd, name):
        mode = os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
        if st.S_ISREG(mode):
            yield path
        if not st.S_ISDIR(mode) or path.count("/") >= _DEEPEST:
            return
        with _opened(name, parent_fd) as directory_fd:
            names = sorted(os.listdir(directory_fd))
    for entry in names:
        yield from files(root_fd, f"{path}/{entry}")


def read_file(root_fd: int, path: str, limit_bytes: int) -> bytes:
    """Return the content of a regular file; anything else is a FileNotFoundError."""
    with _parent(root_fd, path) as (parent_fd, name):
        fd = os.open(name, READ, dir_fd=parent_fd)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not st.S_ISREG(found.st_mode):
            raise FileNotFoundError(path)
        if found.st_size > limit_bytes:
            raise BlobCorrupt(f"at most {limit_bytes} stored bytes", str(found.st_size), None, path)
        return file.read(limit_bytes)


def set_aside(root_fd: int, path: str, name: str) -> str:
    """Rename into quarantine/; both directories are durable then."""
    durable.make_directory(root_fd, layout.QUARANTINE)
    if is_taken(root_fd, name):
        raise FileExistsError(name)
    with _parent(root_fd, path) as (parent_fd, last), _opened(layout.QUARANTINE, root_fd) as aside_fd:
        os.rename(last, name, src_dir_fd=parent_fd, dst_dir_fd=aside_fd)
        durable.sync_directory(aside_fd)
        durable.sync_directory(parent_fd)
    return f"{layout.QUARANTINE}/{name}"


def erase(root_fd: int, path: str) -> None:
    """Unlink a file that was set aside, durably."""
    with _parent(root_fd, path) as (parent_fd, name):
        os.unlink(name, dir_fd=parent_fd)
        durable.sync_directory(parent_fd)


def protect(root_fd: int, path: str) -> None:
    """Give a regular file the mode that it was made with; anything else is a FileNotFoundError."""
    with _parent(root_fd, path) as (parent_fd, name):
        fd = os.open(name, READ, dir_fd=parent_fd)
    try:
        if not st.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(path)
        os.fchmod(fd, layout.FILE_MODE)
    finally:
        os.close(fd)


def is_taken(root_fd: int, name: str) -> bool:
    """Tell whether something of this name is in quarantine/."""
    try:
        with _opened(layout.QUARANTINE, root_fd) as aside_fd:
            os.stat(name, dir_fd=aside_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _parent(root_fd: int, path: str) -> Iterator[tuple[int, str]]:
    """Open the directory that holds a path, one step at a time."""
    *steps, name = path.split("/")
    if name in ("", ".", "..") or ".." in steps:
        raise FileNotFoundError(path)
    fd = os.dup(root_fd)
    try:
        for step in steps:
            below = durable.open_directory(step, fd)
            os.close(fd)
            fd = below
        yield fd, name
    finally:
        os.close(fd)


@contextmanager
def _opened(name: str, parent_fd: int) -> Iterator[int]:
    fd = durable.open_directory(name, parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)
