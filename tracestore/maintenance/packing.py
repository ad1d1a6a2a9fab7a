"""Packing: bodies that belong together move into packs, where they take up a fraction.

    1 ask the rows which bodies belong together: conversations, by the day of their last use
    2 move the bodies of small packs, and loose blobs, into large packs (`blobs.packs.packing`)
    3 remove what was replaced an hour ago, unless a backup copies the store

By itself a collector does this once loose blobs are many: a small store stays plain gzip files, which
any tool reads.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import groupby

from blobs import BlobStore, Deleted, Digest, PackSummary, Run
from tracestore.database.belonging import belongings
from tracestore.database.connection import Database
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.maintenance.recovery import Recovery
from tracestore.maintenance.retention import GRACE_MS
from tracestore.maintenance.summary import PackReport
from tracestore.record import NS_PER_MS

LOOSE_BLOBS = 4_000
LOOSE_BYTES = 256 * 2**20
SMALL_PACKS = 16
"""Above any of these a collector packs by itself."""

Progress = Callable[[int, int], None]


def is_due(blobs: BlobStore) -> bool:
    """Tell whether there is enough to pack by itself."""
    with blob_errors_translated():
        tiers = blobs.tiers()
    return (
        tiers.unpacked_blobs > LOOSE_BLOBS
        or tiers.unpacked_bytes > LOOSE_BYTES
        or tiers.small_packs > SMALL_PACKS
    )


class Packer:
    """Packs one store; the caller is its only writer, everything else may go on meanwhile."""

    def __init__(
        self, database: Database, blobs: BlobStore, now_ns: Callable[[], int], recovery: Recovery | None = None
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._now_ns = now_ns
        self._recovery = recovery

    def pack(
        self,
        *,
        settled_ms: int = 0,
        grace_ms: int = GRACE_MS,
        is_stopped: Callable[[], bool] = lambda: False,
        on_progress: Progress | None = None,
    ) -> PackReport:
        """Do steps 1 to 3 with loose blobs whose records are at least so old; stops between two bodies when told."""
        with blob_errors_translated():
            settled = self._settled(settled_ms) if settled_ms else None
            done = self._blobs.pack(self._runs, settled, is_stopped=is_stopped, on_progress=on_progress)
        return self._report(done, self._release(grace_ms, is_stopped))

    def unpack(self, *, grace_ms: int = GRACE_MS, on_progress: Progress | None = None) -> PackReport:
        """Write every packed body into a file of its own again."""
        with blob_errors_translated():
            bodies = self._blobs.unpack(on_progress)
        return self._report(PackSummary(bodies), self._release(grace_ms))

    def _settled(self, settled_ms: int) -> list[Digest]:
        before_ns = self._now_ns() - settled_ms * NS_PER_MS
        loose = [blob.digest for blob in self._blobs.list()]
        return [Digest(digest) for digest, _, _ in belongings(self._database, loose, before_ns)]

    def _runs(self, digests: Sequence[Digest]) -> list[Run]:
        found = groupby(belongings(self._database, digests), key=lambda body: body[1:])
        return [Run(day, [Digest(digest) for digest, _, _ in bodies]) for (_, day), bodies in found]

    def _release(self, grace_ms: int, is_stopped: Callable[[], bool] = lambda: False) -> Deleted:
        until_s = (self._now_ns() - grace_ms * NS_PER_MS) / 1e9
        removing = self._recovery.removing_allowed() if self._recovery else nullcontext(True)
        with removing as is_allowed, blob_errors_translated():
            return self._blobs.release(until_s, is_stopped) if is_allowed else Deleted()

    def _report(self, done: PackSummary, released: Deleted) -> PackReport:
        with blob_errors_translated():
            waiting = self._blobs.waiting()
        return PackReport(
            **asdict(done),
            bytes_reclaimed=released.bytes_reclaimed,
            files_pending=waiting.files,
            bytes_pending=waiting.allocated_bytes,
        )
