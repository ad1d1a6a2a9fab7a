"""What a store answers, as JSON members and sentences: the command line and the server write the same."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, ClassVar, Protocol

from tracestore.record import BodyState, StoredRecord
from tracestore.views.values import utc_text, utc_text_of_ns

ABOUT_VIEWS = {
    "records": "one row a record, as it was written; attributes, links and extra are JSON",
    "bodies": "one row a body, however often it was sent; state is present, evicted or lost",
    "spans": "open and close joined; status is ok, error or open",
    "requests": "spans that name a model: provider calls, with tokens and the digests of both bodies",
    "turns": "one row a turn; status is error, open or ok",
    "conversations": "one row a conversation, summed over its turns",
}


class ListedLike(Protocol):
    """An entry of a list: a dataclass with its times in UTC."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def started_at(self) -> datetime:
        """When it began."""

    @property
    def ended_at(self) -> datetime:
        """When it ended, as far as it is known."""


def listed_members(listed: ListedLike) -> dict[str, Any]:
    """Return an entry of a list by name, its times as ISO 8601."""
    times = {"started_at": utc_text(listed.started_at), "ended_at": utc_text(listed.ended_at)}
    return asdict(listed) | times


def record_members(record: StoredRecord, *, with_body: bool) -> dict[str, Any]:
    """Return a record's fields by name, the time also for people; bytes that are no text as base64."""
    members: dict[str, Any] = {"time": utc_text_of_ns(record.timestamp_ns)}
    members |= {field.name: getattr(record, field.name) for field in fields(record) if field.name != "body"}
    if with_body and isinstance(record.body, bytes):
        members |= {"body": base64.b64encode(record.body).decode(), "body_encoding": "base64"}
    elif with_body:
        members["body"] = record.body
    return members


def schema_members(schema: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return each view with what it is about, and the type of each of its columns."""
    views: dict[str, dict[str, str]] = {}
    for view, column, type_ in schema:
        views.setdefault(view, {})[column] = type_
    return [{"view": view, "about": ABOUT_VIEWS[view], "columns": columns} for view, columns in views.items()]


def stats_members(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a store, their times as ISO 8601."""
    times = {key: stats[key].replace(" ", "T") + "Z" for key in ("oldest", "newest") if stats[key] is not None}
    return {**stats, **times}


def gone_text(digest: str, state: BodyState | None) -> str:
    """Say why a body is not there, by what the ledger knows of it."""
    if state == "evicted":
        return f"the body {digest} was evicted to keep under the byte cap; its records are still there"
    if state is None:
        return f"no body {digest}"
    return f"the body {digest} is lost: its file is gone; tracestore verify shows what else is"
