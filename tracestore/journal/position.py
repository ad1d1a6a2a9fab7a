"""Where reading of one segment stands, and how its file is recognised.

A file is recognised by what was read from it, not by its name: names change at every rotation and
inodes are given out again. The *head* fingerprint covers the first ``min(4096, offset)`` bytes and
finds a segment again under any name. The *tail* fingerprint covers the last ``min(256, offset)``
bytes before the offset and proves that what stands in front of the offset is still what was read:
an in-place rewrite or a lost tail never lets reading resume inside a record.
"""

import hashlib
from dataclasses import dataclass

HEAD_BYTES = 4096  # one page: enough to tell any two journals of real records apart
TAIL_BYTES = 256  # a record's end with its ids and times; read again at every poll, so kept small
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Position:
    """One row of the database, committed in the same transaction as the rows it covers.

    ``path``, ``device`` and ``inode`` say where the segment was last seen; they order the
    candidates when a file is looked for, and are never the proof.
    """

    segment_id: int
    path: str
    device: int
    inode: int
    offset: int
    """Bytes consumed: the first byte of the next line."""
    head_bytes: int
    head_digest: bytes
    tail_bytes: int
    tail_digest: bytes

    @classmethod
    def start(cls, segment_id: int, path: str, device: int, inode: int) -> "Position":
        """Return the position in front of the first byte."""
        nothing = fingerprint(b"")
        return cls(segment_id, path_text(path), device, inode, 0, 0, nothing, 0, nothing)


def fingerprint(data: bytes) -> bytes:
    """Return the 16 bytes that stand for a run of journal bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def path_text(path: str) -> str:
    """Return a path as text that any database takes; bytes that are not UTF-8 become backslash escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
