"""A body in question: what rows and ledger say of it, what is, and what the ledger should say."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass

from blobs import BlobError, BlobStore, Digest
from tracestore.database import consistency
from tracestore.database.connection import Database
from tracestore.database.writer import Body


@dataclass(slots=True)
class BodyInQuestion:
    """A body that a finding names, or that was lost before."""

    digest: Digest
    rows: list[Body]
    """What the ledger says; one row is right."""
    named_sizes: tuple[int, int] | None
    """The least and the greatest size that records give; None where none names it."""
    size_bytes: int | None = None
    """Of the body itself; None while nobody has it."""
    stored_bytes: int = 0
    origin: str | None = None
    """Where it was found, when it had to be looked for."""

    @property
    def is_known(self) -> bool:
        """Tell whether a record or the ledger speaks of it; else it is nobody's and prune takes it."""
        return bool(self.rows) or self.named_sizes is not None

    @property
    def is_evicted(self) -> bool:
        """Tell whether retention took it, so that nobody looks for it."""
        states = {row.state for row in self.rows}
        return "evicted" in states and "present" not in states

    @property
    def row(self) -> Body:
        """What the ledger should say."""
        known = self.rows[0] if self.rows else Body(self.digest, 0, 0)
        if self.size_bytes is not None:
            is_packed = self.rows and 0 in (known.stored_bytes, self.stored_bytes)  # in a pack, or come in one
            stored_bytes = known.stored_bytes if is_packed else self.stored_bytes
            return Body(self.digest, self.size_bytes, stored_bytes, "present")
        size_bytes = known.size_bytes if self.named_sizes is None else self.named_sizes[1]
        return Body(self.digest, size_bytes, known.stored_bytes, "evicted" if self.is_evicted else "lost")

    @property
    def is_right(self) -> bool:
        """Tell whether rows and ledger say it already."""
        row = self.row
        return self.rows == [row] and self.named_sizes in (None, (row.size_bytes, row.size_bytes))

    @property
    def is_newly_lost(self) -> bool:
        """Tell whether it has to be marked as lost."""
        return self.row.state == "lost" and any(row.state != "lost" for row in self.rows or [Body(self.digest, 0, 0)])

    def put_entry(self) -> dict[str, object]:
        """Return what the undo log says of its return."""
        return {"action": "put back", "digest": str(self.digest), "from": self.origin, "size_bytes": self.size_bytes}

    def ledger_entry(self) -> dict[str, object]:
        """Return what the undo log says of its ledger row."""
        before, after = [_shown(row) for row in self.rows], _shown(self.row)
        entry = {"action": "correct", "digest": str(self.digest), "before": before, "after": after}
        return entry | {"record_sizes": self.named_sizes}


def bodies_in_question(database: Database, blobs: BlobStore, digests: Iterable[Digest]) -> list[BodyInQuestion]:
    """Gather what is said of these bodies and of those lost before, and read those that should be in their seats."""
    asked = sorted({*digests, *map(Digest, consistency.lost_digests(database))})
    rows: dict[bytes, list[Body]] = defaultdict(list)
    for row in consistency.ledger_rows(database, asked):
        rows[row.digest].append(row)
    named = {digest: (least, most) for digest, least, most in consistency.named_sizes(database, asked)}
    bodies = [BodyInQuestion(digest, rows[digest], named.get(digest)) for digest in asked]
    for body in bodies:
        if not body.is_evicted:
            _read(blobs, body)
    return [body for body in bodies if body.is_known]


def _read(blobs: BlobStore, body: BodyInQuestion) -> None:
    with suppress(BlobError):  # then it is looked for
        body.size_bytes = len(blobs.get(body.digest))
        found = blobs.stat(body.digest)
        body.stored_bytes = found.stored_bytes if found is not None else 0


def _shown(row: Body) -> dict[str, object]:
    return {name: value for name, value in asdict(row).items() if name != "digest"}
