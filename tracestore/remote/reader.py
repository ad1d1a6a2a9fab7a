"""Lists, spans and single records of a store that another process holds; see `database.reader`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tracestore.database.answers import Listed
from tracestore.record import BodyState, StoredRecord
from tracestore.remote import calls
from tracestore.remote.calls import record_of
from tracestore.remote.client import Client


class RemoteReader:
    """The methods of `database.reader.Reader` that reading commands use."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def turn(self, turn_id: str) -> list[StoredRecord]:
        """Return a turn's records by time, then in order of insertion; empty when it is unknown."""
        return [record_of(item) for item in self._client.items(calls.Turn(turn_id))]

    def span(self, span_id: str) -> list[StoredRecord]:
        """Return all records that name a span as their own."""
        return [record_of(item) for item in self._client.items(calls.Span(span_id))]

    def record(self, record_id: UUID) -> StoredRecord | None:
        """Return one record, or None."""
        found = self._client.result(calls.OneRecord(str(record_id)))
        return None if found is None else record_of(found)

    def body_digest(self, record_id: UUID) -> bytes | None:
        """Return the digest of a record's body; None without a body, and for an unknown record."""
        found: str | None = self._client.result(calls.BodyDigest(str(record_id)))
        return None if found is None else bytes.fromhex(found)

    def body_state(self, digest: bytes) -> BodyState | None:
        """Return what the ledger says of a body, or None when it never heard of it."""
        state: BodyState | None = self._client.result(calls.BodyStateOf(digest.hex()))
        return state

    def turns(
        self, limit: int, *, since: datetime | None, status: str | None, conversation_id: str | None
    ) -> list[Listed]:
        """Return turns, newest first."""
        return _listed(self._client.result(calls.Turns(limit, since, status, conversation_id)))

    def conversations(
        self, limit: int, *, since: datetime | None, status: str | None, conversation_id: str | None
    ) -> list[Listed]:
        """Return conversations, newest first."""
        return _listed(self._client.result(calls.Conversations(limit, since, status, conversation_id)))

    def conversations_of(self, ids: Sequence[str]) -> list[Listed]:
        """Return the conversations with these ids, newest first."""
        return _listed(self._client.result(calls.Conversations(len(ids), ids=list(ids)))) if ids else []


def _listed(found: Any) -> list[Listed]:
    return msgspec.convert(found, list[Listed])
