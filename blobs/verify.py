"""Reading back: the checked read of one body, and the findings of a whole store.

`read_body` is the one way from stored bytes to a body: decompress, hash, compare. `verify` walks
a place and streams findings:

    1 names    what is not a blob where a blob should be, leftovers of crashes, writable blobs
    2 sizes    blobs too short to be one gzip member
    3 data     on request: every blob decompressed and hashed, and its stored bytes compared

Nothing is changed. A blob that fails is read a second time before it is accused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from blobs import codec, layout
from blobs.backends.base import Backend, BlobStat
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobNotFound, BlobsUnavailable
from blobs.slices import in_slices

SMALLEST_STORED_BYTES = len(codec.encode(b""))

Kind = Literal["corrupt", "flipped", "leftover", "misplaced", "stranger", "symlink", "unreadable", "writable"]

HARMLESS: frozenset[Kind] = frozenset({"leftover", "writable"})
"""Findings that tell of no damage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    corrupt: the body cannot be had. flipped: it can, but stored bits changed. unreadable: the
    place fails to read it. misplaced, stranger, symlink: not a blob. leftover, writable: harmless.
    """

    kind: Kind
    path: str
    detail: str
    digest: Digest | None = None

    @property
    def harmless(self) -> bool:
        """Tell whether no body is lost or at risk."""
        return self.kind in HARMLESS


def read_body(backend: Backend, digest: Digest) -> bytes:
    """Return the body of this digest, never other bytes; else BlobNotFound or BlobCorrupt."""
    return _decode(backend, digest, backend.read(digest, codec.MAX_STORED_BYTES))


def verify(backend: Backend, data: bool = False) -> Iterator[Finding]:
    """Yield findings: first about names, then about blobs in ascending order."""
    for odd in backend.oddities():
        yield Finding(odd.kind, odd.path, odd.detail, odd.digest)

    def examine(blobs: Sequence[BlobStat]) -> list[Finding]:
        findings = (_examine(backend, blob, data) for blob in blobs)
        return [finding for finding in findings if finding is not None]

    yield from in_slices(examine, backend.list())


def _examine(backend: Backend, blob: BlobStat, data: bool) -> Finding | None:
    if not data:
        if blob.stored_bytes >= SMALLEST_STORED_BYTES:
            return None
        detail = f"wanted at least {SMALLEST_STORED_BYTES} bytes, found {blob.stored_bytes}"
        return Finding("corrupt", layout.blob_path(blob.digest), detail, blob.digest)
    # A flaky cable or bad memory is not a bad blob: only what fails twice is reported.
    return _read_through(backend, blob.digest) and _read_through(backend, blob.digest)


def _read_through(backend: Backend, digest: Digest) -> Finding | None:
    path = layout.blob_path(digest)
    try:
        stored = backend.read(digest, codec.MAX_STORED_BYTES)
        flipped = codec.flipped_bits(_decode(backend, digest, stored), stored)
    except BlobNotFound:
        return None  # deleted since it was listed
    except BlobCorrupt as error:
        return Finding("corrupt", path, f"wanted {error.wanted}, found {error.found}", digest)
    except BlobsUnavailable as error:
        return Finding("unreadable", path, str(error), digest)
    if flipped:
        return Finding("flipped", path, f"{flipped} stored bits changed; the body is whole", digest)
    return None


def _decode(backend: Backend, digest: Digest, stored: bytes) -> bytes:
    try:
        body = codec.decode(stored)
    except BlobCorrupt as error:
        raise BlobCorrupt(error.wanted, error.found, digest, backend.where(digest)) from None
    found = Digest.of(body)
    if found != digest:
        raise BlobCorrupt(f"a body of digest {digest}", f"one of digest {found}", digest, backend.where(digest))
    return body
