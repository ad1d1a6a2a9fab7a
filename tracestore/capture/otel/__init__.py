"""OpenTelemetry without a server: exporters into the journal, and the hook of GenAI instrumentations.

What becomes of a span or log is what the OTLP receiver makes of it (`formats.otlp`). Needs
``opentelemetry-sdk`` 1.39 or later, which whoever uses it has.
"""

from tracestore.capture.otel.completion_hook import JournalCompletionHook, completion_hook
from tracestore.capture.otel.exporters import JournalLogExporter, JournalSpanExporter

__all__ = ["JournalCompletionHook", "JournalLogExporter", "JournalSpanExporter", "completion_hook"]
