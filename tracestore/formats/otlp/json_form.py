"""OTLP's JSON form to signals: hexadecimal ids, enums as numbers or names, large integers as text.

Field names may be in camelCase or snake_case, unknown ones are ignored, and null is absent. A span
or log entry of wrong types does not cost the others: it comes back with its ``problem`` said.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from tracestore.errors import InputInvalid
from tracestore.formats.otlp.signals import Event, Link, LogEntry, Resource, Scope, Span
from tracestore.formats.otlp.weight import check_json
from tracestore.record.attributes import put

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_ENUMS: dict[str, int] = {
    **{f"SPAN_KIND_{name}": number for number, name in enumerate(_KINDS)},
    **{f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))},
    "SEVERITY_NUMBER_UNSPECIFIED": 0,
    **{
        f"SEVERITY_NUMBER_{name}{step or ''}": 1 + 4 * number + max(0, step - 1)
        for number, name in enumerate(_SEVERITIES)
        for step in (0, 2, 3, 4)
    },
}
_METRIC_FORMS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_DEPTH_LIMIT = 64
"""Levels of an attribute's value; protobuf ends at 100 levels of messages, two or three for each of these."""
_INT64_LIMIT = 2**63

_Signal = TypeVar("_Signal", Span, LogEntry)
Members = dict[str, Any]


def traces(data: bytes) -> list[Span]:
    """Read an ExportTraceServiceRequest; InputInvalid where it is none."""
    return _signals(data, "resourceSpans", "scopeSpans", "spans", _span, Span)


def logs(data: bytes) -> list[LogEntry]:
    """Read an ExportLogsServiceRequest; InputInvalid where it is none."""
    return _signals(data, "resourceLogs", "scopeLogs", "logRecords", _log_entry, LogEntry)


def metric_points(data: bytes) -> int:
    """Count the data points of an ExportMetricsServiceRequest; InputInvalid where it is none."""
    points = 0
    for of_resource in _objects(_request(data), "resourceMetrics"):
        for of_scope in _objects(of_resource, "scopeMetrics"):
            for metric in _objects(of_scope, "metrics"):
                points += sum(len(_objects(_object(metric, form), "dataPoints")) for form in _METRIC_FORMS)
    return points


def _signals(
    data: bytes, of_resources: str, of_scopes: str, name: str,
    read: Callable[[Scope, Members], _Signal], signal: type[_Signal],
) -> list[_Signal]:  # fmt: skip
    found: list[_Signal] = []
    for scope, members in _scopes(_request(data), of_resources, of_scopes):
        items = _get(members, name)
        if items is not None and not isinstance(items, list):
            raise InputInvalid(f"{name}: wanted a list, found {type(items).__name__}")
        for item in items or ():
            try:
                if not isinstance(item, dict):
                    raise InputInvalid(f"{name}: wanted objects, found {type(item).__name__}")
                found.append(read(scope, item))
            except InputInvalid as error:
                found.append(signal(scope=scope, problem=str(error)))
    return found


def _scopes(request: Members, of_resources: str, of_scopes: str) -> Iterator[tuple[Scope, Members]]:
    for of_resource in _objects(request, of_resources):
        members = _object(of_resource, "resource")
        resource = Resource(
            _attributes(members), _integer(members, "droppedAttributesCount"), _text(of_resource, "schemaUrl")
        )
        for of_scope in _objects(of_resource, of_scopes):
            members = _object(of_scope, "scope")
            yield Scope(
                resource, _text(members, "name"), _text(members, "version"), _attributes(members),
                _integer(members, "droppedAttributesCount"), _text(of_scope, "schemaUrl"),
            ), of_scope  # fmt: skip


def _span(scope: Scope, members: Members) -> Span:
    status = _object(members, "status")
    return Span(
        scope=scope,
        trace_id=_text(members, "traceId").lower(),
        span_id=_text(members, "spanId").lower(),
        parent_span_id=_text(members, "parentSpanId").lower(),
        trace_state=_text(members, "traceState"),
        name=_text(members, "name"),
        kind=_integer(members, "kind"),
        start_ns=_integer(members, "startTimeUnixNano"),
        end_ns=_integer(members, "endTimeUnixNano"),
        attributes=_attributes(members),
        events=[
            Event(
                _integer(event, "timeUnixNano"), _text(event, "name"), _attributes(event),
                _integer(event, "droppedAttributesCount"),
            )
            for event in _objects(members, "events")
        ],
        links=[
            Link(
                _text(link, "traceId").lower(), _text(link, "spanId").lower(), _text(link, "traceState"),
                _attributes(link), _integer(link, "droppedAttributesCount"), _integer(link, "flags"),
            )
            for link in _objects(members, "links")
        ],
        dropped_attributes=_integer(members, "droppedAttributesCount"),
        dropped_events=_integer(members, "droppedEventsCount"),
        dropped_links=_integer(members, "droppedLinksCount"),
        status_code=_integer(status, "code"),
        status_message=_text(status, "message"),
        flags=_integer(members, "flags"),
    )  # fmt: skip


def _log_entry(scope: Scope, members: Members) -> LogEntry:
    return LogEntry(
        scope=scope,
        time_ns=_integer(members, "timeUnixNano"),
        observed_ns=_integer(members, "observedTimeUnixNano"),
        severity=_integer(members, "severityNumber"),
        severity_text=_text(members, "severityText"),
        event_name=_text(members, "eventName"),
        body=_value(_object(members, "body"), _DEPTH_LIMIT),
        attributes=_attributes(members),
        trace_id=_text(members, "traceId").lower(),
        span_id=_text(members, "spanId").lower(),
        flags=_integer(members, "flags"),
        dropped_attributes=_integer(members, "droppedAttributesCount"),
    )


def _attributes(members: Members, field: str = "attributes", levels: int = _DEPTH_LIMIT) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in _objects(members, field):
        name, value = pair.get("key"), pair.get("value")
        name = name if isinstance(name, str) else _text(pair, "key")
        value = _value(value if isinstance(value, dict) else _object(pair, "value"), levels)
        if name in found:
            put(found, name, value)
        else:
            found[name] = value
    return found


def _value(members: Members, levels: int) -> Any:
    text = members.get("stringValue")  # what most values are
    if isinstance(text, str):
        return text
    if not levels:
        raise InputInvalid(f"value: wanted at most {_DEPTH_LIMIT} levels of nesting, found more")
    for form, read in _FORMS.items():
        value = _get(members, form)
        if value is not None:
            return read(value, members, levels)
    return None


def _int_value(value: Any, members: Members, levels: int) -> int | str:
    number = _integer(members, "intValue")
    return number if -_INT64_LIMIT <= number < _INT64_LIMIT else str(value)


def _double_value(value: Any, members: Members, levels: int) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError) as error:
            raise InputInvalid(f"doubleValue: wanted a number, found {error}") from error
    raise InputInvalid(f"doubleValue: wanted a number, found {type(value).__name__}")


def _bool_value(value: Any, members: Members, levels: int) -> bool:
    if isinstance(value, bool):
        return value
    raise InputInvalid(f"boolValue: wanted true or false, found {type(value).__name__}")


def _bytes_value(value: Any, members: Members, levels: int) -> bytes:
    text = _text(members, "bytesValue").rstrip("=").translate(_URL_SAFE_TO_PLAIN)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputInvalid(f"bytesValue: wanted base64, found {error}") from error


def _array_value(value: Any, members: Members, levels: int) -> list[Any]:
    return [_value(item, levels - 1) for item in _objects(_object(members, "arrayValue"), "values")]


def _kvlist_value(value: Any, members: Members, levels: int) -> dict[str, Any]:
    return _attributes(_object(members, "kvlistValue"), "values", levels - 1)


_URL_SAFE_TO_PLAIN = str.maketrans("-_", "+/")
_FORMS: dict[str, Callable[[Any, Members, int], Any]] = {
    "stringValue": lambda value, members, levels: _text(members, "stringValue"),
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "arrayValue": _array_value,
    "kvlistValue": _kvlist_value,
    "bytesValue": _bytes_value,
}


def _request(data: bytes) -> Members:
    check_json(data)
    try:
        request = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # lone surrogates, which msgspec does not take
        try:
            request = json.loads(data.decode("utf-8", "backslashreplace"), parse_constant=float)
        except (ValueError, RecursionError) as error:
            raise InputInvalid(f"body: wanted JSON, found {error}") from error
    if isinstance(request, dict):
        return request
    raise InputInvalid(f"body: wanted a JSON object, found {type(request).__name__}")


@lru_cache
def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _get(members: Members, name: str) -> Any:
    value = members.get(name)
    return members.get(_snake_case(name)) if value is None else value


def _text(members: Members, name: str) -> str:
    value = _get(members, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputInvalid(f"{name}: wanted text, found {type(value).__name__}")
    return value


def _integer(members: Members, name: str) -> int:
    value = _get(members, name)
    if value is None:
        return 0
    if isinstance(value, str):
        if value in _ENUMS:
            return _ENUMS[value]
        try:
            return int(value)
        except ValueError:
            raise InputInvalid(f"{name}: wanted an integer, found text {value[:60]!r}") from None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InputInvalid(f"{name}: wanted an integer, found {type(value).__name__}")


def _object(members: Members, name: str) -> Members:
    value = _get(members, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputInvalid(f"{name}: wanted an object, found {type(value).__name__}")
    return value


def _objects(members: Members, name: str) -> list[Members]:
    values = _get(members, name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InputInvalid(f"{name}: wanted a list of objects, found {type(values).__name__}")
    return values
