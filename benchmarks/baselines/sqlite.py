"""SQLite as the baselines open it: a write-ahead log, and every commit on disk before it returns."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FILE = "records.sqlite"


@contextmanager
def opened(store: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a store; the caller begins and commits by itself. Closing it empties the log."""
    with closing(sqlite3.connect(store / FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does as one."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
