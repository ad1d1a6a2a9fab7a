"""Where an application has OpenTelemetry's spans as well, ours are in them."""

import pytest

pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.sdk.trace import TracerProvider


@pytest.fixture
def tracer():
    provider = TracerProvider()
    yield provider.get_tracer("app")
    provider.shutdown()


def ids(span):
    context = span.get_span_context()
    return format(context.trace_id, "032x"), format(context.span_id, "016x")


def test_a_span_outside_of_ours_is_in_the_current_one_of_opentelemetry(recorder_of, journal, tracer):
    recorder = recorder_of(journal.path, in_context=True)
    with tracer.start_as_current_span("chat") as around:
        recorder.span("call").end()
        recorder.info("said")
    recorder.flush()
    opened, closed, said = journal.records()
    trace_id, span_id = ids(around)
    assert [record["turnId"] for record in (opened, closed, said)] == [trace_id] * 3
    assert [opened["parentSpanId"], closed["parentSpanId"], said["spanId"]] == [span_id] * 3


def test_a_span_of_ours_is_nearer_than_one_of_opentelemetry(recorder_of, journal, tracer):
    recorder = recorder_of(journal.path, in_context=True)
    with tracer.start_as_current_span("chat") as around, recorder.span("turn") as turn:
        recorder.span("call").end()
    recorder.flush()
    calls = [record for record in journal.records() if record["name"] == "call"]
    assert [(call["turnId"], call["parentSpanId"]) for call in calls] == [(ids(around)[0], turn.span_id)] * 2


def test_a_turn_that_was_named_stays(recorder_of, journal, tracer):
    recorder = recorder_of(journal.path, in_context=True)
    with tracer.start_as_current_span("chat"):
        recorder.child(turn_id="t-1").span("call").end()
    recorder.flush()
    assert [(record["turnId"], record.get("parentSpanId")) for record in journal.records()] == [("t-1", None)] * 2


def test_who_did_not_opt_in_is_outside(recorder_of, journal, tracer):
    recorder = recorder_of(journal.path)
    with tracer.start_as_current_span("chat") as around:
        recorder.span("call").end()
    recorder.flush()
    assert ids(around)[0] not in {record["turnId"] for record in journal.records()}
