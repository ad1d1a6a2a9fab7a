"""The seed's design in Python: SQLite, records beside bodies kept once under their hash, gzip in the row.

As there: the standard JSON; a record id over the canonical JSON of the whole record; `INSERT OR IGNORE`;
a body above 1 KiB compressed if that makes it smaller; the offset in a file beside. Faster than there: hash
(BLAKE2b, SHA-256) and gzip in C, a body known by its hash not compressed again, the journal read in batches
where the seed reads it whole. ``synchronous=FULL``: a batch survives a power cut, which the seed does not
promise. It promises less than we do: the offset is not in the transaction; hashes are not checked on reading;
ids of 64 bits; age cuts turns in half; and the file keeps what prune frees.
"""

import gzip
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.baselines.lines import batches
from benchmarks.baselines.sqlite import opened, transaction

_COMPRESSED_FROM_BYTES = 1024
_LEVEL = 6
_GZIP = 31
"""zlib's word for: with the header and trailer of gzip."""
_ID_BYTES = 8
_COLUMN_BY_NAME = {"turn_id": "turnId", "conversation_id": "conversationId"}
_TEXTS = (
    "kind", "level", "msg", "name", "spanId", "parentSpanId", "conversationId", "turnId", "extensionId", "timestamp",
    "durationMs", "status",
)  # fmt: skip
_SCHEMA = """
CREATE TABLE records (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, level TEXT, msg TEXT, name TEXT, spanId TEXT, parentSpanId TEXT,
    conversationId TEXT, turnId TEXT, extensionId TEXT NOT NULL, timestamp INTEGER NOT NULL, durationMs INTEGER,
    status TEXT, attributes TEXT, links TEXT, bodyHash TEXT
);
CREATE INDEX records_turn ON records(turnId);
CREATE INDEX records_timestamp ON records(timestamp);
CREATE INDEX records_body ON records(bodyHash);
CREATE TABLE bodies (
    hash TEXT PRIMARY KEY, body BLOB NOT NULL, isCompressed INTEGER NOT NULL, originalSize INTEGER NOT NULL,
    storedSize INTEGER NOT NULL
);
"""
_INSERT = f"INSERT OR IGNORE INTO records VALUES ({', '.join('?' * 16)})"
_INSERT_BODY = "INSERT OR IGNORE INTO bodies VALUES (?, ?, ?, ?, ?)"
_SELECT_BODY = "SELECT b.body, b.isCompressed FROM records r JOIN bodies b ON b.hash = r.bodyHash"

_Stored: TypeAlias = tuple[bytes, int]
"""A body as it is in its row, and whether it is compressed."""

_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def collect(journal: Path, store: Path) -> None:
    """Collect a journal into a new directory."""
    store.mkdir()
    offset = 0
    with opened(store) as connection:
        connection.executescript(_SCHEMA)
        for lines in batches(journal):
            with transaction(connection):
                connection.executemany(_INSERT, [_insert_body(connection, json.loads(line)) for line in lines])
            offset += sum(map(len, lines))
            (store / "offset").write_text(str(offset))


def count_records(connection: sqlite3.Connection) -> int:
    """Return how many there are."""
    (count,) = connection.execute("SELECT count(*) FROM records").fetchone()
    return int(count)


def body_keys(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of the records with a body."""
    return [key for (key,) in connection.execute("SELECT id FROM records WHERE bodyHash IS NOT NULL ORDER BY rowid")]


def body(connection: sqlite3.Connection, key: str) -> str:
    """Return one body."""
    return _text_of(connection.execute(f"{_SELECT_BODY} WHERE r.id = ?", (key,)).fetchone())


def bodies_of(connection: sqlite3.Connection, column: str, value: str) -> Sequence[str]:
    """Return the bodies of a turn or a conversation in order of time; only turns have an index."""
    query = f"{_SELECT_BODY} WHERE r.{_COLUMN_BY_NAME[column]} = ? ORDER BY r.timestamp, r.rowid"
    return [_text_of(stored) for stored in connection.execute(query, (value,))]


def prune(store: Path, cutoff_ms: int) -> None:
    """Delete older records, then bodies that no record names; the file does not shrink."""
    with opened(store) as connection, transaction(connection):
        connection.execute("DELETE FROM records WHERE timestamp < ?", (cutoff_ms,))
        connection.execute("DELETE FROM bodies WHERE hash NOT IN (SELECT bodyHash FROM records WHERE bodyHash NOTNULL)")


def _insert_body(connection: sqlite3.Connection, record: dict[str, Any]) -> Iterable[object]:
    """Insert the body of a record where it is new; returns the record's row."""
    identity = hashlib.blake2b(_bytes_of(_canonical(record)), digest_size=_ID_BYTES).hexdigest()
    digest = None
    if "body" in record:
        raw = _bytes_of(record["body"])
        digest = hashlib.sha256(raw).hexdigest()
        if connection.execute("SELECT 1 FROM bodies WHERE hash = ?", (digest,)).fetchone() is None:
            stored, is_compressed = _stored(raw)
            connection.execute(_INSERT_BODY, (digest, stored, is_compressed, len(raw), len(stored)))
    nested = (_canonical(record[key]) if key in record else None for key in ("attributes", "links"))
    return (identity, *map(record.get, _TEXTS), *nested, digest)


def _stored(raw: bytes) -> _Stored:
    if len(raw) <= _COMPRESSED_FROM_BYTES:
        return raw, 0
    compressed = zlib.compress(raw, _LEVEL, _GZIP)
    return (compressed, 1) if len(compressed) < len(raw) else (raw, 0)


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text_of(stored: _Stored) -> str:
    content, is_compressed = stored
    return (gzip.decompress(content) if is_compressed else content).decode("utf-8", "surrogatepass")
