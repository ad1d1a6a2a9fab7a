"""The three kinds of record, as an application makes them.

==============  =========================================================================
``log``         ``level`` (debug info warn error), ``msg``; ``spanId`` optional
``span-open``   ``spanId``, ``name``
``span-close``  ``spanId``, ``name``, ``durationMs``, ``status`` (ok error)
==============  =========================================================================

All have ``timestamp`` (milliseconds since the epoch, fractions down to the nanosecond) and
``extensionId``, and may have ``conversationId turnId parentSpanId attributes links body
bodyEncoding id``. ``attributes`` is flat: strings, numbers, booleans, null. ``links`` is a list
of ``{spanId, turnId?, reason?}``. ``body`` is text, or with ``"bodyEncoding":"base64"`` any
bytes. ``id`` is the producer's own name of the record.

JSON is camelCase, Python snake_case; this module is where one becomes the other.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool | None
Attributes: TypeAlias = dict[str, Scalar]

# Type checkers see what a caller may pass, msgspec what a line may hold: a line's fraction is read
# a second time as a Decimal (a union with Decimal would take text), its bytes are base64 text.
if TYPE_CHECKING:
    Milliseconds: TypeAlias = int | float | Decimal
    Body: TypeAlias = str | bytes
else:
    Milliseconds = int | float
    Body = str


class _Record(
    msgspec.Struct,
    kw_only=True,
    tag_field="kind",
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,  # thousands live through each batch, and walking them took a fifth of an ingest; none is in a cycle
):
    """What all three kinds share."""

    kind: ClassVar[str]
    if not TYPE_CHECKING:  # None where a kind has no such field: one getter then reads the columns of all three
        level: ClassVar[None] = None
        msg: ClassVar[None] = None
        span_id: ClassVar[None] = None
        name: ClassVar[None] = None
        duration_ms: ClassVar[None] = None
        status: ClassVar[None] = None
    timestamp: Milliseconds
    extension_id: str
    conversation_id: str | None = None
    turn_id: str | None = None
    parent_span_id: str | None = None
    attributes: Attributes | None = None
    links: list[Attributes] | None = None
    body: Body | None = None
    body_encoding: Literal["base64"] | None = None
    producer_id: str | None = msgspec.field(default=None, name="id")


class LogRecord(_Record, tag="log"):
    """One thing that happened at one time."""

    kind: ClassVar[str] = "log"
    level: Literal["debug", "info", "warn", "error"]
    msg: str
    span_id: str | None = None


class SpanOpen(_Record, tag="span-open"):
    """The beginning of a span, written at once, so that a crash leaves the truth."""

    kind: ClassVar[str] = "span-open"
    span_id: str
    name: str


class SpanClose(_Record, tag="span-close"):
    """The end of a span."""

    kind: ClassVar[str] = "span-close"
    span_id: str
    name: str
    duration_ms: int | float
    status: Literal["ok", "error"]


Record: TypeAlias = LogRecord | SpanOpen | SpanClose

KINDS: dict[str, type[Record]] = {"log": LogRecord, "span-open": SpanOpen, "span-close": SpanClose}

KEYS: dict[str, frozenset[str]] = {
    kind: frozenset(field.encode_name for field in msgspec.structs.fields(type_)) | {"kind"}
    for kind, type_ in KINDS.items()
}
"""The JSON keys that each kind knows; any other key of a line is kept as *extra*."""
