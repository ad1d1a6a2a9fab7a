"""Which bodies of a pack are dead, written down beside it, for the pack itself never changes.

    file   MAGIC, one bit for each body by ordinal (the lowest first), 16 bytes of BLAKE3 over
             the pack's name and the bits

A body is dead when nothing names it, or when it was moved to another pack or a file of its own. The note
only spares the next sweep work: without it, or with an older one, dead bodies are found dead again, so one
that is damaged counts for none. One that is too new, in a copy that was taken while bodies moved and
lacks their new place, does no harm either: a dead body is still read where no other copy is, and a sweep
brings it back to life.
"""

from collections.abc import Iterable

from blake3 import blake3

from blobs.digest import Digest

MAGIC = b"tsdead1\n"
_CHECK_BYTES = 16


class Dead:
    """The dead ordinals of one pack, a bit each."""

    def __init__(self, bodies: int, bits: bytes | None = None) -> None:
        self._bits = bytearray(-(-bodies // 8)) if bits is None else bytearray(bits)
        self._count = int.from_bytes(self._bits, "little").bit_count()

    def __contains__(self, ordinal: int) -> bool:
        return bool(self._bits[ordinal >> 3] >> (ordinal & 7) & 1)

    def __len__(self) -> int:
        return self._count

    def remove(self, ordinal: int) -> None:
        """Take one back."""
        self._bits[ordinal >> 3] &= ~(1 << (ordinal & 7))
        self._count = int.from_bytes(self._bits, "little").bit_count()

    def add(self, ordinals: Iterable[int]) -> None:
        """Mark more of them."""
        for ordinal in ordinals:
            self._bits[ordinal >> 3] |= 1 << (ordinal & 7)
        self._count = int.from_bytes(self._bits, "little").bit_count()

    def encode(self, pack: Digest) -> bytes:
        """Return the file's content."""
        return MAGIC + self._bits + _check(pack, self._bits)


def file_bytes(bodies: int) -> int:
    """Return the size of the file beside a pack of so many bodies."""
    return len(MAGIC) + -(-bodies // 8) + _CHECK_BYTES


def decode(content: bytes, pack: Digest, bodies: int) -> Dead:
    """Return the dead ordinals; none when this is not what was written for this pack."""
    bits = content[len(MAGIC) : -_CHECK_BYTES]
    is_sound = len(content) == file_bytes(bodies) and content == MAGIC + bits + _check(pack, bits)
    return Dead(bodies, bits if is_sound else None)


def _check(pack: Digest, bits: bytes | bytearray) -> bytes:
    return blake3(pack + bits).digest(_CHECK_BYTES)
