"""Which files belong to a journal: one directory scan and one stat each.

The journal's path is a directory of segments or one file. Of a directory, every regular file with
``.ndjson`` or ``.jsonl`` in its name is a segment, ``x.ndjson.1`` too; hidden files, compressed
files, symbolic links and the rejected lines are not. Of a file ``PATH``, its rotated siblings
``PATH.1``, ``PATH.2`` ... belong to it. A ``PATH`` that is a symbolic link is followed, and its
siblings are looked for beside the file it names.

Order: a directory by time of last change, then name (the stat is there anyway, and it is right
for every naming scheme); a file from the highest number down, PATH last. Order is for the reader's
comfort; correctness does not hang on it.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid

REJECTED_NAME = "rejected.ndjson"
_NO_SEGMENTS = (".", REJECTED_NAME)
_COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".lz4")


class Found(NamedTuple):
    """One file of the journal as a scan saw it."""

    path: str
    identity: tuple[int, int]
    """Device and inode."""
    state: tuple[int, int, int]
    """Size, time of the last change and time of the last status change: differs whenever the file does."""
    rank: int
    """Place in the order of rotation, the oldest first; 0 in a directory."""
    is_one_of_many: bool
    """Whether the journal is a directory, in which one bad file must not hold up the others."""

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self.state[0]

    @property
    def mtime_ns(self) -> int:
        """When the file was last written to."""
        return self.state[1]

    @property
    def age_order(self) -> tuple[int, int, str]:
        """Sort key: oldest first."""
        return self.rank, self.mtime_ns, self.path


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return what `Found.state` holds."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def scan(path: str) -> list[Found] | None:
    """Return the journal's files, each inode once; None when nothing is at the path.

    Raises StoreUnavailable when the path cannot be read, InputInvalid when it is neither a file
    nor a directory.
    """
    with disk_errors_translated("read the journal", path):
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            status = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            files = _directory(path)
        elif status is None or stat.S_ISREG(status.st_mode):
            files = _file_and_siblings(os.path.realpath(path))
        else:
            raise InputInvalid(f"{path!r} is neither a file nor a directory; name the journal's file or directory")
        unique = list({found.identity: found for found in files}.values())
    return unique if unique or status is not None else None


def is_segment_name(name: str) -> bool:
    """Whether a directory entry of this name is a segment."""
    return (
        (".ndjson" in name or ".jsonl" in name)
        and not name.startswith(_NO_SEGMENTS)
        and not name.endswith(_COMPRESSED)
    )


def _directory(path: str) -> Iterator[Found]:
    with os.scandir(path) as entries:
        for entry in entries:
            if is_segment_name(entry.name) and entry.is_file(follow_symlinks=False):
                try:
                    yield _found(entry.path, entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue  # renamed between the listing and the stat: the next scan has its new name


def _file_and_siblings(path: str) -> Iterator[Found]:
    directory, name = os.path.split(path)
    candidates = [(0, path)]
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(name + "."):
                    number = entry.name[len(name) + 1 :]
                    if number.isascii() and number.isdigit():
                        candidates.append((-int(number), entry.path))
    except FileNotFoundError:
        return
    for rank, candidate in sorted(candidates):
        try:
            status = os.stat(candidate)
        except FileNotFoundError:
            continue  # a rotation is at work between its two renames
        if stat.S_ISREG(status.st_mode):
            yield _found(candidate, status, rank, is_one_of_many=False)


def _found(path: str, status: os.stat_result, rank: int = 0, *, is_one_of_many: bool = True) -> Found:
    return Found(path, (status.st_dev, status.st_ino), state_of(status), rank, is_one_of_many)
