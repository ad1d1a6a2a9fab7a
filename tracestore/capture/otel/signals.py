"""Spans and logs of OpenTelemetry's SDK as the signals the OTLP receiver reads, so that both are mapped alike."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind

from tracestore.capture.funnel import Funnel
from tracestore.formats.otlp.signals import Event, Link, LogEntry, Resource, Scope, Span

_KINDS = {SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3, SpanKind.PRODUCER: 4, SpanKind.CONSUMER: 5}
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


class Signals:
    """Reads one export; secrets are masked before anything becomes a body, which is named by what is in it."""

    def __init__(self, funnel: Funnel) -> None:
        self._funnel = funnel
        self._redaction = funnel.redaction
        self._resources: dict[int, Resource] = {}
        self._scopes: dict[tuple[int, int], Scope] = {}

    def spans(self, spans: Sequence[ReadableSpan]) -> list[Span]:
        """Return spans that have ended."""
        return [self._span(span) for span in spans]

    def entries(self, records: Sequence[ReadableLogRecord]) -> list[LogEntry]:
        """Return log records."""
        return [self._entry(record) for record in records]

    def _span(self, span: ReadableSpan) -> Span:
        context, parent = span.get_span_context(), span.parent
        assert context is not None
        return Span(
            scope=self._scope(span.resource, span.instrumentation_scope),
            trace_id=_trace_id(context.trace_id),
            span_id=_span_id(context.span_id),
            parent_span_id="" if parent is None else _span_id(parent.span_id),
            trace_state=_state(context),
            name=self._redaction.text(span.name),
            kind=_KINDS.get(span.kind, 0),
            start_ns=span.start_time or 0,
            end_ns=span.end_time or 0,
            attributes=self._values(span.attributes),
            events=[
                Event(event.timestamp, event.name, self._values(event.attributes), event.dropped_attributes)
                for event in span.events
            ],
            links=[self._link(link.context, link.attributes, link.dropped_attributes) for link in span.links],
            dropped_attributes=span.dropped_attributes,
            dropped_events=span.dropped_events,
            dropped_links=span.dropped_links,
            status_code=span.status.status_code.value,
            status_message=self._redaction.text(span.status.description or ""),
            flags=_flags(parent),
        )

    def _link(self, context: SpanContext, attributes: Any, dropped: int) -> Link:
        return Link(
            _trace_id(context.trace_id),
            _span_id(context.span_id),
            attributes=self._values(attributes),
            dropped_attributes=dropped,
            flags=_flags(context),
        )

    def _entry(self, readable: ReadableLogRecord) -> LogEntry:
        record = readable.log_record
        severity = record.severity_number
        return LogEntry(
            scope=self._scope(readable.resource, readable.instrumentation_scope),
            time_ns=record.timestamp or 0,
            observed_ns=record.observed_timestamp or 0,
            severity=severity.value if severity is not None else 0,
            severity_text=record.severity_text or "",
            event_name=record.event_name or "",
            body=self._funnel.masked(record.body),
            attributes=self._values(record.attributes),
            trace_id=_trace_id(record.trace_id) if record.trace_id else "",
            span_id=_span_id(record.span_id) if record.span_id else "",
            flags=int(record.trace_flags or 0),
            dropped_attributes=readable.dropped_attributes,
        )

    def _scope(self, resource: SdkResource, scope: InstrumentationScope | None) -> Scope:
        key = id(resource), id(scope)  # both live as long as the batch
        if key not in self._scopes:
            self._scopes[key] = Scope(
                self._resource(resource),
                name=scope.name if scope else "",
                version=(scope.version if scope else "") or "",
                attributes=self._values(scope.attributes if scope else None),
                schema_url=(scope.schema_url if scope else "") or "",
            )
        return self._scopes[key]

    def _resource(self, resource: SdkResource) -> Resource:
        if id(resource) not in self._resources:
            self._resources[id(resource)] = Resource(
                self._values(resource.attributes), schema_url=resource.schema_url or ""
            )
        return self._resources[id(resource)]

    def _values(self, attributes: Any) -> dict[str, Any]:
        values: dict[str, Any] = self._redaction.value(attributes or {})
        return values


def _trace_id(number: int) -> str:
    return f"{number:032x}"


def _span_id(number: int) -> str:
    return f"{number:016x}"


def _state(context: SpanContext) -> str:
    return ",".join(f"{key}={value}" for key, value in context.trace_state.items())


def _flags(parent: SpanContext | None) -> int:
    """Return what OTLP says of where the parent is; what the SDK's own exporter says, too."""
    return _HAS_IS_REMOTE | (_IS_REMOTE if parent is not None and parent.is_remote else 0)
