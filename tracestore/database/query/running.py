"""Read-only SQL from people: one SELECT-like statement, its result finished before it is returned.

A lazy relation would pin a transaction, and one open transaction blocks compaction. Rows are taken as
DuckDB makes them, up to the limits; a query that takes too long is interrupted. `sandbox` says what
a statement may be, and it runs in a read-only transaction.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import duckdb

from tracestore.database.answers import Interrupt, QueryLimits, QueryResult
from tracestore.database.connection import LARGE_MEMORY_BYTES, QUERIES_MEMORY_BYTES, Database
from tracestore.database.query import sandbox
from tracestore.errors import QueryInvalid, StoreUnavailable, TraceStoreError

WATCH_EVERY_S = 0.02
"""How often a query that may have to end is looked at."""

_Answer = TypeVar("_Answer")
_ZONED = "wanted times without a zone, found TIMESTAMP WITH TIME ZONE; cast it, as in now()::TIMESTAMP"


class TakesTooMuch(QueryInvalid):
    """Queries together took what the writer may need."""


def run_query(
    database: Database, sql: str, *, limits: QueryLimits | None = None, interrupt: Interrupt | None = None
) -> QueryResult:
    """Run one reading statement; QueryInvalid says what is wrong with it, or that it was ended.

    DuckDB hands rows out while it works, so that rows beyond the limits never are.
    """

    def run(limits: QueryLimits, is_large: bool) -> QueryResult:
        with reading(database, sql, limits, interrupt, is_large=is_large) as cursor:
            cursor.execute(sql)
            described = cursor.description or []
            rows, truncated = _fetch(cursor, limits)
        return QueryResult(
            [column[0] for column in described], [str(column[1]) for column in described], rows, truncated
        )

    return in_enough_memory(database, limits or QueryLimits(), interrupt, run)


def in_enough_memory(
    database: Database,
    limits: QueryLimits,
    interrupt: Interrupt | None,
    run: Callable[[QueryLimits, bool], _Answer],
) -> _Answer:
    """Run a query beside others, and where all of them take too much, once more as the only large one.

    ``run`` gets limits, with the time that is left, and whether it is the large one.
    """
    ends_at = math.inf if limits.timeout_ms is None else time.monotonic() + limits.timeout_ms / 1000
    try:
        return run(limits, False)
    except TakesTooMuch:
        while not database.large_query.acquire(timeout=WATCH_EVERY_S):
            if time.monotonic() >= ends_at or (interrupt is not None and interrupt.is_set()):
                raise
        try:
            left_ms = None if ends_at == math.inf else max(1, int((ends_at - time.monotonic()) * 1000))
            return run(replace(limits, timeout_ms=left_ms), True)
        finally:
            database.large_query.release()


@contextmanager
def reading(
    database: Database, sql: str, limits: QueryLimits, interrupt: Interrupt | None, *, is_large: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a cursor in a read-only transaction for a statement that may run; nothing of it outlives the block.

    Errors of DuckDB in the block become QueryInvalid or StoreUnavailable.
    """
    memory_bytes = LARGE_MEMORY_BYTES if is_large else QUERIES_MEMORY_BYTES
    with database.reading() as cursor:
        watch = _Watch(database, cursor, limits.timeout_ms, interrupt, memory_bytes)
        with _translated(watch):
            with watch:
                sandbox.check(cursor, sql)
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                try:
                    yield cursor
                except KeyboardInterrupt:
                    cursor.interrupt()
                    raise
                if watch.why():  # what came of it may be a part
                    raise QueryInvalid("query: interrupted")
            cursor.execute("ROLLBACK")  # nothing interrupts it any more; after an error the cursor just closes


class _Watch:
    """Interrupts a cursor once its time or its memory is over or its interrupt is set, and again until the block ends.

    Again, because DuckDB forgets an interrupt that comes just before a statement begins.
    """

    def __init__(
        self,
        database: Database,
        cursor: duckdb.DuckDBPyConnection,
        timeout_ms: int | None,
        interrupt: Interrupt | None,
        memory_bytes: int,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._database = database
        self._cursor = cursor
        self._takes_too_much = False
        self._interrupt = interrupt
        self._timeout_ms = timeout_ms
        self._ends_at = math.inf if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def why(self) -> str | None:
        """Say why the query is to end, None as long as it may go on."""
        if self._interrupt is not None and self._interrupt.is_set():
            return "interrupted by whoever asked"
        if time.monotonic() >= self._ends_at:
            return f"wanted an answer within {self._timeout_ms} ms, found it still running"
        if self._takes_too_much:
            return f"wanted at most {self._memory_bytes // 10**6} MB of memory beside a collector, found more"
        return None

    @property
    def takes_too_much(self) -> bool:
        """Tell whether that is why, and it was among others."""
        return self._takes_too_much and self._memory_bytes == QUERIES_MEMORY_BYTES

    def __enter__(self) -> "_Watch":
        if self._timeout_ms is not None or self._interrupt is not None or not self._database.read_only:
            self._thread = threading.Thread(target=self._run, name="tracestore-query-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(WATCH_EVERY_S):
            self._takes_too_much = self._takes_too_much or self._database.is_short_of_memory(self._memory_bytes)
            if self.why():
                self._cursor.interrupt()


@contextmanager
def _translated(watch: _Watch) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, ImportError, RecursionError, QueryInvalid) as error:
        if why := watch.why():
            kind = TakesTooMuch if watch.takes_too_much else QueryInvalid
            raise kind(f"query: {why}; ask for less, or again") from error
        raise _ours(error) from error


def _ours(error: Exception) -> TraceStoreError:
    if isinstance(error, QueryInvalid):
        return error
    if isinstance(error, RecursionError):
        return QueryInvalid("query: wanted values with fewer parts inside one another")
    if isinstance(error, duckdb.InterruptException):  # by a compaction that waited for this query
        return QueryInvalid("query: interrupted; ask for less, or again")
    if isinstance(error, duckdb.IOException | duckdb.FatalException):
        return StoreUnavailable(f"query: {error}; mend the disk, then try again")
    if isinstance(error, ImportError) or "pytz" in str(error):  # DuckDB wants pytz for a time with a zone
        return QueryInvalid(f"query: {_ZONED}")
    return QueryInvalid(f"query: {error}")


def _fetch(cursor: duckdb.DuckDBPyConnection, limits: QueryLimits) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the rows that the limits allow, and whether there were more."""
    max_rows, max_bytes = limits.max_rows, limits.max_bytes
    if max_rows is None and max_bytes is None:
        return cursor.fetchall(), False
    rows: list[tuple[Any, ...]] = []
    size_bytes = 0
    while (row := cursor.fetchone()) is not None:
        size_bytes += _size_bytes(row)
        if len(rows) == max_rows or (max_bytes is not None and size_bytes > max_bytes):
            return rows, True
        rows.append(row)
    return rows, False


def _size_bytes(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(_size_bytes, value))
    if isinstance(value, dict):
        return sum(_size_bytes(key) + _size_bytes(item) for key, item in value.items())
    return 8
