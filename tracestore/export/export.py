"""Records and their bodies as bytes, a portion at a time; bodies are read beside the rows, never inside SQL.

::

    page of rows (a reading of its own) -> portions by the size of bodies -> lines, or tables for Parquet

Memory is bounded by a page of rows, a portion of bodies and a chunk.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

from blobs import BlobCorrupt, BlobNotFound, BlobStore, Digest
from tracestore.database.connection import Database
from tracestore.database.pages import Pages, Selection, Table, states_of
from tracestore.database.parquet import bodies_named, parquet_of, with_bodies
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.errors import InputInvalid
from tracestore.export.line import journal_line
from tracestore.export.report import Export, ExportReport
from tracestore.record import BodyState

PORTION_BYTES = 4 * 2**20
"""Bodies in memory at a time; one alone may be larger."""
CHUNK_BYTES = 256 * 1024

_Body: TypeAlias = bytes | BodyState | None
"""The body, or why there is none; None for a record without one, and where none is asked for."""


def export_records(
    database: Database,
    blobs: BlobStore,
    format: str,
    *,
    bodies: bool,
    since: datetime | None,
    status: str | None,
    conversation_id: str | None,
) -> Export:
    """Begin an export of the turns that `tracestore list` would find, or without a rule of every record.

    Raises InputInvalid for another format; while it runs StoreUnavailable, StoreBroken.
    """
    if format not in ("ndjson", "parquet"):
        raise InputInvalid(f"format: wanted ndjson or parquet, found {format!r:.80}")
    pages = Pages(database, Selection(since, status, conversation_id))
    report = ExportReport()
    exporting = _Exporting(database, blobs if bodies else None, report)
    chunks = exporting.lines(pages) if format == "ndjson" else parquet_of(exporting.tables(pages))
    return Export(chunks, report, pages.records)


class _Exporting:
    """One export; without ``blobs`` it leaves bodies out."""

    def __init__(self, database: Database, blobs: BlobStore | None, report: ExportReport) -> None:
        self._database = database
        self._blobs = blobs
        self._report = report

    def lines(self, pages: Pages) -> Generator[bytes]:
        """Yield journal lines, many in a chunk."""
        chunk, size_bytes = [], 0
        for records, hashes in pages.stored():
            digests = [None if record.body_digest is None else bytes.fromhex(record.body_digest) for record in records]
            for part, bodies in self._portions(digests, [record.body_size_bytes or 0 for record in records]):
                for record, stored_hash, body in zip(records[part], hashes[part], bodies, strict=True):
                    line = journal_line(record, stored_hash, body)
                    chunk.append(line)
                    size_bytes += len(line)
                    if size_bytes >= CHUNK_BYTES:
                        yield b"".join(chunk)
                        chunk, size_bytes = [], 0
        if chunk:
            yield b"".join(chunk)

    def tables(self, pages: Pages) -> Iterator[Table]:
        """Yield tables for a Parquet file, with the columns ``body`` and ``body_state`` where bodies are wanted."""
        for table in pages.tables():
            digests, sizes = bodies_named(table)
            for part, bodies in self._portions(digests, sizes):
                rows = table.slice(part.start, part.stop - part.start)
                yield rows if self._blobs is None else with_bodies(rows, bodies)

    def _portions(self, digests: Sequence[bytes | None], sizes: Sequence[int]) -> Iterator[tuple[slice, list[_Body]]]:
        """Cut a page where its bodies become many, and where a record was pruned meanwhile; count what is yielded."""
        for whole in _cut(sizes) if self._blobs is not None else [slice(0, len(sizes))]:
            wanted = digests[whole]
            found = self._bodies({digest for digest in wanted if digest is not None})
            start = whole.start
            for index in [*(i for i, digest in enumerate(wanted, whole.start) if digest not in found), whole.stop]:
                if start < index or not sizes:
                    bodies = [found[digest] for digest in digests[start:index]]
                    self._count(bodies)
                    yield slice(start, index), bodies
                start = index + 1

    def _bodies(self, digests: Collection[bytes]) -> "dict[bytes | None, _Body]":
        """Read bodies, or say why one is not there; one that no record names any more is left out."""
        found: dict[bytes | None, _Body] = {None: None}
        if self._blobs is None:
            return found | dict.fromkeys(digests)
        missing: list[bytes] = []
        with blob_errors_translated():
            for digest, body in self._blobs.get_many(map(Digest, digests)):
                if isinstance(body, bytes):
                    found[digest] = body
                elif isinstance(body, BlobNotFound | BlobCorrupt):
                    missing.append(digest)
                else:
                    raise body
        if missing:
            found |= states_of(self._database, missing).items()
        return found

    def _count(self, bodies: Iterable[_Body]) -> None:
        for body in bodies:
            self._report.records += 1
            self._report.bodies += isinstance(body, bytes)
            self._report.missing_bodies += isinstance(body, str)


def _cut(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield slices, together everything, each of one row or of at most ``PORTION_BYTES`` of bodies."""
    start = size_bytes = 0
    for index, body_bytes in enumerate(sizes):
        if index > start and size_bytes + body_bytes > PORTION_BYTES:
            yield slice(start, index)
            start, size_bytes = index, 0
        size_bytes += body_bytes
    yield slice(start, len(sizes))
