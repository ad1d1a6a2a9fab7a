"""The one drain: journal lines become rows and bodies.

Everything that enters a store goes this way, whoever wrote the line. A batch is some lines of one
segment; it is committed whole or not at all:

1. decode each line; what is no record is rejected, verbatim, and never stops its neighbours
2. name it: digest of the body, record id; drop what the batch or the store has already
3. stage the bodies that are not there: compressed, durable, invisible
4. publish them under their digests, durably
5. sync the rejected lines and the journal itself, else the offset could outlive the lines' tail
6. commit rows, ledger and offset in one transaction

Steps 3 to 6 hold ``blobs.lock``, so that no sweep removes a body between the look at it and the
row that names it. A crash before 6 leaves unreferenced files, which the sweep removes; the lines
are read again.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import TypeAlias

from blobs import BlobStore, Digest
from tracestore.database.rows import Identity, Row
from tracestore.database.writer import Batch, Body, Writer
from tracestore.directory.blob_errors import blob_errors_translated, is_as_recorded
from tracestore.errors import RecordInvalid
from tracestore.journal.chunk import LINE_LIMIT_BYTES, Chunk, Line, OversizedLine
from tracestore.journal.follow import Unread
from tracestore.journal.position import Position
from tracestore.journal.rejects import RejectedLines
from tracestore.journal.segment import Segment
from tracestore.record import Line as DecodedLine
from tracestore.record import content_hash, decode_line, record_id

BATCH_BYTES = 16 * 2**20
"""Journal bytes in one batch: bounds memory, and spreads the cost of its syncs over many bodies."""
BATCH_LINES = 10_000
CONFIRMED_LIMIT = 100_000
"""Digests remembered as present, so that a body that is sent again costs no look at the disk."""

Refused: TypeAlias = tuple[Line | OversizedLine, str]
"""A line that is no record, and the reason."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What one batch did."""

    inserted: int = 0
    duplicates: int = 0
    rejected: int = 0
    journal_bytes: int = 0
    torn_bytes: int = 0
    path: str = ""
    inserted_at: Sequence[int] = ()
    """Offsets of the lines that became rows, ascending."""
    rejected_at: Sequence[int] = ()
    """Offsets of the lines that were refused, ascending."""
    end_offset: int = 0


class Ingest:
    """Moves lines into one store; one thread."""

    def __init__(
        self, writer: Writer, blobs: BlobStore, rejects: RejectedLines, now_ns: Callable[[], int]
    ) -> None:
        self._writer = writer
        self._blobs = blobs
        self._rejects = rejects
        self._now_ns = now_ns
        self._confirmed: OrderedDict[Digest, None] = OrderedDict()

    def drain(
        self, unread: Unread, commit: Callable[[Position], None], until: int | None = None
    ) -> Iterator[Drained]:
        """Read a segment to its end, batch by batch; each is durable when it is yielded.

        ``until``, the offset of a line, ends it there.
        """
        position = unread.position
        while True:
            most_bytes = BATCH_BYTES if until is None else min(BATCH_BYTES, until - position.offset)
            if most_bytes <= 0:
                return
            chunk = unread.segment.read_chunk(position.offset, most_bytes, BATCH_LINES)
            if chunk.next_offset == position.offset:
                commit(position)
                yield Drained(torn_bytes=chunk.torn_bytes, path=unread.segment.path, end_offset=position.offset)
                return
            drained, position = self._batch(unread.segment, position, chunk)
            commit(position)
            yield drained

    def forget_confirmed(self) -> None:
        """Look at the disk again before a body counts as present: some were just removed."""
        self._confirmed.clear()

    def _batch(self, segment: Segment, position: Position, chunk: Chunk) -> tuple[Drained, Position]:
        after = segment.advance(position, chunk)  # before anything is written: it raises if the file changed
        rows, refused = _decode(chunk)
        fresh = self._fresh(chunk, rows, refused)
        refused.sort(key=lambda entry: entry[0].offset)
        try:
            for line, reason in refused:
                self._rejects.append(position.segment_id, segment, line, reason)
            with self._blobs.lock, blob_errors_translated():
                self._commit(segment, after, fresh, len(refused))
        except BaseException:
            if not self._writer.is_doubtful:  # else the length may be committed; opening again cuts to what is
                self._rejects.roll_back()
            raise
        self._rejects.committed()
        drained = Drained(
            inserted=len(fresh),
            duplicates=len(chunk.lines) - len(fresh) - len(refused),
            rejected=len(refused),
            journal_bytes=chunk.next_offset - chunk.offset,
            torn_bytes=chunk.torn_bytes,
            path=segment.path,
            inserted_at=[row.offset for row in fresh],
            rejected_at=[line.offset for line, _ in refused],
            end_offset=chunk.next_offset,
        )
        return drained, after

    def _fresh(self, chunk: Chunk, rows: Sequence[Row], refused: list[Refused]) -> list[Row]:
        """Return the rows that neither the batch nor the store has yet, in order; refuse clashes of ids."""
        first: dict[Identity, Row] = {}
        again = [row for row in rows if first.setdefault(row.identity, row) is not row]
        known = self._writer.known_records(list(first.values()))
        if not (again or known):
            return list(rows)
        hashes = {row.identity: first[row.identity].content_hash for row in again} | known
        again += [first.pop(identity) for identity in known]
        for row in again:
            if row.content_hash != hashes[row.identity]:
                reason = f"id: wanted one that is new, found {row.line.record.producer_id!r} on another record"
                refused.append((_line_at(chunk, row.offset), reason))
        return list(first.values())

    def _commit(self, segment: Segment, after: Position, rows: Sequence[Row], rejected: int) -> None:
        bodies = {row.body_digest: row.line.body for row in rows if row.body_digest and row.line.body is not None}
        missing, replaced = self._missing([digest for digest in bodies if digest not in self._confirmed])
        new_bodies: list[Body] = []
        if missing:
            staged = self._blobs.stage({digest: bodies[digest] for digest in missing})
            self._blobs.publish(staged)
            new_bodies = [Body(digest, len(bodies[digest]), staged.stored_bytes[digest]) for digest in missing]
        if rejected:
            self._rejects.sync()
        segment.sync()
        self._writer.commit(
            Batch(
                rows=rows,
                new_bodies=new_bodies,
                inserted_at_ns=self._now_ns(),
                replaced_bodies=replaced,
                position=asdict(after),
                rejected_lines=rejected,
                rejected_file_bytes=self._rejects.size_bytes,
            )
        )
        self._confirm(bodies)

    def _missing(self, digests: Sequence[Digest]) -> tuple[list[Digest], list[Digest]]:
        """Return the bodies to write, and which of them have a ledger row that has to go.

        Only a blob whose file, if it has one, is of the size that the ledger knows, in the state present, is
        there: a crash may have left it without a row, damage may have cut it, an eviction may have been cut short.
        """
        found = {digest: stat for digest in digests if (stat := self._blobs.stat(digest)) is not None}
        ledger = self._writer.known_bodies(list(found))
        there = {
            digest
            for digest, body in ledger.items()
            if body.state == "present" and is_as_recorded(found[Digest(digest)], body.stored_bytes)
        }
        missing = [digest for digest in digests if digest not in there]
        gone = self._writer.gone_bodies([digest for digest in missing if digest not in found])
        return missing, [digest for digest in missing if digest in ledger or digest in gone]

    def _confirm(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            self._confirmed[digest] = None
            self._confirmed.move_to_end(digest)
        while len(self._confirmed) > CONFIRMED_LIMIT:
            self._confirmed.popitem(last=False)


def _decode(chunk: Chunk) -> tuple[list[Row], list[Refused]]:
    """Return the rows of a chunk, and the lines that are no records."""
    rows: list[Row] = []
    refused: list[Refused] = []
    for line in chunk.lines:
        if isinstance(line, OversizedLine):
            refused.append((line, f"line: wanted at most {LINE_LIMIT_BYTES} bytes, found {line.length_bytes}"))
            continue
        try:
            rows.append(row_of(decode_line(line.data), line.offset))
        except RecordInvalid as error:
            refused.append((line, str(error)))
    return rows, refused


def row_of(line: DecodedLine, offset: int = 0) -> Row:
    """Name a decoded line: the digest of its body, its id, the hash that tells clashes from resends."""
    digest = None if line.body is None else Digest.of(line.body)
    return Row(line, record_id(line, digest), content_hash(line, digest), digest, offset)


def _line_at(chunk: Chunk, offset: int) -> Line | OversizedLine:
    return chunk.lines[bisect_left(chunk.lines, offset, key=attrgetter("offset"))]
