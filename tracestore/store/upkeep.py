"""What keeps a store in shape while it is in use: prune, pack, unpack. Wiring of `maintenance`."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blobs import BlobStore
from tracestore.directory.opening import may_pack
from tracestore.errors import InputInvalid, StoreUnavailable
from tracestore.layout import StoreLayout
from tracestore.maintenance.retention import RetentionPolicy
from tracestore.maintenance.summary import PackReport, PruneSummary
from tracestore.record import NS_PER_MS

if TYPE_CHECKING:
    from tracestore.database.connection import Database
    from tracestore.maintenance.packing import Packer
    from tracestore.store.write_side import WriteSide

Progress = Callable[[int, int], None]
LOOK_EVERY_S = 0.02
"""How often a packing that waits for another one looks whether it is to end."""


class Upkeep:
    """Prunes and packs one store that is open for writing; `TraceStore` says what each call does."""

    def __init__(
        self,
        layout: StoreLayout,
        database: "Database",
        blobs: BlobStore,
        write_side: "WriteSide",
        settle: Callable[[], bool],
        now_ns: Callable[[], int],
    ) -> None:
        self._layout = layout
        self._database = database
        self._blobs = blobs
        self._write_side = write_side
        self._settle = settle
        self._now_ns = now_ns
        self._counting = threading.Lock()
        self._waiting_prunes = 0

    def prune(
        self, policy: RetentionPolicy, dry_run: bool, *, force: bool, on_progress: Progress | None
    ) -> PruneSummary:
        """Delete what the policy says; a disk so full that nothing can be settled is pruned first."""
        try:
            self._settle()
        except StoreUnavailable as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # half of a turn may wait in the journal; only a full disk cannot wait for the other half
            first = self._prune(policy, dry_run, force, on_progress)
            self._settle()
            return first + self._prune(policy, dry_run, force, on_progress)
        return self._prune(policy, dry_run, force, on_progress)

    def _prune(
        self, policy: RetentionPolicy, dry_run: bool, force: bool, on_progress: Progress | None
    ) -> PruneSummary:
        from tracestore.maintenance.prune import Pruner

        write_side = self._write_side
        pruner = Pruner(self._database, self._blobs, write_side.bodies_went, self._now_ns, write_side.recovery)
        with self._without_packing():
            plan = pruner.plan(policy, self._now_ns() // NS_PER_MS)
            return plan.summary if dry_run else pruner.apply(plan, force=force, on_progress=on_progress)

    @contextmanager
    def _without_packing(self) -> Iterator[None]:
        """Keep packing off; one that runs, whoever asked for it, pauses at its next body: the collector waits here."""
        with self._counting:
            self._waiting_prunes += 1
        try:
            self._blobs.packing.acquire()
        finally:
            with self._counting:
                self._waiting_prunes -= 1
        try:
            yield
        finally:
            self._blobs.packing.release()

    def pack(
        self, *, grace_ms: int, settled_ms: int, is_stopped: Callable[[], bool], on_progress: Progress | None
    ) -> PackReport:
        """Move bodies into packs, where the store may."""
        if not may_pack(self._layout):
            found = f"one that keeps them in files ({self._layout.no_pack}); remove that file to pack it"
            raise InputInvalid(f"pack: wanted a store that may pack its bodies, found {found}")
        packer = self._packer()
        done = PackReport(is_complete=False)
        is_told = False

        def is_over() -> bool:
            nonlocal is_told
            is_told = is_told or is_stopped()
            return is_told or self._waiting_prunes > 0

        while not (done.is_complete or is_told):
            if self._waiting_prunes or not self._blobs.packing.acquire(timeout=LOOK_EVERY_S):
                is_told = is_stopped()
                time.sleep(LOOK_EVERY_S)
                continue
            try:
                done += packer.pack(
                    settled_ms=settled_ms, grace_ms=grace_ms, is_stopped=is_over, on_progress=on_progress
                )
            finally:
                self._blobs.packing.release()
        return done

    def unpack(self, *, grace_ms: int, on_progress: Progress | None) -> PackReport:
        """Write every packed body into a file of its own again."""
        return self._packer().unpack(grace_ms=grace_ms, on_progress=on_progress)

    def _packer(self) -> "Packer":
        from tracestore.maintenance.packing import Packer

        self._settle()
        return Packer(self._database, self._blobs, self._now_ns, self._write_side.recovery)
