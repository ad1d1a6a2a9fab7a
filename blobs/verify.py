"""Reading back: the checked read of one body, and the findings of a whole store.

`verify` walks a place and streams findings:

    1 names    what is not a blob where a blob should be, leftovers of crashes, modes
    2 sizes    blobs too short to be one gzip member
    3 data     on request: every blob, or a subset, decompressed and hashed, its stored bytes compared
    4 packs    footers and indexes; with data also every frame, or those of a subset of packs (`pack_check`)

Nothing is changed. A blob that fails is read a second time, past the page cache, before it is
accused.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from blobs import codec, layout
from blobs.backends.base import Backend, BlobStat
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobNotFound, BlobsUnavailable
from blobs.packs import check as pack_check
from blobs.packs.packing import MOST_PACK_BYTES
from blobs.packs.tier import PackTier
from blobs.reading import TRUSTED_BYTES, decode_body
from blobs.slices import in_slices
from blobs.subset import Subset

SMALLEST_STORED_BYTES = len(codec.encode(b""))


PROGRESS_BLOBS = 64

Kind = Literal["corrupt", "flipped", "leftover", "misplaced", "mode", "stranger", "symlink", "unreadable"]

HARMLESS: frozenset[Kind] = frozenset({"leftover", "mode"})
"""Findings that tell of no damage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    corrupt: the body cannot be had. flipped: it can, but stored bits changed. unreadable: the
    place fails to read it. misplaced, stranger, symlink: not a blob. leftover, mode: harmless.
    """

    kind: Kind
    path: str
    detail: str
    digest: Digest | None = None

    @property
    def harmless(self) -> bool:
        """Tell whether no body is lost or at risk."""
        return self.kind in HARMLESS


def verify(
    backend: Backend,
    tier: PackTier,
    data: bool = False,
    subset: Subset | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Finding]:
    """Yield findings: first about names, then about blobs in ascending order.

    With `data` blobs are read, all or those of the subset. `on_progress` gets the blobs done so far.
    """
    for odd in backend.oddities():
        yield Finding(odd.kind, odd.path, odd.detail, odd.digest)
    for kind, path, detail in chain(pack_check.oddities(tier), pack_check.damaged(tier)):
        yield Finding(kind, path, detail)
    examiner = _Examiner(backend, data, subset)
    done = 0
    for done, finding in enumerate(in_slices(examiner.examine, backend.list()), 1):
        if on_progress is not None and done % PROGRESS_BLOBS == 0:
            on_progress(done)
        if finding is not None:
            yield finding
    for pack in list(tier):
        is_read = data and (subset is None or pack.name in subset)
        for kind, detail in pack_check.check(tier, pack, is_read):
            yield Finding(kind, pack.path, detail)
        done += pack.live_bodies
        if on_progress is not None:
            on_progress(done)


def salvage(
    backend: Backend, paths: Iterable[str], wanted: Collection[Digest]
) -> Iterator[tuple[str, Digest, bytes]]:
    """Yield path, digest and body of every file at or below these paths that holds a wanted body.

    Whatever the file is called: what counts is what it holds.
    """
    for top in paths:
        for path in backend.files(top):
            try:
                stored = backend.read_file(path, MOST_PACK_BYTES)
                if not stored.startswith(codec.HEADER[:2]):
                    found = ((path, Digest.of(body), body) for body in pack_check.bodies(stored))
                    yield from (entry for entry in found if entry[1] in wanted)
                    continue
                digest = Digest.of_pieces(codec.pieces(stored))
            except (BlobCorrupt, BlobsUnavailable, FileNotFoundError):
                continue  # no source; why it is damaged was told where it was found
            if digest in wanted:
                yield path, digest, codec.decode(stored)


class _Examiner:
    """Looks at blobs, from several threads; at one large one at a time."""

    def __init__(self, backend: Backend, data: bool, subset: Subset | None) -> None:
        self._backend = backend
        self._data = data
        self._subset = subset
        self._large = threading.Lock()

    def examine(self, blobs: Sequence[BlobStat]) -> list[Finding | None]:
        """Return what is wrong with each blob, or None."""
        return [self._examine(blob) for blob in blobs]

    def _examine(self, blob: BlobStat) -> Finding | None:
        if self._data and (self._subset is None or blob.digest in self._subset):
            # A flaky cable or bad memory is not a bad blob: only what fails twice is reported.
            with self._large if blob.stored_bytes > TRUSTED_BYTES else nullcontext():
                return self._read_through(blob.digest) and self._read_through(blob.digest, fresh=True)
        if blob.stored_bytes >= SMALLEST_STORED_BYTES:
            return None
        detail = f"wanted at least {SMALLEST_STORED_BYTES} bytes, found {blob.stored_bytes}"
        return Finding("corrupt", layout.blob_path(blob.digest), detail, blob.digest)

    def _read_through(self, digest: Digest, fresh: bool = False) -> Finding | None:
        path = layout.blob_path(digest)
        try:
            stored = self._backend.read(digest, codec.MAX_STORED_BYTES, fresh)
            flipped = codec.flipped_bits(decode_body(self._backend, digest, stored), stored)
        except BlobNotFound:
            return None  # deleted since it was listed
        except BlobCorrupt as error:
            return Finding("corrupt", path, f"wanted {error.wanted}, found {error.found}", digest)
        except BlobsUnavailable as error:
            return Finding("unreadable", path, str(error), digest)
        if flipped:
            return Finding("flipped", path, f"{flipped} stored bits changed; the body is whole", digest)
        return None
