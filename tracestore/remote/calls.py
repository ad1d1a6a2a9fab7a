"""What can be asked of the process that holds a store: one object a call, sent as JSON.

A record travels as its fields, without a body; a list entry and a report as the fields of its class.
Items and results are written with `values` where they hold what JSON does not.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from tracestore.errors import InputInvalid
from tracestore.record import StoredRecord
from tracestore.remote.values import from_json, to_json


class _Call(msgspec.Struct, tag_field="call", forbid_unknown_fields=True):
    """What all calls share: a name."""


class Turn(_Call, tag="turn"):
    """Items: the records of a turn."""

    turn_id: str


class Span(_Call, tag="span"):
    """Items: the records of a span."""

    span_id: str


class OneRecord(_Call, tag="record"):
    """Result: a record, or None."""

    record_id: str


class BodyDigest(_Call, tag="body-digest"):
    """Result: the hexadecimal digest of a record's body, or None."""

    record_id: str


class BodyStateOf(_Call, tag="body-state"):
    """Result: what the ledger says of a body, or None."""

    digest: str


class Turns(_Call, tag="turns"):
    """Result: turns, newest first."""

    limit: int
    since: datetime | None
    status: str | None
    conversation_id: str | None


class Conversations(_Call, tag="conversations"):
    """Result: conversations, newest first; with ``ids`` these alone."""

    limit: int
    since: datetime | None = None
    status: str | None = None
    conversation_id: str | None = None
    ids: list[str] | None = None


class Body(_Call, tag="body"):
    """Result: the bytes of a body, or None."""

    id: str


class Bodies(_Call, tag="bodies"):
    """Items: digest, bytes or None, and what the ledger says, of every body asked for."""

    digests: list[str]


class Query(_Call, tag="query"):
    """Items: lists of rows. Result: columns, types, whether it was cut short."""

    sql: str
    max_rows: int | None = None
    max_bytes: int | None = None
    timeout_ms: int | None = None


class Schema(_Call, tag="schema"):
    """Result: view, column and type of what a query can name."""


class Stats(_Call, tag="stats"):
    """Result: counts and sizes."""


class Export(_Call, tag="export"):
    """Progress first: none of the planned records. Items: bytes, and counts so far of what was in them."""

    format: str
    bodies: bool
    since: datetime | None
    status: str | None
    conversation_id: str | None


class Verify(_Call, tag="verify"):
    """Result: a VerifyReport. Goes on showing progress; ends when nobody listens."""

    data: bool
    subset: str | None


class Prune(_Call, tag="prune"):
    """Result: a PruneSummary. Goes to its end, whoever listens."""

    max_age_ms: int | None
    max_total_body_bytes: int | None
    dry_run: bool
    force: bool


class Pack(_Call, tag="pack"):
    """Result: a PackReport. Ends at its next body when nobody listens."""

    grace_ms: int
    settled_ms: int


Call: TypeAlias = (
    Turn | Span | OneRecord | BodyDigest | BodyStateOf | Turns | Conversations | Body | Bodies
    | Query | Schema | Stats | Export | Verify | Prune | Pack
)  # fmt: skip


def encode_call(call: Call) -> bytes:
    """Return a call as it is sent; ASCII, so that any text passes."""
    return json.dumps(msgspec.to_builtins(call)).encode()


def decode_call(data: bytes) -> Call:
    """Read a call, or raise InputInvalid."""
    try:
        call: Call = msgspec.convert(json.loads(data), Call)
    except (ValueError, RecursionError) as error:  # msgspec.ValidationError is a ValueError
        raise InputInvalid(f"wanted a call of `tracestore.remote.calls`, found {error}") from error
    return call


def record_members(record: StoredRecord) -> Mapping[str, Any]:
    """Return a record without its body, ready for JSON."""
    members = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "body"}
    written: Mapping[str, Any] = to_json(members)
    return written


def record_of(members: Mapping[str, Any]) -> StoredRecord:
    """Return the record that was sent."""
    return StoredRecord(**from_json(members))
