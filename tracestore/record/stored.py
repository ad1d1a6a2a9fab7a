"""A record as it comes back out of the store: one flat value for all three kinds."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from tracestore.record.kinds import Attributes

BodyState = Literal["present", "evicted", "lost"]


@dataclass(slots=True, kw_only=True)
class StoredRecord:
    """One row, with the body beside it where it was asked for.

    Fields that a kind does not have are None. ``body`` is text, or bytes where it is not text; it
    is None when the record has none, when it was not asked for, and when it is gone: ``body_state``
    is None without a body, else ``present``, ``evicted`` (the byte cap) or ``lost`` (damage).
    """

    record_id: str
    kind: Literal["log", "span-open", "span-close"]
    timestamp_ns: int
    timestamp: int | Decimal
    extension_id: str
    conversation_id: str | None = None
    turn_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    level: Literal["debug", "info", "warn", "error"] | None = None
    msg: str | None = None
    duration_ms: int | float | None = None
    status: Literal["ok", "error"] | None = None
    attributes: Attributes | None = None
    links: list[Attributes] | None = None
    producer_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    body: str | bytes | None = None
    body_state: BodyState | None = None
    body_digest: str | None = None
    body_size_bytes: int | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the record in the journal's JSON shape, as its producer wrote it."""
        members = {
            "kind": self.kind,
            "timestamp": self.timestamp,
            "extensionId": self.extension_id,
            "conversationId": self.conversation_id,
            "turnId": self.turn_id,
            "level": self.level,
            "msg": self.msg,
            "spanId": self.span_id,
            "name": self.name,
            "durationMs": self.duration_ms,
            "status": self.status,
            "parentSpanId": self.parent_span_id,
            "attributes": self.attributes,
            "links": self.links,
            "body": self.body,
            "id": self.producer_id,
        }
        return {key: value for key, value in members.items() if value is not None} | self.extra
