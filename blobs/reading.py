"""The one way from stored bytes to a body: decompress, hash, compare.

What is stored may be a trap: a body that claims to be large is hashed piece by piece and comes
into memory only when it is what its name says.
"""

from blobs import codec
from blobs.backends.base import Backend
from blobs.digest import Digest
from blobs.errors import BlobCorrupt

TRUSTED_BYTES = 16 * 1024 * 1024
"""Up to here a body is unpacked at once: what an ordinary one needs. More has to be proved first."""


def read_body(backend: Backend, digest: Digest, fresh: bool = False) -> bytes:
    """Return the body of this digest, never other bytes; else BlobNotFound or BlobCorrupt."""
    return decode_body(backend, digest, backend.read(digest, codec.MAX_STORED_BYTES, fresh))


def decode_body(backend: Backend, digest: Digest, stored: bytes) -> bytes:
    """Return the body in these stored bytes; BlobCorrupt unless it is that of the digest."""
    try:
        if codec.claimed_bytes(stored) > TRUSTED_BYTES:
            _check(backend, digest, Digest.of_pieces(codec.pieces(stored)))
            return codec.decode(stored)
        body = codec.decode(stored, TRUSTED_BYTES)
    except BlobCorrupt as error:
        raise BlobCorrupt(error.wanted, error.found, digest, backend.where(digest)) from None
    _check(backend, digest, Digest.of(body))
    return body


def _check(backend: Backend, digest: Digest, found: Digest) -> None:
    if found != digest:
        raise BlobCorrupt(f"a body of digest {digest}", f"one of digest {found}", digest, backend.where(digest))
