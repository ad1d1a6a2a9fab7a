"""A store while it is open: lock, parts, how they come and go. `store` says what it can do.

DuckDB is imported where a store is opened, not where this module is.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blobs import BlobStore
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.directory.opening import lock_store, mark_no_pack, may_pack, needs_database
from tracestore.errors import InputInvalid, StoreBroken, StoreLocked, StoreUnavailable
from tracestore.layout import StoreLayout
from tracestore.remote.sockets import is_answered
from tracestore.store.reading import Reading
from tracestore.store.upkeep import Upkeep

if TYPE_CHECKING:
    from tracestore.database.reader import Reader
    from tracestore.maintenance.rebuild import Rebuilt
    from tracestore.remote.reader import RemoteReader
    from tracestore.remote.store import RemoteStore
    from tracestore.store.write_side import WriteSide


class OpenStore:
    """The parts of one store, from its opening to its end."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        keep_journal: bool = False,
        no_pack: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
        on_rebuild: Callable[[int], None] | None = None,
    ) -> None:
        """Open a store; ``keep_journal`` keeps own segments that a snapshot covers.

        ``no_pack`` keeps bodies in files of their own, this time and for good: it leaves a mark in the store.

        A store without its database file is rebuilt; ``on_rebuild`` gets the number of records so far.
        """
        self.path = Path(path)
        self.notices: list[str] = []
        """What opening had to mend, in a sentence each."""
        self.rebuilt: Rebuilt | None = None
        """What was made again, where the database was missing."""
        self._now_ns = now_ns
        self._keep_journal = keep_journal
        self._no_pack = no_pack
        self._on_rebuild = on_rebuild
        self._remote: RemoteStore | None = None
        try:
            layout = self._open_directory(create=create, read_only=read_only)
            if read_only and self._is_behind(layout):
                self.close()
                self._catch_up()
                self._open_directory(create=False, read_only=True)  # unless a collector took it meanwhile
        except StoreLocked as locked:
            if not (read_only and self._ask_holder(locked)):
                raise

    @classmethod
    def rebuild(
        cls,
        path: str | os.PathLike[str],
        *,
        now_ns: Callable[[], int] = time.time_ns,
        on_progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Make the database again from snapshot, journal and blobs; returns the store, open.

        A database that still opens gives a snapshot first, so that nothing is lost; the old file is
        renamed, not deleted, and ``notices`` says where it is. ``on_progress`` gets the records so far.
        Raises as opening does.
        """
        from tracestore.maintenance.rebuild import set_database_aside

        with suppress(StoreBroken), cls(path, create=False, now_ns=now_ns) as store:
            store.snapshot()
        layout, lock = lock_store(Path(path), create=False, read_only=False)
        with lock:
            aside = set_database_aside(layout)
        store = cls(path, now_ns=now_ns, on_rebuild=on_progress)
        store.notices += [f"kept the earlier database: {moved}" for moved in aside]
        return store

    @classmethod
    def memory(cls, *, now_ns: Callable[[], int] = time.time_ns) -> Self:
        """Open a store that lives in this process; its journal is a temporary directory."""
        store = cls.__new__(cls)
        store.notices, store.rebuilt, store._remote = [], None, None
        store._now_ns, store._keep_journal, store._no_pack = now_ns, False, False
        with ExitStack() as stack:
            store.path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracestore-")))
            layout = StoreLayout(store.path)
            layout.inserted.mkdir(parents=True)
            store._open(layout, BlobStore.memory(), False, stack, in_memory=True)
        return store

    @property
    def reader(self) -> "Reader | RemoteReader":
        """Lists, spans and single records, without bodies."""
        return self._reading.reader

    @property
    def is_remote(self) -> bool:
        """Tell whether another process holds the store, and answers for it."""
        return self._remote is not None

    def snapshot(self) -> Path | None:
        """Take a snapshot now; returns its directory, or None for a store in memory.

        It is taken by itself once per 64 MiB of new journal, and once a day. Raises StoreUnavailable,
        and then the earlier one stays.
        """
        recovery = self._writing("snapshot").recovery
        with self._inserting:
            self._settle()
            return recovery.take().path if recovery else None

    def reopen(self) -> None:
        """Go on after a disk that refused: opens the database anew where that broke it; the lock is kept.

        Journals have to be followed anew. Raises StoreUnavailable where the disk still refuses.
        """
        with self._inserting:
            self._database.reopen()
            self._writing("reopen").start_again()

    def close(self) -> None:
        """Let the store go; may be called twice."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def _open_directory(self, *, create: bool, read_only: bool) -> StoreLayout:
        is_new = not StoreLayout(self.path).is_store()
        with ExitStack() as stack:
            layout, lock = lock_store(self.path, create=create, read_only=read_only, is_answered=is_answered)
            stack.callback(lock.release)
            if self._no_pack and not read_only:
                mark_no_pack(layout)
            with blob_errors_translated():
                blobs = BlobStore(layout.blobs, create=create and not read_only, packs=may_pack(layout))
            stack.callback(blobs.close)
            if needs_database(layout, create=create and not read_only):
                self._make_database(layout, blobs, is_new)
            self._open(layout, blobs, read_only, stack)
        return layout

    def _is_behind(self, layout: StoreLayout) -> bool:
        from tracestore.store.write_side import inserts_wait

        return inserts_wait(layout, self._reader.positions())

    def _catch_up(self) -> None:
        """Make rows of what a crash left in the journal, where this process may write."""
        try:
            with OpenStore(self.path, create=False, keep_journal=True, now_ns=self._now_ns) as store:
                store._settle()
        except (StoreLocked, StoreUnavailable) as error:
            self.notices.append(f"the newest inserts are in the journal and not shown yet: {error}")

    def _settle(self) -> bool:
        """Make rows of what was inserted, so that it is read; True where anything waited."""
        if self._write_side is None or not self._write_side.is_behind:
            return False
        with self._inserting:
            self._write_side.settle()
        return True

    def _open(
        self, layout: StoreLayout, blobs: BlobStore, read_only: bool, stack: ExitStack, in_memory: bool = False
    ) -> None:
        """Open the parts; whatever was opened before one that fails is closed by the caller's stack."""
        from tracestore.database.connection import Database
        from tracestore.database.reader import Reader
        from tracestore.store.write_side import WriteSide

        self._blobs = blobs
        self._inserting = threading.RLock()
        path = None if in_memory else layout.database
        self._database = Database(path, scratch=layout.scratch, read_only=read_only)
        stack.callback(self._database.close)
        self._reader = Reader(self._database)
        self._write_side: WriteSide | None = None
        self._local_upkeep: Upkeep | None = None
        if not read_only:
            self._write_side = WriteSide(
                layout, self._database, blobs, self._reader, self._now_ns, stack, keep_journal=self._keep_journal
            )
            self._local_upkeep = Upkeep(layout, self._database, blobs, self._write_side, self._settle, self._now_ns)
        self._reading: Reading | RemoteStore = Reading(layout, self._database, self._reader, blobs, self._settle)
        self._closing = stack.pop_all()

    def _ask_holder(self, locked: StoreLocked) -> bool:
        """Let the process that holds the store answer; False where it does not."""
        from tracestore.remote.store import RemoteStore

        remote = RemoteStore.find(StoreLayout(self.path), locked)
        if remote is None:
            return False
        self._reading = self._remote = remote
        self._write_side = self._local_upkeep = None
        self._closing = ExitStack()
        return True

    def _make_database(self, layout: StoreLayout, blobs: BlobStore, is_new: bool) -> None:
        from tracestore.database.connection import Database
        from tracestore.maintenance.rebuild import has_sources, rebuild_database

        if is_new or not has_sources(layout, blobs):  # a producer may have begun before, whose journal is collected
            Database.create(layout.database, layout.scratch)
            return
        self.rebuilt = made = rebuild_database(layout, blobs, self._now_ns, self._on_rebuild)
        source = f"the snapshot {made.snapshot} and the journal" if made.snapshot else "the journal"
        lost = f"; {made.lost_bodies:,} bodies are lost (tracestore repair --from a backup)" if made.lost_bodies else ""
        aside = f"; earlier rejected lines are in {made.rejected_aside}" if made.rejected_aside else ""
        self.notices.append(
            f"{layout.database} was missing: rebuilt {made.records:,} records from {source}{lost}{aside}"
        )

    def _writing(self, what: str) -> "WriteSide":
        if self._write_side is None:
            raise InputInvalid(f"{what}: wanted a store open for writing, found it opened with read_only=True")
        return self._write_side

    def _upkeep(self, what: str) -> "Upkeep | RemoteStore":
        found = self._local_upkeep or self._remote
        if found is None:
            raise InputInvalid(f"{what}: wanted a store open for writing, found it opened with read_only=True")
        return found
