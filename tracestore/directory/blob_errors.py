"""What the blob store says, in terms of this package."""

from collections.abc import Iterator
from contextlib import contextmanager

from blobs import BlobCorrupt, BlobError, BlobStat, BlobsUnavailable, SweepRefused
from tracestore.errors import PruneRefused, StoreBroken, StoreUnavailable


@contextmanager
def blob_errors_translated() -> Iterator[None]:
    """Turn errors of `blobs` into ours."""
    try:
        yield
    except BlobsUnavailable as error:
        raise StoreUnavailable(error.errno, f"{error}; free space or mend the disk, then try again") from error
    except SweepRefused as error:
        raise PruneRefused(str(error)) from error
    except BlobCorrupt as error:
        raise StoreBroken(f"{error}; run tracestore verify --data") from error
    except BlobError as error:
        raise StoreBroken(str(error)) from error


def is_as_recorded(found: BlobStat, stored_bytes: int) -> bool:
    """Tell whether a blob is what the ledger knows; in a pack, or come from one (0), its file has no size."""
    return found.is_packed or not stored_bytes or found.stored_bytes == stored_bytes
