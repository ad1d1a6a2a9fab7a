"""OpenTelemetry's protocol to journal records: bytes to signals to records, without any input or output."""

from typing import Protocol

from tracestore.formats.otlp.content_type import JSON, PROTOBUF, is_json
from tracestore.formats.otlp.mapping import Mapped, map_logs, map_traces
from tracestore.formats.otlp.records import ReadRef
from tracestore.formats.otlp.responses import failure, success
from tracestore.formats.otlp.signals import LogEntry, Span

__all__ = [
    "JSON",
    "PROTOBUF",
    "LogEntry",
    "Mapped",
    "ReadRef",
    "Span",
    "count_metrics",
    "decode_logs",
    "decode_traces",
    "failure",
    "is_json",
    "map_logs",
    "map_traces",
    "success",
]


class _Form(Protocol):
    """One of the two forms, a module that is imported by its first request."""

    def traces(self, data: bytes) -> list[Span]: ...
    def logs(self, data: bytes) -> list[LogEntry]: ...
    def metric_points(self, data: bytes) -> int: ...


def decode_traces(data: bytes, content_type: str) -> list[Span]:
    """Read the spans of a request; InputInvalid where it is none, or of another content type."""
    return _form(content_type).traces(data)


def decode_logs(data: bytes, content_type: str) -> list[LogEntry]:
    """Read the log entries of a request; InputInvalid where it is none, or of another content type."""
    return _form(content_type).logs(data)


def count_metrics(data: bytes, content_type: str) -> int:
    """Count the data points of a request; InputInvalid where it is none, or of another content type."""
    return _form(content_type).metric_points(data)


def _form(content_type: str) -> _Form:
    if is_json(content_type):
        from tracestore.formats.otlp import json_form

        return json_form
    from tracestore.formats.otlp import protobuf

    return protobuf
