"""Signals as an application would send them, and records as a store would read them back."""

import json

import pytest

from tracestore.formats.otlp import map_logs, map_traces
from tracestore.formats.otlp.signals import LogEntry, Resource, Scope, Span
from tracestore.record import decode_line, encode_line

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
START_NS = 1_790_000_000_123_456_789
END_NS = START_NS + 1_500_000_000


@pytest.fixture
def scope():
    return Scope(Resource({"service.name": "shop"}), name="my.scope", version="1.2")


@pytest.fixture
def new_span(scope):
    """Build a span that is right, except for what the test says."""

    def build(attributes=None, **fields):
        usual = {"trace_id": TRACE_ID, "span_id": SPAN_ID, "name": "chat m", "start_ns": START_NS, "end_ns": END_NS}
        return Span(**({"scope": scope} | usual | {"attributes": attributes or {}} | fields))

    return build


@pytest.fixture
def new_entry(scope):
    """Build a log entry that is right, except for what the test says."""

    def build(attributes=None, **fields):
        return LogEntry(**({"scope": scope, "time_ns": START_NS, "attributes": attributes or {}} | fields))

    return build


def lines_of(mapped):
    """Return the records as the journal's readers get them: each must be a line that is accepted."""
    lines = [encode_line(record) for record in mapped.records]
    for line in lines:
        decode_line(line)
    return [json.loads(line) for line in lines]


@pytest.fixture
def records_of_spans():
    def records(*spans, **arguments):
        mapped = map_traces(spans, **arguments)
        assert mapped.reasons == []
        return lines_of(mapped)

    return records


@pytest.fixture
def records_of_entries():
    def records(*entries, **arguments):
        mapped = map_logs(entries, **arguments)
        assert mapped.reasons == []
        return lines_of(mapped)

    return records
