"""The pack: many cold bodies in one immutable file. Its format, written and read. Pure.

Constraints. Agent traffic resends its whole history, so bodies compress well only together. A reader
wants one body without reading a gigabyte, opens a store of millions of bodies at once, and copies it
with rsync while it is in use. A file may be torn anywhere, and each of its parts must be told apart
from damage.

Layout, little-endian::

    pack    MAGIC, salt, frame..., table, index, footer
    salt    8 random bytes: no two packs are the same, so that none is mistaken for one that was given up
    frame   one zstd frame, with its own length and checksum and a window of at most 2^27, of
              u32 count, u32 length..., body...        lengths and bodies in the same order
    table   for each frame: u64 start, u32 raw bytes, u32 ordinal of its first body
    index   u64 key..., ascending; then u32 ordinal... in the same order
    footer  u32 level of compression, u32 frames, u32 bodies, u64 start of the table, u64 bytes of all bodies,
              16 bytes of BLAKE3 over table and index, 16 bytes of BLAKE3 over the footer so far, MAGIC

A key is the first 64 bits of a digest, for digests do not compress: on traffic that shrinks to a
hundredth, whole ones would be half of a pack. So the index gives candidates, and what counts is the
hash of the body: nothing is returned, and no other copy of a body is given up, before that was
compared in full.

Write: frames first, the rest behind them, into a file nobody reads; synced, then renamed to the
BLAKE3 of its whole content. It never changes after that. Read: footer from the end, table by it, a
key by binary search through the mapped index, then one frame as far as its body reaches. Recover:
frames tell where they end and what is in them, so that a pack without table, index and footer
still gives every body of every whole frame.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from blobs.errors import BlobCorrupt

MAGIC = b"tspack1\n"
KEY_BYTES = 8
_CHECK_BYTES = 16
_FRAME = struct.Struct("<QII")
_COUNTS = struct.Struct("<IIIQQ")
FOOTER_BYTES = _COUNTS.size + 2 * _CHECK_BYTES + len(MAGIC)
SALT_BYTES = 8
SMALLEST_BYTES = len(MAGIC) + SALT_BYTES + FOOTER_BYTES


@dataclass(frozen=True, slots=True)
class Footer:
    """What stands at the end of a pack."""

    level: int
    frames: int
    bodies: int
    table_start: int
    raw_bytes: int
    check: bytes

    @property
    def index_start(self) -> int:
        """Where the index begins."""
        return self.table_start + self.frames * _FRAME.size

    @property
    def size_bytes(self) -> int:
        """What the whole file must measure."""
        return self.index_start + self.bodies * (KEY_BYTES + 4) + FOOTER_BYTES


@dataclass(frozen=True, slots=True)
class FrameSeat:
    """Where a frame lies in its pack, and which bodies are in it: ordinals from `first` on."""

    start: int
    stored_bytes: int
    raw_bytes: int
    first: int
    bodies: int


def key_of(digest: bytes) -> int:
    """Return the key of a digest; keys are in the order of their digests."""
    return int.from_bytes(digest[:KEY_BYTES], "big")


def encode_tail(
    level: int, frames: Sequence[FrameSeat], keys: Sequence[int], table_start: int, raw_bytes: int
) -> bytes:
    """Return table, index and footer; ``keys`` are those of the bodies, by ordinal."""
    table = b"".join(_FRAME.pack(frame.start, frame.raw_bytes, frame.first) for frame in frames)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    index = struct.pack(f"<{len(keys)}Q", *(keys[ordinal] for ordinal in order))
    index += struct.pack(f"<{len(keys)}I", *order)
    footer = _COUNTS.pack(level, len(frames), len(keys), table_start, raw_bytes) + _check(table + index)
    return table + index + footer + _check(footer) + MAGIC


def decode_footer(content: bytes, file_bytes: int, where: str) -> Footer:
    """Read the last FOOTER_BYTES of a pack; BlobCorrupt unless they are whole and fit the file."""
    counts, sums = content[: _COUNTS.size], content[_COUNTS.size :]
    if len(content) != FOOTER_BYTES or sums[_CHECK_BYTES:] != _check(content[: -_CHECK_BYTES - len(MAGIC)]) + MAGIC:
        raise BlobCorrupt("the footer of a pack", "other bytes", None, where)
    level, frames, bodies, table_start, raw_bytes = _COUNTS.unpack(counts)
    footer = Footer(level, frames, bodies, table_start, raw_bytes, sums[:_CHECK_BYTES])
    if footer.size_bytes != file_bytes:
        raise BlobCorrupt(f"a pack of {footer.size_bytes} bytes", f"{file_bytes}", None, where)
    return footer


def decode_table(content: bytes, footer: Footer, where: str) -> list[FrameSeat]:
    """Read the table of frames; BlobCorrupt when it is not that of its footer."""
    rows = list(_FRAME.iter_unpack(content))
    ends = [start for start, _, _ in rows[1:]] + [footer.table_start]
    lasts = [first for _, _, first in rows[1:]] + [footer.bodies]
    seats = [
        FrameSeat(start, end - start, raw_bytes, first, last - first)
        for (start, raw_bytes, first), end, last in zip(rows, ends, lasts, strict=False)
    ]
    if not seats or seats[0].first or any(seat.stored_bytes <= 0 or seat.bodies <= 0 for seat in seats):
        raise BlobCorrupt("a table of frames", "one that does not add up", None, where)
    return seats


def is_whole(table_and_index: bytes | memoryview, footer: Footer) -> bool:
    """Compare table and index with the checksum in the footer."""
    return _check(table_and_index) == footer.check


class Index:
    """Key to ordinals, over mapped memory: nothing of it is loaded. The machine must be little-endian.

    Nobody has compared it with its checksum. What cannot be an ordinal is passed over: that body is not found.
    """

    def __init__(self, index: memoryview, bodies: int) -> None:
        self.keys = index[: bodies * KEY_BYTES].cast("Q")
        self.ordinals = index[bodies * KEY_BYTES :].cast("I")

    def find(self, key: int) -> Sequence[int]:
        """Return the ordinals of the bodies with this key: one, or none, or by a rare chance more."""
        first = bisect_left(self.keys, key)
        if first == len(self.keys) or self.keys[first] != key:
            return ()
        found = self.ordinals[first : bisect_right(self.keys, key, first)].tolist()
        return [ordinal for ordinal in found if ordinal < len(self.keys)]

    def entries(self) -> Iterator[tuple[int, int]]:
        """Yield key and ordinal of every body, keys ascending."""
        bodies = len(self.keys)
        return (entry for entry in zip(self.keys, self.ordinals, strict=True) if entry[1] < bodies)

    def keys_by_ordinal(self) -> list[int]:
        """Return the key of each body, by ordinal."""
        found = [0] * len(self.keys)
        for key, ordinal in self.entries():
            found[ordinal] = key
        return found


def _check(content: bytes | memoryview) -> bytes:
    return blake3(content).digest(_CHECK_BYTES)
