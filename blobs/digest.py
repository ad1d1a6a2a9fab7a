"""The name of a blob: BLAKE3-256 of its raw bytes.

A digest names the bytes a caller put in, before compression, so changing the codec never
renames anything. Rows hold the 32 bytes; file names and people see 64 lowercase hex characters.
"""

import re
from collections.abc import Iterable
from mmap import mmap
from typing import Self

from blake3 import blake3

from blobs.errors import DigestInvalid

DIGEST_BYTES = 32
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Digest(bytes):
    """32 raw bytes. Being bytes it sorts, hashes and goes into a database row as it is."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Take 32 bytes that are a digest already; anything else raises DigestInvalid."""
        if len(raw) != DIGEST_BYTES:
            raise DigestInvalid(f"a digest is {DIGEST_BYTES} bytes, found {len(raw)}; hash a body with Digest.of")
        return super().__new__(cls, raw)

    @classmethod
    def of(cls, body: bytes | mmap) -> Self:
        """Hash a body, or a file mapped into memory."""
        return super().__new__(cls, blake3(body).digest())

    @classmethod
    def of_pieces(cls, pieces: Iterable[bytes]) -> Self:
        """Hash a body that comes in pieces, none of which is kept."""
        hasher = blake3()
        for piece in pieces:
            hasher.update(piece)
        return cls(hasher.digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 64 lowercase hex characters; anything else raises DigestInvalid."""
        if not _HEX.fullmatch(text):
            raise DigestInvalid(f"a digest is 64 lowercase hex characters, found {text[:80]!r}")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"Digest({self.hex()[:12]}…)"
