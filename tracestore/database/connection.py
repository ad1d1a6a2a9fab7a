"""One DuckDB file, attached to an in-memory connection so that it can be swapped under readers.

Every reader gets a cursor of its own, so that two threads never share one. Only one thread writes:
the store's lock sees to that. Readers and the writer do not wait for one another, except for the
milliseconds in which compaction swaps the file.

A new file is made under a temporary name, checkpointed, closed, synced and renamed: a fault at
DuckDB's first write leaves a file that never opens again.

`import duckdb` costs 100-170 ms, so it happens only where a store is opened.
"""

import math
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import duckdb

from tracestore.database import schema
from tracestore.database.failures import opening, translated
from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid, StoreBroken, StoreUnavailable
from tracestore.layout import DIRECTORY_MODE, FILE_MODE

CREATING = "STORAGE_VERSION 'v1.5.0', BLOCK_SIZE 131072"
"""Passed at every creating ATTACH. What 2.0 writes by default, 1.5 cannot read. Blocks of half the default
size lose less to their unfilled ends: 78 instead of 82 bytes a record."""
READER_MEMORY = "1GB"
WRITER_MEMORY = "1GB"
"""DuckDB's limit while collecting, which takes a tenth of it; the rest is for those who ask meanwhile."""
QUERIES_MEMORY_BYTES = 512 * 10**6
"""What queries beside a writer may have together. DuckDB has one limit for all: where they reach that, a commit
finds no memory, and DuckDB 2.0 closes the database for good."""
LARGE_MEMORY_BYTES = 768 * 10**6
"""What a query that runs again as the only large one may have, with the small ones beside it."""
MEASURED_FOR_S = 0.01
CHECKPOINT_WAIT_S = 0.5
"""How long a checkpoint holds new readers back for those that read; it can be made up for later."""
SWAP_WAIT_S = 5.0
"""How long a swap waits for readers before it interrupts them."""
INTERRUPT_EVERY_S = 0.1
"""And again so often: DuckDB forgets an interrupt that comes just before a statement begins."""


class Database:
    """The open database of one store; ``path`` None keeps everything in memory."""

    def __init__(self, path: Path | None, *, scratch: Path | None = None, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._gate = threading.Condition()
        self._readers: set[duckdb.DuckDBPyConnection] = set()
        self._swapping = False
        self._writing = threading.RLock()
        self._closed = False
        self._doubtful = False
        self._is_attached = True
        self._log_inode = self._log_bytes = 0
        self.large_query = threading.Lock()
        """Held by the one query that may be large."""
        self._measuring = threading.Lock()
        self._measured = (-math.inf, 0)
        self._scratch = scratch
        with opening(path):
            self._root = self._rooted()
            try:
                self._attach()
                self._writer = self._cursor()
                if not read_only:
                    schema.migrate(self._writer)
                elif (found := schema.version_of(self._writer)) != schema.MIGRATIONS[-1].version:
                    wanted = schema.MIGRATIONS[-1].version
                    raise StoreBroken(f"{path}: wanted schema {wanted}, found {found}; open it once for writing")
            except BaseException:
                self._root.close()
                raise

    @classmethod
    def create(cls, path: Path, scratch: Path) -> None:
        """Make an empty database at ``path``, whole or not at all."""
        unfinished = path.with_name(path.name + ".new")
        with translated(f"creating {path}"):
            discard(unfinished)
            database = cls(unfinished, scratch=scratch)
            database.close()
        publish(unfinished, path)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a cursor for one piece of reading; it is gone with the block."""
        self.check_open()
        with self._gate:
            self._gate.wait_for(lambda: not self._swapping)
            cursor = self._cursor()
            self._readers.add(cursor)
        try:
            yield cursor
        finally:
            with self._gate:
                self._readers.discard(cursor)
                cursor.close()
                self._gate.notify_all()

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give the writer's cursor inside a transaction: committed at the end, rolled back on an error.

        After a commit that failed nobody can tell whether it is on disk: nothing more is written until
        the store is opened again, which reads what is.
        """
        self.check_open()
        with self._writing, translated("writing the database"):
            if self._doubtful:
                raise StoreUnavailable(f"{self.path}: an earlier commit failed; open the store again")
            try:
                self._writer.execute("BEGIN")  # refused where an earlier ROLLBACK found no memory: this makes up for it
                yield self._writer
            except BaseException:
                with suppress(duckdb.Error):  # the error that brought us here says more
                    self._writer.execute("ROLLBACK")
                raise
            self._doubtful = True
            self._writer.execute("COMMIT")
            self._sync_name_of_log()
            self._doubtful = False

    def _sync_name_of_log(self) -> None:
        """Make the name of a new write-ahead log durable: DuckDB syncs what is in it, and not its directory."""
        if self.path is None:
            return
        try:
            found = self.path.with_name(self.path.name + ".wal").stat()
        except FileNotFoundError:
            return  # this commit went into the file itself
        is_new = found.st_ino != self._log_inode or found.st_size < self._log_bytes
        self._log_inode, self._log_bytes = found.st_ino, found.st_size
        if is_new:
            durable.sync_directory(self.path.parent)

    @property
    def is_doubtful(self) -> bool:
        """Tell whether a commit failed, so that what it wrote may be on disk or not."""
        return self._doubtful

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold every other writer off for the length of the block."""
        with self._writing:
            yield

    @property
    def file_bytes(self) -> int:
        """Size of the database file; 0 in memory."""
        with translated("measuring the database"):
            return 0 if self.path is None else self.path.stat().st_size

    @property
    def log_bytes(self) -> int:
        """Size of the write-ahead log; 0 where there is none."""
        if self.path is None:
            return 0
        with translated("measuring the database"), suppress(FileNotFoundError):
            return self.path.with_name(self.path.name + ".wal").stat().st_size
        return 0

    def is_short_of_memory(self, limit_bytes: int) -> bool:
        """Tell whether queries take so much that the writer may find none; never of a database at rest."""
        return not self.read_only and self._used_memory_bytes() > limit_bytes

    def _used_memory_bytes(self) -> int:
        """Return what DuckDB cannot give back by itself, measured once for all who ask at about the same time."""
        with self._measuring:
            measured_s, used_bytes = self._measured
            if time.monotonic() - measured_s > MEASURED_FOR_S:
                with suppress(duckdb.Error), self._root.cursor() as cursor:  # it is closed, or so short of memory
                    found = cursor.execute(
                        "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory() WHERE tag <> 'BASE_TABLE'"
                    ).fetchall()
                    used_bytes = found[0][0]
                self._measured = time.monotonic(), used_bytes
            return used_bytes

    def checkpoint(self) -> bool:
        """Move everything from the write-ahead log into the file; False when readers stayed in the way."""
        with self._writing, translated("checkpointing the database"):
            if self._doubtful:
                raise StoreUnavailable(f"{self.path}: an earlier commit failed; open the store again")
            return self._try_checkpoint() or self._checkpoint_without_readers()

    def _try_checkpoint(self) -> bool:
        try:
            self._writer.execute("CHECKPOINT store")
        except duckdb.TransactionException:  # another thread reads: DuckDB cannot tell that it does not write
            return False
        return True

    def _checkpoint_without_readers(self) -> bool:
        """Hold new readers back, let those that read finish, and try again."""
        with self._gate:
            was_swapping, self._swapping = self._swapping, True
            try:
                self._gate.wait_for(lambda: not self._readers, timeout=CHECKPOINT_WAIT_S)
                return self._try_checkpoint()
            finally:
                self._swapping = was_swapping
                self._gate.notify_all()

    def swap(self, fresh: Path) -> None:
        """Put a compacted file in the place of this one; the caller is the only writer.

        Readers are held back, given ``SWAP_WAIT_S`` to finish and then interrupted. No write-ahead
        log may be left: beside the new file it would make a store that never opens.
        """
        assert self.path is not None
        with self._writing, self._gate:
            self._swapping = True
            try:
                self._let_readers_finish()
                if not self.checkpoint():
                    raise StoreUnavailable(f"{self.path}: wanted a checkpoint, found readers in the way; try again")
                self._detach()
                wal = self.path.with_name(self.path.name + ".wal")
                with translated(f"looking for {wal}"):
                    is_left = wal.exists()
                if is_left:
                    raise StoreBroken(f"{wal}: wanted no write-ahead log after a checkpoint, found one")
                publish(fresh, self.path)
            finally:
                try:
                    self._reattach()
                finally:  # else whoever waits at the gate would wait for ever
                    self._swapping = False
                    self._gate.notify_all()

    def reopen(self) -> None:
        """Open the file anew where a commit failed or DuckDB gave up; does nothing otherwise.

        What is on disk counts then. Readers are held back, and ended, as `swap` does. When it fails, nothing
        is written until it is called again.
        """
        if self._is_sound():
            return
        with self._writing, self._gate:
            self._swapping, self._doubtful, self._is_attached = True, True, False
            try:
                self._let_readers_finish()
                with self._measuring, opening(self.path):
                    for connection in (self._writer, self._root):
                        with suppress(duckdb.Error):
                            connection.close()
                    self._root = self._rooted()
                self._log_inode = self._log_bytes = 0
                self._reattach()
                self._doubtful = False
            finally:
                self._swapping = False
                self._gate.notify_all()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._closed = True
        with translated("closing the database"):
            self._root.close()

    def check_open(self) -> None:
        """Raise InputInvalid when the store was closed."""
        if self._closed:
            raise InputInvalid("wanted an open store, found it closed; open it again")
        if not self._is_attached and not self._swapping:  # a swap could not attach what it had detached
            with self._gate:
                self._reattach()

    def _let_readers_finish(self) -> None:
        wait_s = SWAP_WAIT_S
        while not self._gate.wait_for(lambda: not self._readers, timeout=wait_s):
            for reader in self._readers:
                reader.interrupt()
            wait_s = INTERRUPT_EVERY_S

    def _attach(self) -> None:
        if self.path is None:
            self._root.execute("ATTACH ':memory:' AS store")
        elif self.read_only:
            self._root.execute(f"ATTACH '{quoted(self.path)}' AS store (READ_ONLY)")
        else:
            is_new = not self.path.exists()
            self._root.execute(f"ATTACH '{quoted(self.path)}' AS store {f'({CREATING})' if is_new else ''}")
            if not (is_new or self._has_tables()):
                # DuckDB takes a file that it cannot look at (EIO) for none, and makes an empty one in its place.
                wanted = "wanted a database with the tables of a store, found one without"
                raise StoreBroken(f"{self.path}: {wanted}; run tracestore rebuild")

    def _has_tables(self) -> bool:
        found = self._root.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = 'store' AND schema_name = 'raw' LIMIT 1"
        )
        return bool(found.fetchall())  # to its end: a result that is not holds a transaction open

    def _detach(self) -> None:
        with translated("detaching the database"):
            self._is_attached = False
            self._writer.close()
            self._root.execute("DETACH store")

    def _reattach(self) -> None:
        if self._is_attached:
            return
        with opening(self.path):
            attached = self._root.execute("SELECT 1 FROM duckdb_databases() WHERE database_name = 'store'")
            if attached.fetchone() is None:
                self._attach()
            self._writer = self._cursor()
            self._is_attached = True

    def _is_sound(self) -> bool:
        if self._doubtful or not self._is_attached:
            return False
        try:
            with self._writing:
                self._writer.execute("SELECT 1").fetchall()
        except duckdb.Error:  # it closed itself behind an error that it cannot live with
            return False
        return True

    def _rooted(self) -> duckdb.DuckDBPyConnection:
        """Connect, and leave SQL nothing outside the store: no file, network, extension or setting."""
        root = duckdb.connect(":memory:", config=_settings(self.path, self._scratch, self.read_only))
        inside = [str(directory) for directory in (self.path.parent if self.path else None, self._scratch) if directory]
        root.execute("SET allowed_directories = ?", [inside])
        root.execute("SET enable_external_access = false")
        root.execute("SET lock_configuration = true")
        return root

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._root.cursor()
        cursor.execute("USE store")
        return cursor


def publish(unfinished: Path, path: Path) -> None:
    """Make a finished database file durable, then give it its name."""
    with disk_errors_translated("put the database in place", path):
        unfinished.chmod(FILE_MODE)
        durable.publish(unfinished, path)


def discard(unfinished: Path) -> None:
    """Remove what a crash left of a file that was being made, its write-ahead log too: DuckDB would replay it."""
    with translated(f"clearing {unfinished}"):
        for path in (unfinished, unfinished.with_name(unfinished.name + ".wal")):
            path.unlink(missing_ok=True)


_Settings: TypeAlias = dict[str, str | bool | int | float | list[str]]


def _settings(path: Path | None, scratch: Path | None, read_only: bool) -> _Settings:
    spill = Path(tempfile.gettempdir()) / f"tracestore-{os.getpid()}" if read_only or scratch is None else scratch
    if scratch is not None and not read_only:
        scratch.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    return {
        "memory_limit": READER_MEMORY if read_only or path is None else WRITER_MEMORY,
        "threads": max(1, min(4, os.cpu_count() or 1)),
        "temp_directory": str(spill),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,  # else FROM x is a variable of whoever called
    }


def quoted(path: Path) -> str:
    """Return a path as it stands inside a quoted SQL string."""
    return str(path).replace("'", "''")
