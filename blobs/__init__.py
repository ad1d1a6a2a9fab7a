"""A content-addressed store of compressed, immutable blobs.

A blob is the stored form of a body: one gzip member, named by the BLAKE3 digest of the body's raw
bytes. Equal bodies are one blob; a body is hashed again whenever it is read.

    STORE/
      FORMAT                  what this directory is; an unknown version is refused
      objects/ab/<64 hex>.gz  one blob each, for its owner to read; `zcat` reads it, rsync copies it
      packs/<64 hex>.pack     many cold blobs each, compressed together
      stage/                  blobs on their way in; garbage after a crash
      quarantine/             damaged blobs and strangers, set aside

    with BlobStore("store") as store:
        digest = store.put(b"a body")                    # durable on return
        assert store.get(digest) == b"a body"            # or BlobNotFound, BlobCorrupt
        plan = store.plan(live=[digest])                 # what nothing names any more
        store.apply(plan)                                # and it is gone
        assert not list(store.verify(data=True))         # every blob read back

Nothing here knows what a body means or who refers to it: references are the caller's.
"""

from blobs.backends.base import Backend, BlobStat, Deleted, Oddity, Staged
from blobs.digest import Digest
from blobs.errors import (
    BlobCorrupt,
    BlobError,
    BlobNotFound,
    BlobsUnavailable,
    BlobTooLarge,
    DigestInvalid,
    FormatUnknown,
    SweepRefused,
)
from blobs.packs.packing import PackSummary
from blobs.packs.replaced import Waiting
from blobs.packs.window import Arrange, Run
from blobs.store import BlobStore
from blobs.subset import Subset
from blobs.sweep import SweepPlan, SweepSummary
from blobs.tiers import Place, Places, Tiers
from blobs.verify import Finding

__all__ = [
    "Arrange",
    "Backend",
    "BlobCorrupt",
    "BlobError",
    "BlobNotFound",
    "BlobStat",
    "BlobStore",
    "BlobTooLarge",
    "BlobsUnavailable",
    "Deleted",
    "Digest",
    "DigestInvalid",
    "Finding",
    "FormatUnknown",
    "Oddity",
    "PackSummary",
    "Place",
    "Places",
    "Run",
    "Staged",
    "Subset",
    "SweepPlan",
    "SweepRefused",
    "SweepSummary",
    "Tiers",
    "Waiting",
]
