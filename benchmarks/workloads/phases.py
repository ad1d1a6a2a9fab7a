"""The parts of ingest measured alone, one after another: the physical limit on this machine."""

import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from benchmarks.harness import Figure, Options, settle
from benchmarks.journals import journal_with_bodies
from blobs import BlobStore, Digest, Staged, codec
from blobs.backends.local import LocalBackend
from tracestore.database.connection import Database
from tracestore.database.rows import Row, table_of
from tracestore.database.writer import Batch, Body, Writer
from tracestore.ingest import BATCH_BYTES, BATCH_LINES, row_of
from tracestore.journal.chunk import Chunk, Line
from tracestore.journal.segment import Segment
from tracestore.record import Line as DecodedLine
from tracestore.record import decode_line

_Bodies = dict[Digest, bytes]


class Stopwatch:
    """Collects seconds by the wall and by the processor under names; one value for each round."""

    def __init__(self) -> None:
        self.wall_s: dict[str, list[float]] = {}
        self.cpu_s: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], object]) -> None:
        """Do some work, with the disk settled before."""
        settle()
        before, start = os.times(), time.perf_counter()
        work()
        seconds, after = time.perf_counter() - start, os.times()
        self.wall_s.setdefault(name, []).append(seconds)
        self.cpu_s.setdefault(name, []).append(after.user - before.user + after.system - before.system)


def run(options: Options) -> list[Figure]:
    """Take ingest apart; the parts of a batch are those of `tracestore.ingest`."""
    watch = Stopwatch()
    journal = journal_with_bodies(options)
    for _ in range(options.rounds):
        _measure(journal, options, watch)
    megabytes = journal.stat().st_size / 1e6
    figures = [
        Figure(name, "s", values, note=f"processor {sum(watch.cpu_s[name]) / len(values):.2f} s")
        for name, values in watch.wall_s.items()
    ]
    once = [values for name, values in watch.wall_s.items() if "alone" not in name]
    total_s = [sum(values) for values in zip(*once, strict=True)]
    limit = [megabytes / seconds for seconds in total_s]
    return [*figures, Figure("one after another", "MB/s", limit, note="without the rows marked alone")]


def _measure(journal: Path, options: Options, watch: Stopwatch) -> None:
    chunks: list[Chunk] = []
    rows: list[list[Row]] = []
    with journal.open("rb") as file:
        segment = Segment(os.dup(file.fileno()), str(journal))
    watch.time("read the journal", lambda: chunks.extend(_chunks(segment)))
    watch.time("decode alone", lambda: [_decode(chunk) for chunk in chunks])
    watch.time("decode, hash, name", lambda: rows.extend([row_of(line) for line in _decode(chunk)] for chunk in chunks))
    segment.close()
    batches = _new_bodies(rows)
    every = [body for bodies in batches for body in bodies.values()]
    watch.time("hash alone", lambda: [Digest.of(body) for body in every])
    watch.time("compress alone, one core", lambda: [codec.encode(body) for body in every])
    stored = [{digest: codec.encode(body) for digest, body in bodies.items()} for bodies in batches]
    watch.time("write files alone", lambda: _write_plainly(stored, options.directory("plain")))
    _measure_files(batches, stored, options, watch)
    _measure_database(rows, batches, stored, options, watch)


def _measure_files(
    batches: Sequence[_Bodies], stored: Sequence[_Bodies], options: Options, watch: Stopwatch
) -> None:
    backend = LocalBackend(options.directory("backend") / "blobs")
    staged: list[Staged] = []
    watch.time("stage compressed alone", lambda: staged.extend(backend.stage(part.items()) for part in stored))
    watch.time("publish alone", lambda: [backend.publish(part) for part in staged])
    backend.close()
    with BlobStore(options.directory("blobs") / "blobs") as blobs:
        watch.time("compress, stage, publish", lambda: [blobs.publish(blobs.stage(bodies)) for bodies in batches])


def _measure_database(
    rows: Sequence[Sequence[Row]], batches: Sequence[_Bodies], stored: Sequence[_Bodies], options: Options,
    watch: Stopwatch,
) -> None:  # fmt: skip
    watch.time("Arrow tables alone", lambda: [table_of(part, 0) for part in rows])
    directory = options.directory("database")
    database = Database(directory / "records.duckdb", scratch=directory / "tmp")
    writer = Writer(database)
    ledger = [
        [Body(digest, len(body), len(files[digest])) for digest, body in bodies.items()]
        for bodies, files in zip(batches, stored, strict=True)
    ]
    watch.time("known records alone", lambda: [writer.known_records(part) for part in rows])

    def commit() -> None:
        for part, bodies in zip(rows, ledger, strict=True):
            writer.known_records(part)
            writer.commit(Batch(part, bodies, time.time_ns()))
        database.close()

    watch.time("known records, commit, close", commit)


def _decode(chunk: Chunk) -> list[DecodedLine]:
    return [decode_line(line.data) for line in chunk.lines if isinstance(line, Line)]


def _chunks(segment: Segment) -> list[Chunk]:
    chunks, offset = [], 0
    while True:
        chunk = segment.read_chunk(offset, BATCH_BYTES, BATCH_LINES)
        if chunk.next_offset == offset:
            return chunks
        chunks.append(chunk)
        offset = chunk.next_offset


def _new_bodies(rows: Sequence[Sequence[Row]]) -> list[_Bodies]:
    """Return the bodies that each batch sees first."""
    seen: set[Digest] = set()
    batches = []
    for part in rows:
        bodies = {row.body_digest: row.line.body for row in part if row.body_digest and row.line.body is not None}
        batches.append({digest: body for digest, body in bodies.items() if digest not in seen})
        seen.update(bodies)
    return batches


def _write_plainly(batches: Sequence[_Bodies], directory: Path) -> None:
    """Create the files in one directory and sync once a batch: what the file system costs at the least."""
    names = count()
    for stored in batches:
        for content in stored.values():
            fd = os.open(directory / f"{next(names)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
            os.write(fd, content)
            os.close(fd)
        os.sync()
