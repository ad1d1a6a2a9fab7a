"""What repair changes in rows and ledger, a transaction at a time."""

from collections.abc import Sequence

import arro3.core as arrow

from tracestore.database.connection import Database
from tracestore.database.writer import Body

BODIES_AT_ONCE = 10_000


def put_ledger_rows(database: Database, bodies: Sequence[Body]) -> None:
    """Let the ledger have exactly one row of each of these bodies, this one, and their records its size."""
    for start in range(0, len(bodies), BODIES_AT_ONCE):
        with database.writing() as cursor:
            cursor.register("mended", _table(bodies[start : start + BODIES_AT_ONCE]))
            cursor.execute("DELETE FROM raw.bodies WHERE digest IN (SELECT digest FROM mended)")
            cursor.execute("INSERT INTO raw.bodies SELECT digest, size_bytes, stored_bytes, state FROM mended")
            cursor.execute(
                "UPDATE raw.records SET body_size_bytes = m.size_bytes FROM mended m"
                " WHERE body_digest = m.digest AND body_size_bytes IS DISTINCT FROM m.size_bytes"
            )
            cursor.unregister("mended")


def _table(bodies: Sequence[Body]) -> arrow.Table:
    integer = arrow.DataType.int64()
    return arrow.Table.from_pydict(
        {
            "digest": arrow.Array([body.digest for body in bodies], type=arrow.DataType.binary()),
            "size_bytes": arrow.Array([body.size_bytes for body in bodies], type=integer),
            "stored_bytes": arrow.Array([body.stored_bytes for body in bodies], type=integer),
            "state": arrow.Array([body.state for body in bodies], type=arrow.DataType.string()),
        }
    )
