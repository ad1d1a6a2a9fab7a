"""Plain SQLite for questions: the columns that we have, attributes as JSON text beside them, no bodies.

What `sqlite_text` keeps, with model, tool and token counts in columns of their own, and the same two indices. It
is read with all of it in memory: a cache of 1 GB over a mapped file.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.baselines import sqlite
from benchmarks.baselines.lines import PLAIN, batches, decode, text_of
from tracestore.database.promoted import COLUMNS as PROMOTED
from tracestore.database.promoted import promote

COLUMNS = (*PLAIN, *PROMOTED, "attributes")
_TYPES = {"timestamp": "INTEGER NOT NULL", "duration_ms": "REAL"} | dict.fromkeys(
    (name for name in PROMOTED if name.endswith("_tokens")), "INTEGER"
)
_SCHEMA = f"""
CREATE TABLE records (
    id INTEGER PRIMARY KEY, {", ".join(f"{name} {_TYPES.get(name, 'TEXT')}" for name in COLUMNS)}
);
CREATE INDEX records_turn ON records(turn_id);
CREATE INDEX records_timestamp ON records(timestamp);
"""
_INSERT = f"INSERT INTO records ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def collect(journal: Path, store: Path) -> None:
    """Collect a journal into a new directory; with what the planner wants to know of it."""
    store.mkdir()
    with sqlite.opened(store) as connection:
        connection.executescript(_SCHEMA)
        for lines in batches(journal):
            with sqlite.transaction(connection):
                connection.executemany(_INSERT, map(_values, lines))
        connection.execute("ANALYZE")


@contextmanager
def opened(store: Path) -> Iterator[sqlite3.Connection]:
    """Open it for questions."""
    with sqlite.opened(store) as connection:
        connection.execute("PRAGMA cache_size = -1000000")
        connection.execute("PRAGMA mmap_size = 16000000000")
        yield connection


def _values(text: bytes) -> tuple[str | int | float | None, ...]:
    line = decode(text)
    attributes = text_of(line.attributes)
    promoted = promote(json.loads(attributes)) if attributes else {}
    return (*(getattr(line, name) for name in PLAIN), *map(promoted.get, PROMOTED), attributes)
