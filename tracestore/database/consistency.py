"""Questions of verify: do rows and ledger agree?"""

from collections.abc import Iterator
from typing import Any

from tracestore.database.connection import Database, translated


def totals(database: Database) -> tuple[int, int]:
    """Return how many records and how many ledger rows there are."""
    sql = "SELECT (SELECT count(*) FROM raw.records), (SELECT count(*) FROM raw.bodies)"
    records, bodies = next(_stream(database, sql))
    return int(records), int(bodies)


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
        "SELECT DISTINCT digest, r.body_size_bytes, b.size_bytes FROM raw.records r"
        " JOIN raw.bodies b ON r.body_digest = b.digest WHERE r.body_size_bytes IS DISTINCT FROM b.size_bytes"
    )
    return _stream(database, sql)


def present_bodies(database: Database) -> Iterator[tuple[bytes, int]]:
    """Yield digest and stored bytes of every body that should be there, in ascending order."""
    sql = (
        "SELECT digest, any_value(stored_bytes) FROM raw.bodies WHERE state = 'present' GROUP BY digest ORDER BY digest"
    )
    return _stream(database, sql)


def _stream(database: Database, sql: str) -> Iterator[Any]:
    with translated("checking rows and ledger"), database.reading() as cursor:
        cursor.execute(sql)
        while rows := cursor.fetchmany(10_000):
            yield from rows
