"""One span to its records: opening with the request, closing with the response, its events as logs."""

from typing import Any

import msgspec

from tracestore.errors import InputInvalid
from tracestore.formats.otlp.content import apart, folded
from tracestore.formats.otlp.records import (
    ReadRef,
    Repeats,
    Shared,
    add_said,
    check_time,
    follow_refs,
    is_span_id,
    is_time,
    is_trace_id,
    owner_of,
    with_body,
    with_both_bodies,
)
from tracestore.formats.otlp.signals import Event, Link, Span
from tracestore.record import NS_PER_MS, Scalar, milliseconds_of
from tracestore.record.attributes import Flat, Members, json_text

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS = ("unset", "ok", "error")
_STATUS_ERROR = 2
_LINK_VALUES_LIMIT = 10_000
_ID_SHOWN = 64


def of_span(span: Span, shared: Shared, read_ref: ReadRef | None) -> list[Members]:
    """Return the records of a span; InputInvalid where it has no id or no time.

    Attributes are on the `span-close`. A span without an end has none, and all it knows is on the
    `span-open`.
    """
    _check(span)
    owner = owner_of(span.scope, span.attributes, span.start_ns, span.trace_id, span.span_id)
    sides = apart(span.attributes, span.name, span.scope.name)
    follow_refs(sides, span.name, read_ref)
    half = {"name": span.name} | ({"parentSpanId": span.parent_span_id} if span.parent_span_id.strip("0") else {})

    opening, closing = Flat(), Flat()
    about = closing if span.end_ns else opening
    about.add_all(sides.rest)
    _add_facts(about, span)
    shared.add_to(about, span.scope)

    links = _links(span.links, opening)
    open_record = {"kind": "span-open", **owner, **half} | ({"links": links} if links else {})
    records = with_body(open_record, opening, folded(sides.request))
    answer = folded(sides.response)
    if span.end_ns:
        owner = owner | {"timestamp": milliseconds_of(span.end_ns)}
        records += with_body({"kind": "span-close", **owner, **half, **_outcome(span)}, closing, answer)
    elif answer is not None:
        records += with_body({"kind": "log", **owner, "level": "debug", "msg": span.name}, Flat(), answer)
    repeats = Repeats()
    for event in span.events:
        of_event = _of_event(event, owner, span, read_ref)
        repeats.tell(of_event[0])
        records += of_event
    return records


def _check(span: Span) -> None:
    if span.problem:
        raise InputInvalid(span.problem)
    _check_id("traceId", span.trace_id, "32", is_trace_id(span.trace_id))
    _check_id("spanId", span.span_id, "16", is_span_id(span.span_id))
    parent_id = span.parent_span_id
    _check_id("parentSpanId", parent_id, "no or 16", not parent_id.strip("0") or is_span_id(parent_id))
    check_time("startTimeUnixNano", span.start_ns)
    if span.end_ns:
        check_time("endTimeUnixNano", span.end_ns)


def _check_id(field: str, found: str, digits: str, is_right: bool) -> None:
    if not is_right:
        raise InputInvalid(f"{field}: wanted {digits} hexadecimal digits, not all zero, found {found[:_ID_SHOWN]!r}")


def _outcome(span: Span) -> Members:
    duration_ns = span.end_ns - span.start_ns
    return {
        "durationMs": duration_ns / NS_PER_MS if duration_ns % NS_PER_MS else duration_ns // NS_PER_MS,
        "status": "error" if span.status_code == _STATUS_ERROR else "ok",
    }


def _add_facts(about: Flat, span: Span) -> None:
    add_said(about, {
        "otlp.kind": _named(span.kind, _KINDS) if span.kind else "",
        "otlp.status": _named(span.status_code, _STATUS) if span.status_code else "",
        "otlp.status_message": span.status_message,
        "traceState": span.trace_state,
        "otlp.flags": span.flags,
        "otlp.dropped_attributes": span.dropped_attributes,
        "otlp.dropped_events": span.dropped_events,
        "otlp.dropped_links": span.dropped_links,
    })  # fmt: skip


def _named(number: int, names: tuple[str, ...]) -> str | int:
    return names[number] if 0 <= number < len(names) else number


def _of_event(event: Event, owner: Members, span: Span, read_ref: ReadRef | None) -> list[Members]:
    """Return the log of an event; one without a time happened by the end of its span."""
    level = "error" if event.name == "exception" else "info"
    record: dict[str, Any] = {"kind": "log", **owner, "level": level, "msg": event.name}
    about = Flat()
    sides = apart(event.attributes, event.name, span.name, span.scope.name)
    about.add_all(sides.rest)
    if is_time(event.time_ns):
        record["timestamp"] = milliseconds_of(event.time_ns)
    elif event.time_ns:
        about.add("otlp.time_ns", str(event.time_ns))
    add_said(about, {"otlp.dropped_attributes": event.dropped_attributes})
    follow_refs(sides, event.name, read_ref)
    return with_both_bodies(record, about, sides)


def _links(links: list[Link], opening: Flat) -> list[dict[str, Scalar]]:
    """Return a record's links, each with its attributes beside the ids; too many for a line are a body."""
    found: list[dict[str, Scalar]] = []
    values = 0
    for index, link in enumerate(links):
        flat = Flat({"spanId": link.span_id, "turnId": link.trace_id}, opening.spilled)
        flat.add_all(link.attributes)
        facts: dict[str, str | int] = {
            "traceState": link.trace_state,
            "otlp.flags": link.flags,
            "otlp.dropped_attributes": link.dropped_attributes,
        }
        add_said(flat, facts)
        values += len(flat.attributes)
        if values > _LINK_VALUES_LIMIT:
            rest = json_text([msgspec.structs.asdict(link) for link in links[index:]])
            opening.attributes["otlp.more_links"] = opening.spill("otlp.more_links", rest)
            break
        found.append(flat.attributes)
    return found
