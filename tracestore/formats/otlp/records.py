"""What spans, events and logs have in common on their way to a record."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from tracestore.errors import InputInvalid
from tracestore.formats.otlp.content import Sides, folded, side_of_ref
from tracestore.formats.otlp.signals import Scope
from tracestore.record import milliseconds_of
from tracestore.record.attributes import Flat, Members, is_long, put, with_attributes

ReadRef: TypeAlias = Callable[[str], bytes | None]

_CONVERSATION = ("gen_ai.conversation.id", "session.id", "conversation.id")
_TIME_LIMIT_NS = 2**63
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


class Shared:
    """Resource and scope of a request's signals as attributes, worked out once for each scope."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Scope, Flat]] = {}

    def add_to(self, about: Flat, scope: Scope) -> None:
        """Add ``resource.*`` and ``scope.*``."""
        known = self._known.get(id(scope))
        if known is None:
            known = self._known[id(scope)] = scope, _of_scope(scope)  # the scope is held, or its id could be another's
        flat = known[1]
        for name, value in flat.attributes.items():
            put(about.attributes, name, value)
        about.spilled += flat.spilled


class Repeats:
    """Numbers what one request says twice: clocks of a millisecond make two events look like one."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], int] = {}

    def tell(self, record: Members) -> None:
        """Number a log that is the same as one before."""
        attributes: Members = record.get("attributes") or {}
        names = ("timestamp", "msg", "spanId", "turnId", "body")
        key = (*(record.get(name) for name in names), *attributes.items())
        times = self._seen[key] = self._seen.get(key, 0) + 1
        if times > 1:
            put(record.setdefault("attributes", attributes), "otlp.repeat", times)


def owner_of(scope: Scope, attributes: Members, time_ns: int, turn_id: str | None, span_id: str | None) -> Members:
    """Return what all records of one signal share."""
    extension_id = scope.name or short_text(scope.resource.attributes.get("service.name")) or "otlp"
    owner: Members = {"timestamp": milliseconds_of(time_ns), "extensionId": extension_id}
    for holder in (attributes, scope.resource.attributes):
        found = next((text for name in _CONVERSATION if (text := short_text(holder.get(name)))), None)
        if found:
            owner["conversationId"] = found
            break
    if turn_id:
        owner["turnId"] = turn_id
    if span_id:
        owner["spanId"] = span_id
    return owner


def with_body(record: Members, about: Flat, body: tuple[str | bytes, str] | None) -> list[Members]:
    """Return a record with attributes and body, and behind it a log for each text that became a body."""
    if body is not None:
        record["body"], names = body
        about.add("otlp.body", names)
    return with_attributes(record, about)


def with_both_bodies(record: Members, about: Flat, sides: Sides) -> list[Members]:
    """Return a log and, where it has both sides, a second one that carries the response."""
    request, response = folded(sides.request), folded(sides.response)
    if request is None or response is None:
        return with_body(record, about, request or response)
    return with_body(dict(record), about, request) + with_body(record, Flat(), response)


def follow_refs(sides: Sides, event: str, read_ref: ReadRef | None) -> None:
    """Add the content that references name; a reference stays an attribute, followed or not."""
    if read_ref is None:
        return
    for name, value in sides.rest.items():
        side = side_of_ref(name, event) if name.endswith("_ref") and isinstance(value, str) else None
        content = read_ref(value) if side else None
        if content is not None:
            (sides.request if side == "request" else sides.response)[name] = content


def add_said(about: Flat, facts: dict[str, str | int]) -> None:
    """Add the facts that were said: protobuf tells no absent text from an empty one, nor 0."""
    for name, value in facts.items():
        if value:
            about.add(name, value)


def is_trace_id(text: str) -> bool:
    """Tell whether this is a trace id, which is never all zero."""
    return _TRACE_ID.fullmatch(text) is not None


def is_span_id(text: str) -> bool:
    """Tell whether this is a span id, which is never all zero."""
    return _SPAN_ID.fullmatch(text) is not None


def is_time(time_ns: int) -> bool:
    """Tell whether a record can have this time; 0 is how OTLP says none."""
    return 0 < time_ns < _TIME_LIMIT_NS


def check_time(field: str, time_ns: int) -> None:
    """Refuse a time that no record can have."""
    if not is_time(time_ns):
        found = time_ns if -_TIME_LIMIT_NS < time_ns < 2 * _TIME_LIMIT_NS else "a larger number"
        raise InputInvalid(f"{field}: wanted nanoseconds since 1970, before the year 2262, found {found}")


def short_text(value: Any) -> str | None:
    """Return a text or an integer that can be an id, else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value and not is_long(value) else None


def _of_scope(scope: Scope) -> Flat:
    flat = Flat()
    for prefix, part in (("resource.", scope.resource), ("scope.", scope)):
        for name, value in part.attributes.items():
            flat.add(prefix + name, value)
        facts: dict[str, str | int] = {
            f"{prefix}schema_url": part.schema_url,
            f"{prefix}dropped_attributes": part.dropped_attributes,
        }
        add_said(flat, facts)
    add_said(flat, {"scope.name": scope.name, "scope.version": scope.version})
    return flat
