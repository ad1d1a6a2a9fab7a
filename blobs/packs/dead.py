"""Which bodies of a pack are dead, written down beside it, for the pack itself never changes.

    file   MAGIC, one bit for each body by ordinal (the lowest first), 16 bytes of BLAKE3 over
             the pack's name and the bits

It only spares the next sweep work: without it, or with an older one, dead bodies are found dead
again. So one that is damaged counts for none. No body ever comes back to life in its pack: stored
again, it is stored elsewhere.
"""

from collections.abc import Collection

from blake3 import blake3

from blobs.digest import Digest

MAGIC = b"tsdead1\n"
_CHECK_BYTES = 16


def encode(pack: Digest, bodies: int, dead: Collection[int]) -> bytes:
    """Return the file's content."""
    bits = bytearray(-(-bodies // 8))
    for ordinal in dead:
        bits[ordinal // 8] |= 1 << ordinal % 8
    return MAGIC + bits + _check(pack, bytes(bits))


def decode(content: bytes, pack: Digest, bodies: int) -> set[int]:
    """Return the dead ordinals; none when this is not what was written for this pack."""
    bits = content[len(MAGIC) : -_CHECK_BYTES]
    if len(bits) != -(-bodies // 8) or content != MAGIC + bits + _check(pack, bits):
        return set()
    return {at * 8 + bit for at, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1}


def _check(pack: Digest, bits: bytes) -> bytes:
    return blake3(pack + bits).digest(_CHECK_BYTES)
