"""Signals to records: a span to `span-open` and `span-close`, its events and all logs to `log`.

The same request always gives the same records, so that a retry makes no second row: a record has
no id of its own, it is known by its content. What is content goes into bodies (`content.py`), what
is long into a `log` of its own (`attributes.py`), all else into attributes under its own name.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from tracestore.errors import InputInvalid
from tracestore.otlp.attributes import Flat, is_long, json_text
from tracestore.otlp.content import Sides, apart, folded, side_of_ref
from tracestore.otlp.signals import Event, Link, LogEntry, Scope, Span, put
from tracestore.record import Scalar, encode_line, milliseconds_of
from tracestore.record.limits import BODY_LIMIT_BYTES

ReadRef: TypeAlias = Callable[[str], bytes | None]
Members: TypeAlias = dict[str, Any]

_CONVERSATION = ("gen_ai.conversation.id", "session.id", "conversation.id")
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_OK, _STATUS_ERROR = 1, 2
_LEVELS = ((17, "error"), (13, "warn"), (9, "info"), (1, "debug"))
_TIME_LIMIT_NS = 2**63
_NS_PER_MS = 1_000_000
_MSG_CHARACTERS = 200
_REASONS_LIMIT = 10
_LINK_VALUES_LIMIT = 10_000
_SMALL = 1024 * 1024
"""Characters of a record that no escape can make longer than a line may be."""


class Mapped(msgspec.Struct, gc=False):
    """Records in the journal's JSON shape, how many signals were rejected, and the first reasons."""

    records: list[Members] = []
    rejected: int = 0
    reasons: list[str] = []

    def reject(self, reason: str) -> None:
        """Count one signal that cannot be kept."""
        self.rejected += 1
        if len(self.reasons) < _REASONS_LIMIT and reason not in self.reasons:
            self.reasons.append(reason)


def map_traces(spans: Iterable[Span], read_ref: ReadRef | None = None) -> Mapped:
    """Map spans; ``read_ref`` reads content that is elsewhere, and None leaves the reference alone."""
    mapped = Mapped()
    shared = _shared_by_scope()
    for span in spans:
        try:
            mapped.records += _checked(_of_span(span, shared(span.scope), read_ref))
        except InputInvalid as error:
            mapped.reject(str(error))
    return mapped


def map_logs(entries: Iterable[LogEntry], read_ref: ReadRef | None = None) -> Mapped:
    """Map log entries; ``read_ref`` as in `map_traces`."""
    mapped = Mapped()
    shared = _shared_by_scope()
    repeats: dict[tuple[Any, ...], int] = {}
    for entry in entries:
        try:
            records = _checked(_of_entry(entry, shared(entry.scope), read_ref))
        except InputInvalid as error:
            mapped.reject(str(error))
            continue
        _tell_repeat(records[0], repeats)
        mapped.records += records
    return mapped


def _of_span(span: Span, shared: Flat, read_ref: ReadRef | None) -> list[Members]:
    if span.problem:
        raise InputInvalid(span.problem)
    _check_id("traceId", span.trace_id, 32)
    _check_id("spanId", span.span_id, 16)
    if span.parent_span_id.strip("0"):
        _check_id("parentSpanId", span.parent_span_id, 16)
    _check_time("startTimeUnixNano", span.start_ns)
    if span.end_ns:
        _check_time("endTimeUnixNano", span.end_ns)
    owner = _owner(span.scope, span.attributes, span.start_ns, span.trace_id, span.span_id)
    sides = apart(span.attributes, span.name, span.scope.name)
    _follow_refs(sides, span.name, read_ref)
    half = {"name": span.name}
    if span.parent_span_id.strip("0"):
        half["parentSpanId"] = span.parent_span_id

    opening, closing = Flat(), Flat()
    about = closing if span.end_ns else opening  # a span that has not ended says all that it knows as it opens
    about.add_all(sides.rest)
    _add_facts_of_span(about, span)
    _add_shared(about, shared)
    links = _links(span.links, opening)

    open_record = {"kind": "span-open", **owner, **half} | ({"links": links} if links else {})
    records = _with_body(open_record, opening, folded(sides.request))
    owner = owner | {"timestamp": milliseconds_of(span.end_ns or span.start_ns)}
    answer = folded(sides.response)
    if span.end_ns:
        duration_ns = span.end_ns - span.start_ns
        whole_ms, rest_ns = divmod(duration_ns, _NS_PER_MS)
        close_record = {
            "kind": "span-close", **owner, **half,
            "durationMs": duration_ns / _NS_PER_MS if rest_ns else whole_ms,
            "status": "error" if span.status_code == _STATUS_ERROR else "ok",
        }  # fmt: skip
        records += _with_body(close_record, closing, answer)
    elif answer is not None:
        records += _with_body({"kind": "log", **owner, "level": "debug", "msg": span.name}, Flat(), answer)
    repeats: dict[tuple[Any, ...], int] = {}
    for event in span.events:
        of_event = _of_event(event, owner, span.scope.name, read_ref)
        _tell_repeat(of_event[0], repeats)
        records += of_event
    return records


def _of_event(event: Event, owner: Members, scope: str, read_ref: ReadRef | None) -> list[Members]:
    _check_time("events.timeUnixNano", event.time_ns)
    level = "error" if event.name == "exception" else "info"
    record = {"kind": "log", **owner, "timestamp": milliseconds_of(event.time_ns), "level": level, "msg": event.name}
    sides = apart(event.attributes, event.name, scope)
    about = Flat()
    about.add_all(sides.rest)
    if event.dropped_attributes:
        about.add("otlp.dropped_attributes", event.dropped_attributes)
    _follow_refs(sides, event.name, read_ref)
    return _with_both_bodies(record, about, sides)


def _of_entry(entry: LogEntry, shared: Flat, read_ref: ReadRef | None) -> list[Members]:
    if entry.problem:
        raise InputInvalid(entry.problem)
    time_ns = entry.time_ns or entry.observed_ns
    _check_time("timeUnixNano", time_ns)
    attributes, body = entry.attributes, entry.body
    told = attributes.get("event.name")
    event = entry.event_name or (body if _is_name(body) and isinstance(told, str) else told)
    event = event if isinstance(event, str) else ""
    turn_id = entry.trace_id if _is_id(entry.trace_id, 32) else _short_text(attributes.get("prompt.id"))
    owner = _owner(entry.scope, attributes, time_ns, turn_id, entry.span_id if _is_id(entry.span_id, 16) else None)
    sides = apart(attributes, event, entry.scope.name)
    _follow_refs(sides, event, read_ref)
    msg = event or (body if isinstance(body, str) and not is_long(body) else _first_line(body))
    if body is not None and body != msg:
        content = sides.response if event.endswith(("choice", "response_body")) else sides.request
        content["log.body"] = body
    about = Flat()
    about.add_all(sides.rest)
    _add_facts_of_entry(about, entry)
    _add_shared(about, shared)
    record = {"kind": "log", **owner, "level": _level(entry), "msg": msg}
    return _with_both_bodies(record, about, sides)


def _with_both_bodies(record: Members, about: Flat, sides: Sides) -> list[Members]:
    """Return a log and, where it has both sides, a second one that carries the response."""
    request, response = folded(sides.request), folded(sides.response)
    records = _with_body(record, about, response if request is None else request)
    if request is not None and response is not None:
        bare = {key: value for key, value in record.items() if key != "attributes"}
        records += _with_body(bare, Flat(), response)
    return records


def _with_body(record: Members, about: Flat, body: tuple[str | bytes, str] | None) -> list[Members]:
    """Return a record with attributes and body, and behind it a log for each text that became a body."""
    if body is not None:
        record["body"], names = body
        about.add("otlp.body", names)
    attributes = about.finished()
    if attributes:
        record["attributes"] = attributes
    owner = {key: record[key] for key in _OWNER_KEYS if key in record}
    return [record] + [
        {"kind": "log", **owner, "level": "debug", "msg": _first_line(name), "body": text}
        for name, text in about.spilled
    ]


_OWNER_KEYS = ("timestamp", "extensionId", "conversationId", "turnId", "spanId")


def _owner(
    scope: Scope, attributes: Members, time_ns: int, turn_id: str | None, span_id: str | None
) -> Members:
    """Return what all records of one signal share."""
    extension = scope.name or _short_text(scope.resource.attributes.get("service.name")) or "otlp"
    owner: Members = {"timestamp": milliseconds_of(time_ns), "extensionId": extension}
    for holder in (attributes, scope.resource.attributes):
        found = next((text for name in _CONVERSATION if (text := _short_text(holder.get(name)))), None)
        if found:
            owner["conversationId"] = found
            break
    if turn_id:
        owner["turnId"] = turn_id
    if span_id:
        owner["spanId"] = span_id
    return owner


def _add_facts_of_span(about: Flat, span: Span) -> None:
    if span.kind:
        about.add("otlp.kind", _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else span.kind)
    if span.status_code and span.status_code != _STATUS_ERROR:
        about.add("otlp.status", "ok" if span.status_code == _STATUS_OK else span.status_code)
    for name, value in (
        ("otlp.status_message", span.status_message),
        ("traceState", span.trace_state),
        ("otlp.flags", span.flags),
        ("otlp.dropped_attributes", span.dropped_attributes),
        ("otlp.dropped_events", span.dropped_events),
        ("otlp.dropped_links", span.dropped_links),
    ):
        if value:
            about.add(name, value)


def _add_facts_of_entry(about: Flat, entry: LogEntry) -> None:
    for name, value in (
        ("otlp.severity_number", entry.severity),
        ("otlp.severity_text", entry.severity_text),
        ("otlp.observed_ns", entry.observed_ns if entry.observed_ns != entry.time_ns and entry.time_ns else 0),
        ("otlp.flags", entry.flags),
        ("otlp.dropped_attributes", entry.dropped_attributes),
        ("otlp.trace_id", "" if _is_id(entry.trace_id, 32) else entry.trace_id.strip("0") and entry.trace_id),
        ("otlp.span_id", "" if _is_id(entry.span_id, 16) else entry.span_id.strip("0") and entry.span_id),
    ):
        if value:
            about.add(name, value)


def _shared_by_scope() -> Callable[[Scope], Flat]:
    """Return resource and scope of a request's signals as attributes, worked out once for each scope."""
    known: dict[int, Flat] = {}

    def shared(scope: Scope) -> Flat:
        found = known.get(id(scope))
        if found is None:
            found = known[id(scope)] = _of_scope(scope)
        return found

    return shared


def _of_scope(scope: Scope) -> Flat:
    flat = Flat()
    for prefix, part in (("resource.", scope.resource), ("scope.", scope)):
        for name, value in part.attributes.items():
            flat.add(prefix + name, value)
        if part.schema_url:
            flat.add(prefix + "schema_url", part.schema_url)
        if part.dropped_attributes:
            flat.add(prefix + "dropped_attributes", part.dropped_attributes)
    for name, value in (("scope.name", scope.name), ("scope.version", scope.version)):
        if value:
            flat.add(name, value)
    return flat


def _add_shared(about: Flat, shared: Flat) -> None:
    for name, value in shared.attributes.items():
        put(about.attributes, name, value)
    about.spilled += shared.spilled


def _links(links: list[Link], opening: Flat) -> list[dict[str, Scalar]]:
    """Return a record's links, whose attributes are theirs; too many for a line are a body."""
    found: list[dict[str, Scalar]] = []
    values = 0
    for index, link in enumerate(links):
        flat = Flat({"spanId": link.span_id, "turnId": link.trace_id}, opening.spilled)
        flat.add_all(link.attributes)
        for name, value in (
            ("traceState", link.trace_state),
            ("otlp.flags", link.flags),
            ("otlp.dropped_attributes", link.dropped_attributes),
        ):
            if value:
                flat.add(name, value)
        values += len(flat.attributes)
        if values > _LINK_VALUES_LIMIT:
            rest = [msgspec.to_builtins(link, builtin_types=(bytes,)) for link in links[index:]]
            opening.add("otlp.more_links", json_text(rest))
            break
        found.append(flat.attributes)
    return found


def _follow_refs(sides: Sides, event: str, read_ref: ReadRef | None) -> None:
    if read_ref is None:
        return
    for name, value in sides.rest.items():
        side = side_of_ref(name, event) if name.endswith("_ref") and isinstance(value, str) else None
        content = read_ref(value) if side else None
        if content is not None:
            (sides.request if side == "request" else sides.response)[name] = content


def _tell_repeat(record: Members, seen: dict[tuple[Any, ...], int]) -> None:
    """Number what the same request says again: clocks of a millisecond make different events look like one."""
    key = (record["timestamp"], record["msg"], record.get("spanId"), record.get("turnId"))
    seen[key] = seen.get(key, 0) + 1
    if seen[key] > 1:
        attributes = record.setdefault("attributes", {})
        put(attributes, "otlp.repeat", seen[key])


def _checked(records: list[Members]) -> list[Members]:
    """Refuse a signal of which a record would not fit into a line."""
    for record in records:
        body, attributes = record.get("body") or "", record.get("attributes") or ()
        characters = len(body) + len(record.get("name") or record.get("msg") or "") + len(record["extensionId"])
        if characters > _SMALL or len(attributes) > 200 or "links" in record:
            size_bytes = len(encode_line(record))
            if size_bytes > BODY_LIMIT_BYTES:
                raise InputInvalid(f"signal: wanted records of at most {BODY_LIMIT_BYTES} bytes, found {size_bytes}")
    return records


def _check_id(field: str, text: str, digits: int) -> None:
    if not _is_id(text, digits):
        raise InputInvalid(f"{field}: wanted {digits} hexadecimal digits, not all zero, found {text[:64]!r}")


def _is_id(text: str, digits: int) -> bool:
    if len(text) != digits or not text.strip("0"):
        return False
    try:
        bytes.fromhex(text)
    except ValueError:
        return False
    return True


def _check_time(field: str, time_ns: int) -> None:
    if not 0 < time_ns < _TIME_LIMIT_NS:
        raise InputInvalid(f"{field}: wanted nanoseconds since 1970, before the year 2262, found {time_ns:.20g}")


def _level(entry: LogEntry) -> str:
    severity = entry.severity or _severity_of(entry.severity_text)
    return next((level for lowest, level in _LEVELS if severity >= lowest), "info")


def _severity_of(text: str) -> int:
    names = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "warning": 13, "error": 17, "fatal": 21, "critical": 21}
    return names.get(text[:10].lower(), 0)


def _is_name(body: Any) -> bool:
    return isinstance(body, str) and 0 < len(body) <= _MSG_CHARACTERS and " " not in body and "\n" not in body


def _short_text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and value and not is_long(value) else None


def _first_line(body: Any) -> str:
    if body is None:
        return ""
    text = body if isinstance(body, str) else json_text(body, with_quotes=False)
    return text[:_MSG_CHARACTERS].split("\n")[0]
