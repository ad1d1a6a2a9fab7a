"""Verify: are rows, ledger and blobs what they say of one another?

    1 rows and ledger   every digest a row names has one ledger row, and of the same size
    2 ledger and blobs  every present body has a blob of the size the ledger knows
    3 blobs             names, sizes, and with ``data`` every blob decompressed and hashed

It changes nothing. What it reads twice before it accuses is said in `blobs.verify`. A blob without
a ledger row is an orphan: garbage of a crash, which the next prune removes.
"""

from collections.abc import Iterator

from blobs import BlobStore
from tracestore.bodies import blob_errors_translated
from tracestore.database import Database, consistency
from tracestore.maintenance.summary import Damage, VerifyReport


def verify_store(database: Database, blobs: BlobStore, *, data: bool) -> VerifyReport:
    """Look at everything and return every finding."""
    with blob_errors_translated():
        findings = (
            *_rows_against_ledger(database),
            *_ledger_against_blobs(database, blobs),
            *(Damage(f.kind, str(f.digest or f.path), f.detail, f.harmless) for f in blobs.verify(data)),
        )
        blob_count = sum(1 for _ in blobs.list())
    records, bodies = consistency.totals(database)
    return VerifyReport(records, bodies, blob_count, data, findings)


def _rows_against_ledger(database: Database) -> Iterator[Damage]:
    for digest in consistency.unlisted_digests(database):
        yield Damage("unlisted", digest.hex(), "a record names it, the ledger does not know it")
    for digest, count in consistency.repeated_digests(database):
        yield Damage("twice", digest.hex(), f"wanted one ledger row, found {count}")
    for digest, recorded_bytes, size_bytes in consistency.size_conflicts(database):
        yield Damage("size", digest.hex(), f"a record says {recorded_bytes} bytes, the ledger {size_bytes}")


def _ledger_against_blobs(database: Database, blobs: BlobStore) -> Iterator[Damage]:
    """Merge two ascending streams, so that neither has to be in memory."""
    stored = iter(blobs.list())
    blob = next(stored, None)
    for digest, stored_bytes in consistency.present_bodies(database):
        while blob is not None and blob.digest < digest:
            yield _orphan(blob.digest)
            blob = next(stored, None)
        if blob is None or blob.digest != digest:
            yield Damage("missing", digest.hex(), f"wanted a blob of {stored_bytes} bytes, found none")
            continue
        if blob.stored_bytes != stored_bytes:
            found = f"the ledger says {stored_bytes} stored bytes, found {blob.stored_bytes}"
            yield Damage("size", digest.hex(), found)
        blob = next(stored, None)
    while blob is not None:
        yield _orphan(blob.digest)
        blob = next(stored, None)


def _orphan(digest: bytes) -> Damage:
    return Damage("orphan", digest.hex(), "no ledger row names it; the next prune removes it", harmless=True)
