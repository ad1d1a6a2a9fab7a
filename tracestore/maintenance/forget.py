"""Forget: what must not be kept, such as a leaked secret, leaves every place that the store reaches.

    1 rows       of a turn or a conversation go; those of a digest stay, and say that it is evicted
    2 blobs      bodies that no other record names go, with their copies in quarantine
    3 database   the file is copied without the dead rows, and the old one unlinked
    4 snapshot   a new one takes the place of those that held them
    5 journal    own segments that the snapshot covers go

Then what is left is searched: journals of other programs, segments that a writer still holds, rejected
lines. It says where it found them, and names what it cannot look into. Run again after a crash it
goes on. Blocks that a file system gave free are not overwritten.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from blobs import BlobCorrupt, BlobStore, Digest
from tracestore.database import compaction
from tracestore.database.connection import Database
from tracestore.database.erasing import erase_rows
from tracestore.database.retention import Retention
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid, RecordInvalid, StoreLocked
from tracestore.journal.chunk import Line
from tracestore.journal.rejects import read_rejected
from tracestore.journal.scan import scan
from tracestore.journal.segment import Segment
from tracestore.layout import StoreLayout
from tracestore.maintenance.recovery import Recovery, read_journals
from tracestore.maintenance.summary import ForgetReport
from tracestore.record import decode_line


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be forgotten; exactly one of the three, else InputInvalid."""

    turn_id: str | None = None
    conversation_id: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        given = sum(value is not None for value in (self.turn_id, self.conversation_id, self.digest))
        if given != 1:
            raise InputInvalid(f"forget: wanted one of a turn, a conversation and a digest, found {given} of them")

    def is_in(self, line: bytes) -> bool:
        """Tell whether a journal line belongs to it; a line that is no record, whether it holds the id."""
        try:
            decoded = decode_line(line)
        except RecordInvalid:
            named = self.turn_id if self.turn_id is not None else self.conversation_id
            return named is not None and json.dumps(named)[1:-1].encode() in line
        if self.digest is not None:
            return decoded.body is not None and Digest.of(decoded.body) == self.digest
        if self.turn_id is not None:
            return decoded.record.turn_id == self.turn_id
        return decoded.record.conversation_id == self.conversation_id


class Forgetting:
    """Forgets in one store; the caller is its only writer, and has let its own segment go."""

    def __init__(
        self,
        layout: StoreLayout,
        database: Database,
        blobs: BlobStore,
        recovery: Recovery | None,
        bodies_went: Callable[[int], None],
    ) -> None:
        self._layout = layout
        self._database = database
        self._blobs = blobs
        self._recovery = recovery
        self._retention = Retention(database)
        self._bodies_went = bodies_went
        self._damaged: list[str] = []
        """Packs that could not be written anew without the bodies."""

    def run(self, target: Target) -> ForgetReport:
        """Forget; StoreLocked while a backup copies the store."""
        if self._recovery is not None:
            with self._recovery.removing_allowed() as is_allowed:
                if not is_allowed:
                    raise StoreLocked("wanted to forget, found a backup running; wait for it, then forget there too")
        records, named = self._erase_rows(target)
        bodies, copies = self._erase_bodies(target, named)
        shared = self._retention.named_since(list(named), 0)
        self._database.checkpoint()
        compaction.compact(self._database)
        segments = 0
        if self._recovery is not None:
            with disk_errors_translated("count segments", self._layout.root):
                before = set(self._segments())
                self._recovery.take(drop_segments=True)
                segments = len(before - set(self._segments()))
        with disk_errors_translated("look for what is left of it", self._layout.root):
            left = tuple(self._left(target))
        return ForgetReport(
            records=records, bodies=bodies, shared_bodies=len(shared), copies=copies, segments=segments, left=left
        )

    def _erase_rows(self, target: Target) -> tuple[int, set[bytes]]:
        if target.turn_id is not None:
            return erase_rows(self._database, "turn_id", target.turn_id)
        if target.conversation_id is not None:
            return erase_rows(self._database, "conversation_id", target.conversation_id)
        return 0, set()

    def _erase_bodies(self, target: Target, named: set[bytes]) -> tuple[int, int]:
        """Delete blobs that nothing names any more, or the one of the digest; returns blobs and quarantined copies."""
        with self._blobs.packing, self._blobs.lock, blob_errors_translated():
            if target.digest is not None:
                doomed = [target.digest]
                self._bodies_went(1)
                self._retention.mark_evicted(doomed)
            else:
                doomed = [Digest(digest) for digest in sorted(named - self._retention.named_since(list(named), 0))]
                self._bodies_went(0)
                self._retention.forget_bodies(doomed)
                self._retention.forget_gone_bodies()
            there = sum(digest in self._blobs for digest in doomed)
            try:
                self._blobs.erase(doomed)
            except BlobCorrupt as error:  # the other places must not keep it for the sake of this one
                self._damaged.append(error.where)
            return there, self._blobs.erase_aside(doomed)

    def _segments(self) -> Iterator[str]:
        for directory in (self._layout.journal, self._layout.inserted):
            yield from (file.path for file in scan(os.fspath(directory)) or ())

    def _left(self, target: Target) -> Iterator[str]:
        """Yield where it still is, or may be."""
        elsewhere = (file.path for path in read_journals(self._layout) for file in scan(path) or ())
        for path in (*self._segments(), *elsewhere):
            if _holds(path, target):
                yield f"{path} (a journal that another program wrote, or still writes)"
        if any(target.is_in(entry.line()) for entry in read_rejected(os.fspath(self._layout.rejected))):
            yield f"{self._layout.rejected} (rejected lines)"
        set_aside = (
            *self._layout.root.glob("*.damaged-*"),
            *self._layout.snapshots.glob("*.damaged"),
            *self._layout.journal.glob("rejected-before-*"),
        )
        for aside in set_aside:
            yield f"{aside} (set aside, not looked into)"
        for path in self._damaged:
            advice = "run tracestore repair, then remove it from quarantine/"
            yield f"{self._layout.blobs.name}/{path} (damaged: it may hold it still; {advice})"
        yield "backups and copies made before"


def _holds(path: str | Path, target: Target) -> bool:
    with closing(Segment.open(os.fspath(path))) as segment:
        offset = 0
        while True:
            chunk = segment.read_chunk(offset)
            if any(isinstance(line, Line) and target.is_in(line.data) for line in chunk.lines):
                return True
            if chunk.next_offset == offset:
                return False
            offset = chunk.next_offset
