"""A dict of stored bytes: the fast backend for tests and short-lived stores."""

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count

from blobs import layout
from blobs.backends.base import BlobStat, Deleted, Oddity, Staged, Usage
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobNotFound


class MemoryBackend:
    """Keeps the promises of `Backend` except that nothing outlives the process."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.quarantined: dict[str, bytes] = {}
        self._staged: dict[str, dict[Digest, bytes]] = {}
        self._tokens = count()
        self._mutex = threading.Lock()

    def __repr__(self) -> str:
        return f"MemoryBackend({len(self.blobs)} blobs)"

    def where(self, digest: Digest | None = None) -> str:
        """Name the place, or one blob in it."""
        return "memory" if digest is None else f"memory:{digest}"

    def stage(self, items: Iterable[tuple[Digest, bytes]]) -> Staged:
        """Keep stored bytes aside."""
        batch = dict(items)
        with self._mutex:
            token = str(next(self._tokens))
            self._staged[token] = batch
        return Staged(token, {digest: len(stored) for digest, stored in batch.items()})

    def publish(self, staged: Staged, known: Collection[Digest] = ()) -> None:
        """Move a batch to where readers look."""
        with self._mutex:
            for digest in known:
                if digest not in self.blobs:
                    raise BlobNotFound(digest, self.where())
            self.blobs.update(self._staged.pop(staged.token))

    def discard(self, staged: Staged) -> None:
        """Forget a batch."""
        with self._mutex:
            self._staged.pop(staged.token, None)

    def read(self, digest: Digest, limit_bytes: int, fresh: bool = False) -> bytes:
        """Return the stored bytes."""
        stored = self.blobs.get(digest)
        if stored is None:
            raise BlobNotFound(digest, self.where())
        if len(stored) > limit_bytes:
            raise BlobCorrupt(f"at most {limit_bytes} stored bytes", str(len(stored)), digest, self.where(digest))
        return stored

    def stat(self, digest: Digest) -> BlobStat | None:
        """Return sizes; memory has no blocks, so both are the same."""
        stored = self.blobs.get(digest)
        return None if stored is None else BlobStat(digest, len(stored), len(stored))

    def delete(self, digests: Sequence[Digest]) -> Deleted:
        """Remove blobs."""
        with self._mutex:
            gone = [len(self.blobs.pop(digest)) for digest in digests if digest in self.blobs]
        return Deleted(len(gone), sum(gone))

    def list(self) -> Iterator[BlobStat]:
        """Yield every blob in ascending order."""
        with self._mutex:
            digests = sorted(self.blobs)
        for digest in digests:
            stat = self.stat(digest)
            if stat is not None:
                yield stat

    def usage(self) -> Usage:
        """Count the blobs and their bytes."""
        blobs = list(self.list())
        return Usage(len(blobs), sum(blob.allocated_bytes for blob in blobs))

    def protect(self, path: str) -> None:
        """Do nothing: memory has no modes."""

    def files(self, path: str) -> Iterator[str]:
        """Yield the seat of a blob, or everything set aside."""
        with self._mutex:
            paths = [f"{layout.QUARANTINE}/{name}" for name in sorted(self.quarantined)]
            paths += map(layout.blob_path, self.blobs)
        return iter([found for found in paths if found == path or found.startswith(f"{path}/")])

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """Return the stored bytes of what `files` names."""
        directory, _, name = path.rpartition("/")
        digest = layout.parse_blob_name(name)
        found = self.quarantined.get(name) if directory == layout.QUARANTINE else digest and self.blobs.get(digest)
        if found is None:
            raise FileNotFoundError(path)
        if len(found) > limit_bytes:
            raise BlobCorrupt(f"at most {limit_bytes} stored bytes", str(len(found)), None, path)
        return found

    def name_aside(self, path: str) -> str:
        """Look for a name that is free among what was set aside."""
        return layout.free_name(path, self.quarantined.__contains__)

    def set_aside(self, path: str, name: str) -> str:
        """Move a blob aside."""
        digest = layout.parse_blob_name(path.rpartition("/")[2])
        with self._mutex:
            if name in self.quarantined:
                raise FileExistsError(name)
            if digest is None or digest not in self.blobs:
                raise FileNotFoundError(path)
            self.quarantined[name] = self.blobs.pop(digest)
        return f"{layout.QUARANTINE}/{name}"

    def erase(self, path: str) -> None:
        """Drop what was set aside."""
        with self._mutex:
            self.quarantined.pop(path.rpartition("/")[2], None)

    def clear_leftovers(self) -> Deleted:
        """Find nothing: whatever is staged belongs to a living batch."""
        return Deleted()

    def oddities(self) -> Iterator[Oddity]:
        """Find nothing: a dict holds blobs only."""
        return iter(())

    def close(self) -> None:
        """Keep everything; memory goes with the process."""
