"""Files of a store that must be whole or absent after a power cut.

Every sync goes through this module (`blobs.durable` and `journal.disk` are its like for bodies and
segments), so that a fault campaign can take one away and prove that its absence is noticed. OSError
goes through; callers translate it.
"""

import os
from pathlib import Path

from tracestore.layout import FILE_MODE

UNFINISHED = ".new"
"""Suffix of a file or directory that is being written; what a crash left of it means nothing."""


def sync_file(path: Path) -> None:
    """Return once a file's content survives a power cut."""
    _sync(path)


def sync_directory(path: Path) -> None:
    """Return once the names in a directory survive a power cut."""
    _sync(path)


def write_file(path: Path, content: bytes) -> None:
    """Write a small private file, or replace one; after a crash the old or the new one is there, whole."""
    unfinished = path.with_name(path.name + UNFINISHED)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(unfinished, "wb", opener=lambda name, _: os.open(name, flags, FILE_MODE)) as file:
        file.write(content)
    publish(unfinished, path)


def publish(unfinished: Path, path: Path) -> None:
    """Make a finished file durable, then give it its name, durably."""
    sync_file(unfinished)
    unfinished.replace(path)
    sync_directory(path.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
