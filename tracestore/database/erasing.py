"""Rows taken out for good, by what they belong to."""

from typing import Literal

from tracestore.database.connection import Database
from tracestore.database.rows import column_text

Belonging = Literal["turn_id", "conversation_id"]


def erase_rows(database: Database, belonging: Belonging, value: str) -> tuple[int, set[bytes]]:
    """Delete the rows of a turn or a conversation; returns how many, and the bodies they named."""
    wanted = [column_text(value)]
    with database.writing() as cursor:
        named = cursor.execute(
            f"SELECT DISTINCT body_digest FROM raw.records WHERE {belonging} = ? AND body_digest IS NOT NULL", wanted
        ).fetchall()
        row = cursor.execute(f"DELETE FROM raw.records WHERE {belonging} = ?", wanted).fetchone()
    return int(row[0]) if row else 0, {digest for (digest,) in named}
