"""Exporters of OpenTelemetry's SDK that write to the journal: no server, no network, nothing to wait for."""

from collections.abc import Sequence

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tracestore.capture.otel.mapped import record_mapped
from tracestore.capture.otel.signals import Signals
from tracestore.capture.recorder import Recorder
from tracestore.formats.otlp import map_logs, map_traces

_MS_PER_S = 1000


class JournalSpanExporter(SpanExporter):
    """Writes ended spans as the records that the OTLP receiver makes of them.

    ``provider.add_span_processor(BatchSpanProcessor(JournalSpanExporter(recorder)))``. A span that no record can
    hold is counted as dropped.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand spans to the recorder, which drops and counts what it cannot take; so this always succeeds."""
        record_mapped(self._recorder, map_traces(Signals(self._recorder.funnel).spans(spans)))
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Make durable what was exported."""
        return self._recorder.flush(timeout_millis / _MS_PER_S)

    def shutdown(self) -> None:
        """Make durable what was exported; the recorder goes on."""
        self._recorder.flush()


class JournalLogExporter(LogRecordExporter):
    """Writes log records, as `JournalSpanExporter` does spans."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Hand log records to the recorder."""
        record_mapped(self._recorder, map_logs(Signals(self._recorder.funnel).entries(batch)))
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Make durable what was exported."""
        return self._recorder.flush(timeout_millis / _MS_PER_S)

    def shutdown(self) -> None:
        """Make durable what was exported; the recorder goes on."""
        self._recorder.flush()
