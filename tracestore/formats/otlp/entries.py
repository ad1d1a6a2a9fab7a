"""One log entry to its records: a `log`, and a second one where it holds both sides of a call."""

from typing import Any

from tracestore.errors import InputInvalid
from tracestore.formats.otlp.content import apart, side_of_body
from tracestore.formats.otlp.records import (
    ReadRef,
    Shared,
    add_said,
    check_time,
    follow_refs,
    is_span_id,
    is_trace_id,
    owner_of,
    short_text,
    with_both_bodies,
)
from tracestore.formats.otlp.signals import LogEntry
from tracestore.record.attributes import Flat, Members, first_line, is_long

_LEVELS = ((17, "error"), (13, "warn"), (9, "info"), (1, "debug"))
_SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "warning": 13, "error": 17, "fatal": 21, "critical": 21}
BODY = "log.body"
"""What the body of a log entry is called beside other content."""


def of_entry(entry: LogEntry, shared: Shared, read_ref: ReadRef | None) -> list[Members]:
    """Return the records of a log entry; InputInvalid where it has no time."""
    if entry.problem:
        raise InputInvalid(entry.problem)
    time_ns = entry.time_ns or entry.observed_ns
    check_time("timeUnixNano", time_ns)
    event, body = _event_name(entry), entry.body
    turn_id = entry.trace_id if is_trace_id(entry.trace_id) else short_text(entry.attributes.get("prompt.id"))
    span_id = entry.span_id if is_span_id(entry.span_id) else None
    owner = owner_of(entry.scope, entry.attributes, time_ns, turn_id, span_id)
    sides = apart(entry.attributes, event, entry.scope.name)
    follow_refs(sides, event, read_ref)
    msg = event or (body if isinstance(body, str) and not is_long(body) else first_line(body))
    if body is not None and body != msg:
        (sides.request if side_of_body(event) == "request" else sides.response)[BODY] = body
    about = Flat()
    about.add_all(sides.rest)
    _add_facts(about, entry)
    shared.add_to(about, entry.scope)
    return with_both_bodies({"kind": "log", **owner, "level": _level(entry), "msg": msg}, about, sides)


def _event_name(entry: LogEntry) -> str:
    """Return the event's name; Claude Code says the whole of it as the body, and its end as an attribute."""
    told: Any = entry.event_name or entry.attributes.get("event.name")
    if not isinstance(told, str) or is_long(told):
        return ""
    if told and isinstance(entry.body, str) and entry.body.endswith(f".{told}") and not is_long(entry.body):
        return entry.body
    return told


def _add_facts(about: Flat, entry: LogEntry) -> None:
    facts: dict[str, str | int] = {
        "otlp.severity_number": entry.severity,
        "otlp.severity_text": entry.severity_text,
        "otlp.flags": entry.flags,
        "otlp.dropped_attributes": entry.dropped_attributes,
    }
    if entry.time_ns and entry.observed_ns != entry.time_ns:
        facts["otlp.observed_ns"] = str(entry.observed_ns) if entry.observed_ns else ""
    if not is_trace_id(entry.trace_id) and entry.trace_id.strip("0"):
        facts["otlp.trace_id"] = entry.trace_id
    if not is_span_id(entry.span_id) and entry.span_id.strip("0"):
        facts["otlp.span_id"] = entry.span_id
    add_said(about, facts)


def _level(entry: LogEntry) -> str:
    severity = entry.severity or _SEVERITIES.get(entry.severity_text[:10].lower(), 0)
    return next((level for lowest, level in _LEVELS if severity >= lowest), "info")
