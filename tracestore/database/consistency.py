"""Questions of verify and repair: do rows and ledger agree?"""

from collections.abc import Iterator, Sequence
from typing import Any

import arro3.core as arrow

from tracestore.database.connection import Database
from tracestore.database.failures import translated
from tracestore.database.writer import Body


def totals(database: Database) -> tuple[int, int, int]:
    """Return how many records, how many ledger rows and how many lost bodies there are."""
    sql = (
        "SELECT (SELECT count(*) FROM raw.records), (SELECT count(*) FROM raw.bodies),"
        " (SELECT count(DISTINCT digest) FROM raw.bodies WHERE state = 'lost')"
    )
    records, bodies, lost = next(_stream(database, sql))
    return int(records), int(bodies), int(lost)


def unlisted_digests(database: Database) -> Iterator[bytes]:
    """Yield digests that a record names and the ledger does not know."""
    sql = (
        "SELECT DISTINCT body_digest FROM raw.records r"
        " ANTI JOIN raw.bodies b ON r.body_digest = b.digest WHERE body_digest IS NOT NULL ORDER BY body_digest"
    )
    return (digest for (digest,) in _stream(database, sql))


def repeated_digests(database: Database) -> Iterator[tuple[bytes, int]]:
    """Yield digests with more than one ledger row, and how many they have."""
    return _stream(database, "SELECT digest, count(*) FROM raw.bodies GROUP BY digest HAVING count(*) > 1")


def size_conflicts(database: Database) -> Iterator[tuple[bytes, int, int]]:
    """Yield digests of which a record and the ledger give different sizes, and both sizes."""
    sql = (
        "SELECT digest, min(r.body_size_bytes), any_value(b.size_bytes) FROM raw.records r"
        " JOIN raw.bodies b ON r.body_digest = b.digest WHERE r.body_size_bytes IS DISTINCT FROM b.size_bytes"
        " GROUP BY digest"
    )
    return _stream(database, sql)


def ledger(database: Database, digests: Sequence[bytes] | None = None) -> Iterator[tuple[bytes, int, str]]:
    """Yield digest, stored bytes and state of every body, or of these, in ascending order.

    Of several rows of one body one that says ``present`` counts.
    """
    sql = (
        "SELECT digest, arg_max(stored_bytes, state = 'present'), arg_max(state, state = 'present') FROM raw.bodies"
        f" {'' if digests is None else 'SEMI JOIN wanted USING (digest)'} GROUP BY digest ORDER BY digest"
    )
    return _stream(database, sql, digests)


def ledger_rows(database: Database, digests: Sequence[bytes]) -> Iterator[Body]:
    """Yield every ledger row of these bodies."""
    sql = "SELECT digest, size_bytes, stored_bytes, state FROM raw.bodies SEMI JOIN wanted USING (digest) ORDER BY ALL"
    return (Body(*row) for row in _stream(database, sql, digests))


def named_sizes(database: Database, digests: Sequence[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield those of these digests that records name, and the least and the greatest size that they give."""
    return _stream(
        database,
        "SELECT body_digest, min(coalesce(body_size_bytes, 0)), max(coalesce(body_size_bytes, 0)) FROM raw.records"
        " SEMI JOIN wanted ON body_digest = digest GROUP BY body_digest",
        digests,
    )


def lost_digests(database: Database) -> Iterator[bytes]:
    """Yield the bodies that the ledger has as lost and not as anything else."""
    sql = "SELECT digest FROM raw.bodies GROUP BY digest HAVING bool_and(state = 'lost') ORDER BY digest"
    return (digest for (digest,) in _stream(database, sql))


def _stream(database: Database, sql: str, wanted: Sequence[bytes] | None = None) -> Iterator[Any]:
    with translated("checking rows and ledger"), database.reading() as cursor:
        if wanted is not None:
            digests = arrow.Array(list(wanted), type=arrow.DataType.binary())
            cursor.register("wanted", arrow.Table.from_pydict({"digest": digests}))
        cursor.execute(sql)
        while rows := cursor.fetchmany(10_000):
            yield from rows
