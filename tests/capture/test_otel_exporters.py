"""What the SDK's spans and logs become in a journal: what the OTLP receiver makes of them."""

import asyncio
import json
import logging
import threading

import pytest

from tests.capture.planted import SECRETS, is_told
from tracestore.capture import Recorder, Redaction
from tracestore.formats.otlp import PROTOBUF, decode_logs, decode_traces, map_logs, map_traces
from tracestore.record import encode_line

pytest.importorskip("opentelemetry.sdk")

import opentelemetry.sdk._logs as logs_sdk
import opentelemetry.sdk.trace as trace_sdk
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tracestore.capture.otel as otel

RESOURCE = Resource({"service.name": "shop", "session.id": "c1", "hosts": ["a", "b"]}, "https://schema/1")
LONG = "It is a long story, told in full. " * 300
EVERY_TYPE = {
    "text": "ü", "empty": "", "yes": True, "no": False, "zero": 0, "int": -(2**62), "float": 1.5, "nan": float("nan"),
    "inf": float("-inf"), "texts": ["a", "b"], "ints": [1, 2], "floats": [1.5], "bools": [True, False], "none": [],
    "long": LONG, "gen_ai.input.messages": '[{"role":"user"}]', "gen_ai.output.messages": LONG,
    "input.value": "in", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "hi", "gen_ai.usage.n": 3,
}  # fmt: skip


@pytest.fixture
def recorder(tmp_path):
    with Recorder(tmp_path, extension_id="app", redaction=Redaction(fields=("pin",))) as recorder:
        yield recorder


@pytest.fixture
def written(recorder, tmp_path):
    """The records in the journal."""

    def read():
        assert recorder.flush()
        lines = [line for path in sorted(tmp_path.glob("*.ndjson")) for line in path.read_bytes().splitlines()]
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def traced(recorder):
    """A tracer whose spans are written, and kept to be compared with."""
    kept = InMemorySpanExporter()
    provider = trace_sdk.TracerProvider(
        resource=RESOURCE, span_limits=trace_sdk.SpanLimits(max_events=3, max_links=2, max_span_attributes=40)
    )
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.add_span_processor(SimpleSpanProcessor(otel.JournalSpanExporter(recorder)))
    yield provider, kept.get_finished_spans
    provider.shutdown()


def received(spans):
    """What the receiver makes of what the SDK's own exporter sends."""
    encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.trace_encoder")
    records = []
    for span in spans:
        mapped = map_traces(decode_traces(encoder.encode_spans([span]).SerializeToString(), PROTOBUF))
        assert mapped.rejected == 0
        records += mapped.records
    return [json.loads(encode_line(record)) for record in records]


def test_spans_of_every_form_become_what_the_receiver_makes_of_them(traced, written):
    provider, finished = traced
    tracer = provider.get_tracer("lib", "1.2", "https://schema/2", attributes={"of": "scope"})
    state = trace.TraceState([("vendor", "x"), ("other", "y")])
    remote = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    links = [trace.Link(remote, {"why": "because", "n": [1]}), trace.Link(trace.SpanContext(1, 2, is_remote=False))] * 2
    context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    for kind in trace.SpanKind:
        with tracer.start_as_current_span("chat m", context, kind=kind, attributes=EVERY_TYPE, links=links) as span:
            with tracer.start_as_current_span("inner"):
                trace.get_current_span().add_event("told", EVERY_TYPE, timestamp=1_790_000_000_000_000_001)
            for n in range(5):
                span.add_event(f"event {n}", {"n": n})
            span.set_attributes({f"more{n}": n for n in range(50)})
            span.set_status(trace.StatusCode.ERROR, "it failed")
    with pytest.raises(ZeroDivisionError), tracer.start_as_current_span("raises"):
        raise ZeroDivisionError("what")
    with tracer.start_as_current_span("fine") as span:
        span.set_status(trace.StatusCode.OK)
    spans = finished()
    assert len(spans) == 12
    assert written() == received(spans)
    closed = [record for record in written() if record["kind"] == "span-close" and record["name"] == "chat m"]
    assert {record["attributes"]["otlp.dropped_events"] for record in closed} == {2}
    assert {record["conversationId"] for record in closed} == {"c1"}
    assert {record["parentSpanId"] for record in closed} == {"0000000000000008"}


def test_spans_of_many_scopes_in_one_batch_keep_each_its_own(recorder, written):
    kept = InMemorySpanExporter()
    provider = trace_sdk.TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.add_span_processor(BatchSpanProcessor(otel.JournalSpanExporter(recorder)))
    for n in range(100):
        with provider.get_tracer(f"lib{n % 3}", str(n % 2)).start_as_current_span(f"step {n}", attributes={"n": n}):
            pass
    assert provider.force_flush()
    assert written() == received(kept.get_finished_spans())
    provider.shutdown()
    recorder.info("the recorder goes on")
    assert written()[-1]["msg"] == "the recorder goes on"


def test_real_instrumentation_becomes_what_the_receiver_makes_of_it(traced, written):
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.test import TestModel

    provider, finished = traced
    agent = pydantic_ai.Agent(TestModel(), name="clerk", instructions=LONG)
    agent.instrument = InstrumentationSettings(tracer_provider=provider)

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"22 C in {city}"

    asyncio.run(agent.run("What is the weather in Bern?"))  # `run_sync` leaves its event loop open
    assert len(finished()) >= 3
    assert written() == received(finished())


@pytest.fixture
def logged(recorder):
    """A logger whose records are written, and kept to be compared with."""
    from opentelemetry.sdk._logs import export

    kept = getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter
    kept = kept()
    provider = logs_sdk.LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    provider.add_log_record_processor(SimpleLogRecordProcessor(otel.JournalLogExporter(recorder)))
    yield provider, kept.get_finished_logs
    provider.shutdown()


def received_logs(logs):
    encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common._log_encoder")
    records = []
    for log in logs:
        records += map_logs(decode_logs(encoder.encode_logs([log]).SerializeToString(), PROTOBUF)).records
    return [json.loads(encode_line(record)) for record in records]


@pytest.mark.parametrize(
    "body",
    ["text", "", None, 5, 1.5, True, b"\x00\xff", LONG, ["a", 1, None], {"a": {"b": [1, {"c": b"\x01"}]}, "n": None}],
)
def test_logs_of_every_form_become_what_the_receiver_makes_of_them(body, logged, written):
    provider, finished = logged
    logger = provider.get_logger("lib", "1", attributes={"of": "scope"})
    with trace_sdk.TracerProvider().get_tracer("x").start_as_current_span("around"):
        logger.emit(LogRecord(timestamp=1_790_000_000_000_000_001, body=body, attributes=EVERY_TYPE))
    logger.emit(LogRecord(
        observed_timestamp=1_790_000_000_000_000_002, severity_number=SeverityNumber.WARN2, severity_text="WARN2",
        body=body, attributes={"event.domain": "gen_ai"}, event_name="gen_ai.choice",
    ))  # fmt: skip
    assert len(finished()) == 2
    assert written() == received_logs(finished())


def test_a_log_body_of_any_kind_is_recorded_with_the_others(recorder, written):
    provider = logs_sdk.LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(otel.JournalLogExporter(recorder)))
    logger = provider.get_logger("lib")
    deep = [1]
    for _ in range(5000):
        deep = [deep]
    for body in (object, {1: threading}, {"at": {1.5: {2}}}, deep):
        logger.emit(LogRecord(timestamp=1_790_000_000_000_000_001, body=body))
    logger.emit(LogRecord(timestamp=1_790_000_000_000_000_001, body="after"))
    provider.shutdown()
    assert len([record for record in written() if record["kind"] == "log"]) == 5


def test_what_no_record_can_hold_is_dropped_and_counted(recorder, written):
    never = trace_sdk.ReadableSpan("none", context=trace.SpanContext(0, 0, is_remote=False), resource=RESOURCE)
    fine = trace_sdk.ReadableSpan("one", context=trace.SpanContext(1, 2, is_remote=False), start_time=1, end_time=2)
    assert otel.JournalSpanExporter(recorder).export([never, fine]) is SpanExportResult.SUCCESS
    assert recorder.dropped == {"invalid": 1}
    assert [record["kind"] for record in written()] == ["span-open", "span-close", "log"]


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_no_secret_of_a_span_or_log_reaches_the_journal(secret, traced, logged, recorder, tmp_path):
    tracer = traced[0].get_tracer(f"lib {secret}", secret, attributes={"s": secret})
    link = trace.Link(trace.SpanContext(1, 2, is_remote=False), {"a": secret})
    attributes = {"a": secret, f"n {secret}": [secret], "long": f"{LONG} {secret}", "gen_ai.input.messages": secret}
    attributes |= {"http.request.header.authorization": ["opaque-Zq7Xw9Kp"], "pin": "opaque-Zq7Xw9Kp"}
    with tracer.start_as_current_span(secret, None, links=[link], attributes=attributes) as span:
        span.add_event(secret, attributes)
        span.record_exception(ValueError(f"fails {secret}"))
        span.set_status(trace.StatusCode.ERROR, secret)
    body = {"m": [secret, {"pin": "opaque-Zq7Xw9Kp"}], "b": secret.encode()}
    logged[0].get_logger("lib").emit(LogRecord(timestamp=5, body=body, event_name=secret, attributes=attributes))
    logged[0].get_logger("lib").emit(LogRecord(timestamp=5, body=secret, severity_text=secret))
    assert recorder.flush()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("*.ndjson"))
    assert len(content.splitlines()) >= 6
    assert not is_told(content)


def test_digests_in_attributes_are_those_of_masked_bodies(traced, written):
    blake3 = pytest.importorskip("blake3").blake3
    with traced[0].get_tracer("lib").start_as_current_span("s", attributes={"t": f"{LONG} {SECRETS['openai']}"}):
        pass
    records = written()
    [spilled] = [record["body"] for record in records if record["kind"] == "log"]
    assert "redacted" in spilled
    assert records[1]["attributes"]["t"] == f"body:{blake3(spilled.encode()).hexdigest()}"


def test_loggers_of_the_standard_library_reach_the_journal(logged, written):
    handler = logging.Handler()
    logger = logged[0].get_logger("std")
    handler.emit = lambda record: logger.emit(LogRecord(timestamp=5, body=record.getMessage()))
    library = logging.Logger("library")
    library.addHandler(handler)
    library.warning("careful with %s", "it")
    assert [record["msg"] for record in written()] == ["careful with it"]


def test_after_a_fork_parent_and_child_write_the_spans_of_each(program, journal):
    child = program("""
        import os
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from tracestore.capture.otel import JournalSpanExporter

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(JournalSpanExporter(recorder)))
        tracer = provider.get_tracer("lib")
        tracer.start_span("before").end()
        pid = os.fork()
        tracer.start_span("in child" if pid == 0 else "in parent").end()
        assert provider.force_flush() and recorder.flush()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """)
    assert child.ended() == ("", 0, "")
    names = sorted(record["name"] for record in journal.records() if record["kind"] == "span-close")
    assert names == ["before", "in child", "in parent"]
