"""What was mapped goes into the journal, and what could not be is counted."""

from tracestore.capture.recorder import Recorder
from tracestore.formats.otlp import Mapped


def record_mapped(recorder: Recorder, mapped: Mapped) -> None:
    """Record what signals became, and count those that no record can hold as dropped."""
    recorder.funnel.emit_all(mapped.records)
    for _ in range(mapped.rejected):
        recorder.funnel.drop("invalid")
