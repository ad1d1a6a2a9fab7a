"""What an OTLP request holds, as plain Python: the same from protobuf and from JSON.

Ids are hexadecimal text, times nanoseconds since 1970 (0: not said). Attributes are dicts of str,
int, float, bool, bytes, list, dict and None. A span or log entry that could not be read has its
``problem`` set; the mapping counts it as rejected, and the others of its request are not lost.
"""

from typing import Any

import msgspec


class Resource(msgspec.Struct, gc=False):
    """What produced the signals: a service, a process."""

    attributes: dict[str, Any]
    dropped_attributes: int = 0
    schema_url: str = ""


class Scope(msgspec.Struct, gc=False):
    """The instrumentation that made the signals, within its resource."""

    resource: Resource
    name: str = ""
    version: str = ""
    attributes: dict[str, Any] = {}
    dropped_attributes: int = 0
    schema_url: str = ""


class Event(msgspec.Struct, gc=False):
    """Something that happened at one time of a span."""

    time_ns: int
    name: str
    attributes: dict[str, Any]
    dropped_attributes: int = 0


class Link(msgspec.Struct, gc=False):
    """A span elsewhere that this one has to do with."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    attributes: dict[str, Any] = {}
    dropped_attributes: int = 0
    flags: int = 0


class Span(msgspec.Struct, gc=False):
    """A timed unit of work."""

    scope: Scope
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    trace_state: str = ""
    name: str = ""
    kind: int = 0
    start_ns: int = 0
    end_ns: int = 0
    attributes: dict[str, Any] = {}
    events: list[Event] = []
    links: list[Link] = []
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0
    status_code: int = 0
    status_message: str = ""
    flags: int = 0
    problem: str = ""


class LogEntry(msgspec.Struct, gc=False):
    """A log record of OpenTelemetry; ``body`` is None where there is none."""

    scope: Scope
    time_ns: int = 0
    observed_ns: int = 0
    severity: int = 0
    severity_text: str = ""
    event_name: str = ""
    body: Any = None
    attributes: dict[str, Any] = {}
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0
    dropped_attributes: int = 0
    problem: str = ""
