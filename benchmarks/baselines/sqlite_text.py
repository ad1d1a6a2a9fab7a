"""Plain SQLite: a table of records with the body as text in the row, in its fastest fair form.

msgspec decodes, attributes stay the JSON text they are, one transaction a batch, indices on turn and time.
``synchronous=FULL``: a batch survives a power cut, as with us. It promises less: no record id, so that a
journal read twice is stored twice; no position beside the rows; no digest, so that damage goes unseen; no
body kept once; bodies that are not Unicode text are refused.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from benchmarks.baselines.lines import COLUMNS, batches, decode, values
from benchmarks.baselines.sqlite import opened, transaction

_SCHEMA = """
CREATE TABLE records (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, timestamp INTEGER NOT NULL, extension_id TEXT NOT NULL,
    conversation_id TEXT, turn_id TEXT, span_id TEXT, parent_span_id TEXT, name TEXT, level TEXT, msg TEXT,
    duration_ms REAL, status TEXT, attributes TEXT, links TEXT, body TEXT
);
CREATE INDEX records_turn ON records(turn_id);
CREATE INDEX records_timestamp ON records(timestamp);
"""
_INSERT = f"INSERT INTO records ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def collect(journal: Path, store: Path) -> None:
    """Collect a journal into a new directory."""
    store.mkdir()
    with opened(store) as connection:
        connection.executescript(_SCHEMA)
        for lines in batches(journal):
            with transaction(connection):
                connection.executemany(_INSERT, (values(decode(line)) for line in lines))


def count_records(connection: sqlite3.Connection) -> int:
    """Return how many there are."""
    (count,) = connection.execute("SELECT count(*) FROM records").fetchone()
    return int(count)


def body_keys(connection: sqlite3.Connection) -> list[int]:
    """Return the ids of the records with a body."""
    return [key for (key,) in connection.execute("SELECT id FROM records WHERE body IS NOT NULL ORDER BY id")]


def body(connection: sqlite3.Connection, key: int) -> str:
    """Return one body."""
    (text,) = connection.execute("SELECT body FROM records WHERE id = ?", (key,)).fetchone()
    return str(text)


def bodies_of(connection: sqlite3.Connection, column: str, value: str) -> Sequence[str]:
    """Return the bodies of a turn or a conversation in order of time; only turns have an index."""
    query = f"SELECT body FROM records WHERE {column} = ? AND body IS NOT NULL ORDER BY timestamp, id"
    return [text for (text,) in connection.execute(query, (value,))]


def prune(store: Path, cutoff_ms: int) -> None:
    """Delete older records, then write the file anew without them."""
    with opened(store) as connection:
        connection.execute("DELETE FROM records WHERE timestamp < ?", (cutoff_ms,))
        connection.execute("VACUUM")
