"""OTLP's protobuf form to signals, by the generated classes of opentelemetry-proto.

They are imported with this module, and this module by the first protobuf request: a store without
OTLP never loads them. Texts that are not UTF-8 (cut in the middle of a character by their exporter)
make the generated classes refuse the whole request: it is then read once more with each text as
bytes, and what is no UTF-8 in them becomes ``\\xff``, so that one text does not cost the other spans.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ProtoResource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from tracestore.errors import InputInvalid
from tracestore.formats.otlp.signals import Event, Link, LogEntry, Resource, Scope, Span
from tracestore.formats.otlp.weight import check_protobuf
from tracestore.record.attributes import put


def traces(data: bytes) -> list[Span]:
    """Read an ExportTraceServiceRequest; InputInvalid where it is none."""
    spans = []
    for of_resource in _parsed(data, ExportTraceServiceRequest).resource_spans:
        resource = _resource(of_resource.resource, of_resource.schema_url)
        for of_scope in of_resource.scope_spans:
            scope = _scope(resource, of_scope.scope, of_scope.schema_url)
            spans += [_span(scope, span) for span in of_scope.spans]
    return spans


def logs(data: bytes) -> list[LogEntry]:
    """Read an ExportLogsServiceRequest; InputInvalid where it is none."""
    entries = []
    for of_resource in _parsed(data, ExportLogsServiceRequest).resource_logs:
        resource = _resource(of_resource.resource, of_resource.schema_url)
        for of_scope in of_resource.scope_logs:
            scope = _scope(resource, of_scope.scope, of_scope.schema_url)
            entries += [_log_entry(scope, entry) for entry in of_scope.log_records]
    return entries


def metric_points(data: bytes) -> int:
    """Count the data points of an ExportMetricsServiceRequest; InputInvalid where it is none."""
    points = 0
    for of_resource in _parsed(data, ExportMetricsServiceRequest).resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                form = metric.WhichOneof("data")
                points += len(getattr(metric, form).data_points) if form else 0
    return points


def _span(scope: Scope, span: ProtoSpan) -> Span:
    return Span(
        scope=scope,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=[
            Event(event.time_unix_nano, event.name, _attributes(event.attributes), event.dropped_attributes_count)
            for event in span.events
        ],
        links=[
            Link(
                link.trace_id.hex(), link.span_id.hex(), link.trace_state,
                _attributes(link.attributes), link.dropped_attributes_count, link.flags,
            )
            for link in span.links
        ],
        dropped_attributes=span.dropped_attributes_count,
        dropped_events=span.dropped_events_count,
        dropped_links=span.dropped_links_count,
        status_code=span.status.code,
        status_message=span.status.message,
        flags=span.flags,
    )  # fmt: skip


def _log_entry(scope: Scope, entry: LogRecord) -> LogEntry:
    return LogEntry(
        scope=scope,
        time_ns=entry.time_unix_nano,
        observed_ns=entry.observed_time_unix_nano,
        severity=entry.severity_number,
        severity_text=entry.severity_text,
        event_name=entry.event_name,
        body=_value(entry.body),
        attributes=_attributes(entry.attributes),
        trace_id=entry.trace_id.hex(),
        span_id=entry.span_id.hex(),
        flags=entry.flags,
        dropped_attributes=entry.dropped_attributes_count,
    )


def _resource(resource: ProtoResource, schema_url: str) -> Resource:
    return Resource(_attributes(resource.attributes), resource.dropped_attributes_count, schema_url)


def _scope(resource: Resource, scope: InstrumentationScope, schema_url: str) -> Scope:
    attributes = _attributes(scope.attributes)
    return Scope(resource, scope.name, scope.version, attributes, scope.dropped_attributes_count, schema_url)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, value = pair.key, pair.value
        text = value.string_value  # most are texts, and asking which form it is costs as much again
        if name in found:
            put(found, name, text or _value(value))
        else:
            found[name] = text or _value(value)
    return found


def _value(value: AnyValue) -> Any:
    form = value.WhichOneof("value")
    if form is None:
        return None
    if form == "array_value":
        return [_value(item) for item in value.array_value.values]
    if form == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, form)


def _parsed(data: bytes, request: Any) -> Any:
    check_protobuf(data, request)
    try:
        return request.FromString(data)
    except DecodeError as error:
        try:
            lenient = _with_bytes_for_text(request.DESCRIPTOR.full_name).FromString(data)
            _repair(lenient)
            return request.FromString(lenient.SerializeToString())
        except DecodeError:
            wanted = f"wanted {request.DESCRIPTOR.name} as protobuf"
            raise InputInvalid(f"body: {wanted}, found {len(data)} bytes that are not ({error})") from error


@cache
def _with_bytes_for_text(name: str) -> Any:
    """Return the class of the same wire format whose texts are bytes, which are never refused."""
    pool = descriptor_pool.DescriptorPool()

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        described = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
        for message in described.message_type:
            _texts_to_bytes(message)
        pool.Add(described)

    add(descriptor_pool.Default().FindMessageTypeByName(name).file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _texts_to_bytes(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        if field.type == field.TYPE_STRING:
            field.type = field.TYPE_BYTES
    for nested in message.nested_type:
        _texts_to_bytes(nested)


def _repair(message: Message) -> None:
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in value if isinstance(value, Iterable) else [value]:
                _repair(item)
        elif field.type == field.TYPE_BYTES and isinstance(value, bytes) and not _is_binary(field.name):
            setattr(message, field.name, value.decode("utf-8", "backslashreplace").encode())


def _is_binary(field: str) -> bool:
    return field in ("trace_id", "span_id", "parent_span_id", "bytes_value")
