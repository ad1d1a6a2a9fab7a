"""Which bodies belong together, and how old they are: what packing asks."""

from collections.abc import Sequence
from typing import TypeAlias

from tracestore.database.connection import Database, translated
from tracestore.database.retention import AGE, digest_table

Belonging: TypeAlias = tuple[bytes, str, int]
"""Digest, conversation or else turn, day on which that was used last (days since 1970)."""

_DAY_NS = 86_400 * 10**9


def belongings(database: Database, digests: Sequence[bytes], inserted_before_ns: int | None = None) -> list[Belonging]:
    """Return what is known of these bodies, conversation by conversation.

    The largest bodies come first, each followed by the others of its span: a response by its request.

    Bodies that no record names are left out, and those named by one that was inserted later than told.
    """
    if not digests:
        return []
    before = "" if inserted_before_ns is None else f" HAVING max(inserted_at) < make_timestamp_ns({inserted_before_ns})"
    with translated("looking what belongs together"), database.reading() as cursor:
        cursor.register("chosen", digest_table(digests))
        cursor.execute(
            "WITH used AS (SELECT body_digest, max(body_size_bytes) AS size_bytes,"
            f" max(epoch_ns({AGE})) // {_DAY_NS} AS day,"
            " arg_max(coalesce(conversation_id, turn_id, ''), timestamp) AS conversation,"
            " arg_max(coalesce(span_id, ''), timestamp) AS span"
            f" FROM raw.records SEMI JOIN chosen ON body_digest = digest GROUP BY body_digest{before})"
            " SELECT body_digest, conversation, max(day) OVER (PARTITION BY conversation) AS last_day"
            " FROM used ORDER BY conversation, last_day, max(size_bytes) OVER (PARTITION BY conversation, span) DESC,"
            " span, size_bytes DESC, body_digest"
        )
        return cursor.fetchall()
