"""Which rows are past their age, and which bodies are used least recently.

Age counts from the earlier of a record's own time and the time it was stored, else a record from
a clock that runs ahead never expires.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import arro3.core as arrow

from tracestore.database.connection import Database
from tracestore.database.failures import translated

AGE = "least(timestamp, inserted_at)"


@dataclass(frozen=True, slots=True)
class Survivors:
    """The rows that a cutoff leaves; None leaves all. Prune plans on these before it deletes."""

    cutoff_ns: int | None

    @property
    def condition(self) -> str:
        """The condition on ``raw.records`` in SQL."""
        # Not "NOT": of a record without a turn SQL does not know whether it is in an expired one, and would drop it.
        return "true" if self.cutoff_ns is None else f"({_expired(self.cutoff_ns)}) IS NOT TRUE"


class Retention:
    """Reads and deletes for prune; every method that deletes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count_expired(self, cutoff_ns: int) -> int:
        """Return how many records `expire` would delete."""
        with translated("counting expired records"), self._database.reading() as cursor:
            row = cursor.execute(f"SELECT count(*) FROM raw.records WHERE {_expired(cutoff_ns)}").fetchone()
        return int(row[0]) if row else 0

    def expire(self, cutoff_ns: int) -> int:
        """Delete turns whose newest record is older than the cutoff, whole, and older records without a turn."""
        with self._database.writing() as cursor:
            row = cursor.execute(f"DELETE FROM raw.records WHERE {_expired(cutoff_ns)}").fetchone()
        return int(row[0]) if row else 0

    def has_expired_before(self) -> bool:
        """Tell whether a prune ever deleted rows of this database."""
        with translated("reading prunes"), self._database.reading() as cursor:
            row = cursor.execute("SELECT count(*) FROM raw.prunes WHERE records_deleted > 0").fetchone()
        return bool(row and row[0])

    def body_uses(self, survivors: Survivors) -> Generator[bytes, None, None]:
        """Yield the digests of the bodies present and named, longest unused first."""
        rows = self._stream(
            f"SELECT r.body_digest, max(epoch_ns({AGE})) AS newest"
            " FROM raw.records r JOIN raw.bodies b ON b.digest = r.body_digest"
            f" WHERE b.state = 'present' AND {survivors.condition}"
            " GROUP BY r.body_digest ORDER BY newest, r.body_digest"
        )
        for digest, _ in rows:
            yield digest

    def live_digests(self, survivors: Survivors) -> Iterator[bytes]:
        """Yield the digests that are present and named by a survivor, in ascending order."""
        return (digest for (digest,) in self._stream(_digests("SEMI", survivors)))

    def retired_digests(self, survivors: Survivors) -> Iterator[bytes]:
        """Yield the digests that are present and named by no survivor, in ascending order."""
        return (digest for (digest,) in self._stream(_digests("ANTI", survivors)))

    def gone_digests(self) -> Iterator[bytes]:
        """Yield the digests that are evicted or lost, in ascending order: a crash may have left their blobs."""
        sql = "SELECT DISTINCT digest FROM raw.bodies WHERE state <> 'present' ORDER BY digest"
        return (digest for (digest,) in self._stream(sql))

    def newest_seq(self) -> int:
        """Return the sequence number of the row inserted last; 0 without rows."""
        return int(next(self._stream("SELECT coalesce(max(seq), 0) FROM raw.records"))[0])

    def mark_evicted(self, digests: Sequence[bytes]) -> None:
        """Say in the ledger that these bodies are evicted; their rows stay."""
        self._change("UPDATE raw.bodies SET state = 'evicted' WHERE digest IN (SELECT digest FROM chosen)", digests)

    def forget_bodies(self, digests: Sequence[bytes]) -> None:
        """Delete ledger rows that nothing names any more; what is evicted or lost already keeps its row."""
        self._change(
            "DELETE FROM raw.bodies WHERE state = 'present' AND digest IN (SELECT digest FROM chosen)", digests
        )

    def named_since(self, digests: Sequence[bytes], seq: int) -> set[bytes]:
        """Return which of these a record inserted after ``seq`` names; 0 asks all records."""
        if not digests:
            return set()
        with translated("looking for new references"), self._database.reading() as cursor:
            cursor.register("chosen", digest_table(digests))
            rows = cursor.execute(
                "SELECT DISTINCT body_digest FROM raw.records"
                " WHERE seq > ? AND body_digest IN (SELECT digest FROM chosen)",
                [seq],
            ).fetchall()
        return {digest for (digest,) in rows}

    def evicted_among(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return which of these the ledger has as evicted."""
        if not digests:
            return set()
        with translated("reading the ledger"), self._database.reading() as cursor:
            cursor.register("chosen", digest_table(digests))
            rows = cursor.execute(
                "SELECT digest FROM raw.bodies WHERE state = 'evicted' AND digest IN (SELECT digest FROM chosen)"
            ).fetchall()
        return {digest for (digest,) in rows}

    def forget_gone_bodies(self) -> int:
        """Delete ledger rows of evicted and lost bodies that nothing names any more."""
        with self._database.writing() as cursor:
            row = cursor.execute(
                "DELETE FROM raw.bodies WHERE state <> 'present' AND NOT EXISTS"
                " (SELECT 1 FROM raw.records r WHERE r.body_digest = bodies.digest)"
            ).fetchone()
        return int(row[0]) if row else 0

    def record_prune(self, max_age_ms: int | None, max_bytes: int | None, records: int, evicted: int) -> None:
        """Keep what a prune did, and by which policy."""
        with self._database.writing() as cursor:
            cursor.execute(
                "INSERT INTO raw.prunes VALUES (current_localtimestamp(), ?, ?, ?, ?)",
                [max_age_ms, max_bytes, records, evicted],
            )

    def _stream(self, sql: str) -> Iterator[Any]:
        with translated("reading what is kept"), self._database.reading() as cursor:
            cursor.execute(sql)
            while rows := cursor.fetchmany(10_000):
                yield from rows

    def _change(self, sql: str, digests: Sequence[bytes]) -> None:
        if digests:
            with self._database.writing() as cursor:
                cursor.register("chosen", digest_table(digests))
                cursor.execute(sql)
                cursor.unregister("chosen")


def _digests(join: Literal["SEMI", "ANTI"], survivors: Survivors) -> str:
    return (
        f"SELECT DISTINCT digest FROM raw.bodies b {join} JOIN"
        f" (SELECT body_digest FROM raw.records WHERE {survivors.condition}) r ON b.digest = r.body_digest"
        " WHERE b.state = 'present' ORDER BY digest"
    )


def _expired(cutoff_ns: int) -> str:
    cutoff = f"make_timestamp_ns({int(cutoff_ns)})"
    return (
        f"(turn_id IS NULL AND {AGE} < {cutoff}) OR turn_id IN (SELECT turn_id FROM raw.records"
        f" WHERE turn_id IS NOT NULL GROUP BY turn_id HAVING max({AGE}) < {cutoff})"
    )


def digest_table(digests: Sequence[bytes]) -> arrow.Table:
    """Return digests as a table of one column."""
    return arrow.Table.from_pydict({"digest": arrow.Array(list(digests), type=arrow.DataType.binary())})
