"""The plain way to keep bodies in files: zlib, SHA-256, one file at a time, an fsync each.

Rows go the way ours go: the same decoding, record ids, anti join and Arrow insert, in batches of as
many lines, with the position in the same transaction. What differs is the body's way to disk alone:
``zlib`` level 6, ``sha256``, a temporary file, fsync, rename. It does not sync directories and uses
one core, so it promises less and is what one writes in an afternoon.
"""

import hashlib
import os
import time
import zlib
from pathlib import Path

from benchmarks.baselines.lines import batches
from blobs import Digest
from tracestore.database.connection import Database
from tracestore.database.rows import Row
from tracestore.database.writer import Batch, Body, Writer
from tracestore.record import content_hash, decode_line, record_id

LEVEL = 6


def collect(journal: Path, store: Path) -> None:
    """Collect a journal into a new directory."""
    store.mkdir()
    database = Database(store / "records.duckdb", scratch=store / "tmp")
    writer = Writer(database)
    offset = 0
    for lines in batches(journal):
        offset += sum(map(len, lines))
        rows, bodies = [], {}
        for line in lines:
            row, body = _keep(line, store)
            rows.append(row)
            if body is not None:
                bodies[body.digest] = body
        known = writer.known_records(rows)
        fresh = [row for row in rows if row.identity not in known]
        writer.commit(Batch(fresh, list(bodies.values()), time.time_ns(), position=_position(journal, offset)))
    database.close()


def _keep(line: bytes, store: Path) -> tuple[Row, Body | None]:
    """Write the body of a line, unless it is there already; returns the row, and the ledger row of a new body."""
    decoded = decode_line(line)
    if decoded.body is None:
        return Row(decoded, record_id(decoded, None), content_hash(decoded, None), None), None
    digest = Digest(hashlib.sha256(decoded.body).digest())
    row = Row(decoded, record_id(decoded, digest), content_hash(decoded, digest), digest)
    name = digest.hex()
    path = store / name[:2] / f"{name}.gz"
    if path.exists():
        return row, None
    stored = zlib.compress(decoded.body, LEVEL, 31)
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(stored)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    return row, Body(digest, len(decoded.body), len(stored))


def _position(journal: Path, offset: int) -> dict[str, object]:
    return {
        "segment_id": 1, "path": str(journal), "device": 0, "inode": 0, "offset": offset,
        "head_bytes": 0, "head_digest": b"", "tail_bytes": 0, "tail_digest": b"",
    }  # fmt: skip
