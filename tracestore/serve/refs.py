"""Bodies that a producer wrote to a file and named in an attribute: read below allowed directories alone.

A request says which file it wants read, and whoever may send one must not read the whole disk with
it. So the path is resolved first, has to lie below an allowed directory, and is then opened part by
part without following a link: what is exchanged between the look and the opening is not followed either.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tracestore.record.limits import BODY_LIMIT_BYTES

_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = _NO_LINK | os.O_NONBLOCK
"""Opening a pipe that somebody put there must not wait for its writer."""


class AllowedFiles:
    """Reads files below some directories; to be called with an absolute path."""

    def __init__(self, directories: Iterable[str | Path]) -> None:
        self._directories = tuple(Path(directory).resolve() for directory in directories)

    def __call__(self, path: str) -> bytes | None:
        """Return a file's bytes, at most BODY_LIMIT_BYTES; None when it may not or cannot be read whole."""
        try:
            if not os.path.isabs(path):
                return None
            resolved = Path(os.path.realpath(path, strict=True))
            for directory in self._directories:
                if resolved.is_relative_to(directory):
                    return _read_below(directory, resolved.relative_to(directory).parts)
        except (OSError, ValueError):  # a NUL or a lone surrogate in the name is a ValueError
            pass
        return None


def _read_below(directory: Path, parts: tuple[str, ...]) -> bytes | None:
    """Open part by part; the last one has to be a regular file."""
    if not parts:
        return None
    with ExitStack() as stack:

        def opened(name: str | Path, flags: int, within: int | None) -> int:
            fd = os.open(name, flags, dir_fd=within)
            stack.callback(os.close, fd)
            return fd

        at = opened(directory, _NO_LINK | os.O_DIRECTORY, None)
        for part in parts[:-1]:
            at = opened(part, _NO_LINK | os.O_DIRECTORY, at)
        file = opened(parts[-1], _FILE, at)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > BODY_LIMIT_BYTES:
            return None
        return _read_all(file)


def _read_all(file: int) -> bytes | None:
    """Read to the end, which may move while a producer still writes."""
    pieces: list[bytes] = []
    size_bytes = 0
    while piece := os.read(file, 1024 * 1024):
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > BODY_LIMIT_BYTES:
            return None
    return b"".join(pieces)
