"""The hook that GenAI instrumentations call with what a model was sent and what it answered.

Chosen with ``OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=tracestore``; the journal is the directory in
``TRACESTORE_JOURNAL``, else ``journal`` in the store that ``TRACESTORE_DIR`` names. The content goes into the
journal in full and is kept once, whatever limits the attributes of a span have; the span gets
the digests of the bodies it is in.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from tracestore.capture.otel.mapped import record_mapped
from tracestore.capture.recorder import Recorder
from tracestore.errors import InputInvalid
from tracestore.formats.otlp import LogEntry, map_logs
from tracestore.formats.otlp.signals import Resource, Scope
from tracestore.layout import StoreLayout
from tracestore.record.attributes import Members

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord
    from opentelemetry.trace import Span

JOURNAL_VARIABLE = "TRACESTORE_JOURNAL"
STORE_VARIABLE = "TRACESTORE_DIR"
EVENT = "gen_ai.client.inference.operation.details"

_CONTENT = ("gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions", "gen_ai.output.messages")
_SCOPE = "genai"
_INFO = 9  # severity


class JournalCompletionHook:
    """Records each completion as a log with the request, and one with the response, in the turn of its span."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_completion(
        self,
        *,
        inputs: list[Any],
        outputs: list[Any],
        system_instruction: list[Any],
        tool_definitions: list[Any] | None = None,
        span: "Span | None" = None,
        log_record: "LogRecord | None" = None,
    ) -> None:
        """Take the content of one operation; whoever calls a hook sees that none of its errors goes further."""
        values = (inputs, system_instruction, tool_definitions, outputs)
        funnel = self._recorder.funnel
        content = {name: funnel.masked(value) for name, value in zip(_CONTENT, values, strict=True) if value}
        attributes = funnel.redaction.value({**_attributes(span), **_attributes(log_record)})
        context = span.get_span_context() if span is not None else None
        is_known = context is not None and context.is_valid
        entry = LogEntry(
            Scope(Resource({}), name=_SCOPE),
            time_ns=(log_record.timestamp if log_record is not None else None) or funnel.clock.now_ns(),
            severity=_INFO,
            event_name=EVENT,
            attributes=attributes | content,
            trace_id=format(context.trace_id, "032x") if context is not None and is_known else "",
            span_id=format(context.span_id, "016x") if context is not None and is_known else "",
        )
        mapped = map_logs([entry])
        for name, ref in _refs(mapped.records):
            if span is not None:
                span.set_attribute(f"{name}_ref", ref)
            if log_record is not None:
                log_record.attributes = {**(log_record.attributes or {}), f"{name}_ref": ref}
        record_mapped(self._recorder, mapped)


def completion_hook() -> JournalCompletionHook:
    """Return a hook into the journal that the environment names; InputInvalid where it names none."""
    journal, store = os.environ.get(JOURNAL_VARIABLE), os.environ.get(STORE_VARIABLE)
    if not journal and not store:
        wanted = f"a journal's directory in {JOURNAL_VARIABLE}, or a store in {STORE_VARIABLE}"
        raise InputInvalid(f"completion hook: wanted {wanted}, found neither; set one of them")
    return JournalCompletionHook(Recorder(journal or StoreLayout(Path(store or "")).journal, extension_id=_SCOPE))


def _attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span or log record, as far as it can be asked; content comes by itself."""
    attributes = getattr(holder, "attributes", None) or {}
    return {name: value for name, value in attributes.items() if name not in _CONTENT}


def _refs(records: list[Members]) -> Iterator[tuple[str, str]]:
    """Yield the name of each content and the body that it is in, by the body's digest."""
    for record in records:
        body = record.get("body")
        if isinstance(body, str):
            ref = f"body:{blake3(body.encode('utf-8', 'surrogatepass')).hexdigest()}"
            names = str(record.get("attributes", {}).get("otlp.body", ""))
            yield from ((name, ref) for name in names.split(",") if name in _CONTENT)
