"""Which bodies belong together, and how old they are: what packing asks."""

from collections.abc import Sequence
from typing import TypeAlias

from tracestore.database.connection import Database, translated
from tracestore.database.retention import AGE, digest_table

Belonging: TypeAlias = tuple[bytes, int, str]
"""Digest, day of its last use (days since 1970), conversation, or turn where there is none."""

_DAY_NS = 86_400 * 10**9


def belongings(database: Database, digests: Sequence[bytes], inserted_before_ns: int | None = None) -> list[Belonging]:
    """Return what is known of these bodies: by day, conversation and size, the largest first.

    Bodies that no record names are left out, and those named by one that was inserted later than told.
    """
    if not digests:
        return []
    before = "" if inserted_before_ns is None else f" HAVING max(inserted_at) < make_timestamp_ns({inserted_before_ns})"
    with translated("looking what belongs together"), database.reading() as cursor:
        cursor.register("chosen", digest_table(digests))
        cursor.execute(
            f"SELECT body_digest, max(epoch_ns({AGE})) // {_DAY_NS} AS day,"
            " arg_max(coalesce(conversation_id, turn_id, ''), timestamp) AS conversation"
            " FROM raw.records SEMI JOIN chosen ON body_digest = digest"
            f" GROUP BY body_digest{before} ORDER BY day, conversation, max(body_size_bytes) DESC, body_digest"
        )
        return cursor.fetchall()
