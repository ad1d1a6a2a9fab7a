"""Which bodies belong together, and how old they are: what packing asks."""

from collections.abc import Sequence
from typing import TypeAlias

from tracestore.database.connection import Database
from tracestore.database.failures import translated
from tracestore.database.retention import AGE, digest_table

Belonging: TypeAlias = tuple[bytes, str, int]
"""Digest, conversation or else turn, day on which that was used last (days since 1970)."""

DAY_RAW_BYTES = 16 * 2**20
"""A day with as many bytes of bodies, a frame, comes by itself: retention then drops frames, where it would have to
compress each anew for the half that lives. In smaller days conversations of like names lie together, which is up to
a tenth smaller.
"""
_DAY_NS = 86_400 * 10**9


def belongings(database: Database, digests: Sequence[bytes], inserted_before_ns: int | None = None) -> list[Belonging]:
    """Return what is known of these bodies, full days apart, in each conversation by conversation.

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
            f" FROM raw.records SEMI JOIN chosen ON body_digest = digest GROUP BY body_digest{before}),"
            " dated AS (SELECT *, max(day) OVER (PARTITION BY conversation) AS last_day FROM used),"
            f" weighed AS (SELECT *, sum(size_bytes) OVER (PARTITION BY last_day) >= {DAY_RAW_BYTES} AS is_full"
            " FROM dated)"
            " SELECT body_digest, conversation, last_day FROM weighed ORDER BY CASE WHEN is_full THEN last_day END,"
            " conversation, max(size_bytes) OVER (PARTITION BY conversation, span) DESC,"
            " span, size_bytes DESC, body_digest"
        )
        return cursor.fetchall()
