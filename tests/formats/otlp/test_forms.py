"""Protobuf and JSON say the same; what is neither is refused as a whole, and what is odd survives."""

import base64
import contextlib
import json
import subprocess
import sys

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tracestore import InputInvalid
from tracestore.formats.otlp import (
    JSON,
    PROTOBUF,
    count_metrics,
    decode_logs,
    decode_traces,
    failure,
    map_traces,
    success,
)
from tracestore.record import decode_line, encode_line

DECODE = {"traces": decode_traces, "logs": decode_logs, "metrics": count_metrics}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**64 - 1)
COUNTS = st.integers(0, 2**32 - 1)
VALUES = st.recursive(
    st.none() | TEXTS | st.booleans() | INT64 | st.floats() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXTS, inner), max_size=3).map(tuple),
    max_leaves=8,
)
ATTRIBUTES = st.lists(st.tuples(TEXTS | st.sampled_from(["gen_ai.prompt", "input.value"]), VALUES), max_size=4)
IDS = st.sampled_from([b"", b"\x01" * 8, b"\xab" * 16])


def set_value(target: AnyValue, value: object) -> None:
    """Fill an AnyValue; a tuple is a list of pairs, for a kvlist may name a key twice."""
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bytes):
        target.bytes_value = value
    elif isinstance(value, list):
        target.array_value.SetInParent()
        for item in value:
            set_value(target.array_value.values.add(), item)
    elif isinstance(value, tuple):
        target.kvlist_value.SetInParent()
        add_pairs(target.kvlist_value.values, value)


def add_pairs(pairs, attributes) -> None:
    for name, value in attributes:
        pair = pairs.add(key=name)
        set_value(pair.value, value)


def as_json(request, *, with_names: bool) -> bytes:
    """Write a request as OTLP's JSON: protobuf's, but for ids in hexadecimal digits."""

    def hexadecimal(value):
        if isinstance(value, dict):
            return {
                name: base64.b64decode(item).hex() if name.replace("_", "").lower().endswith(("traceid", "spanid"))
                else hexadecimal(item)
                for name, item in value.items()
            }  # fmt: skip
        return [hexadecimal(item) for item in value] if isinstance(value, list) else value

    plain = MessageToDict(request, preserving_proto_field_name=with_names, use_integers_for_enums=with_names)
    return json.dumps(hexadecimal(plain)).encode()


@st.composite
def span_requests(draw):
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add(schema_url=draw(TEXTS))
    add_pairs(of_resource.resource.attributes, draw(ATTRIBUTES))
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name = draw(TEXTS)
    add_pairs(of_scope.scope.attributes, draw(ATTRIBUTES))
    span = of_scope.spans.add(
        trace_id=draw(IDS), span_id=draw(IDS), parent_span_id=draw(IDS), trace_state=draw(TEXTS), name=draw(TEXTS),
        kind=draw(st.integers(0, 5)), start_time_unix_nano=draw(TIMES), end_time_unix_nano=draw(TIMES),
        dropped_attributes_count=draw(COUNTS), dropped_events_count=draw(COUNTS), flags=draw(COUNTS),
    )  # fmt: skip
    add_pairs(span.attributes, draw(ATTRIBUTES))
    span.status.code, span.status.message = draw(st.integers(0, 2)), draw(TEXTS)
    event = span.events.add(name=draw(TEXTS), time_unix_nano=draw(TIMES))
    add_pairs(event.attributes, draw(ATTRIBUTES))
    link = span.links.add(trace_id=draw(IDS), span_id=draw(IDS), trace_state=draw(TEXTS), flags=draw(COUNTS))
    add_pairs(link.attributes, draw(ATTRIBUTES))
    return request


@st.composite
def log_requests(draw):
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    add_pairs(of_resource.resource.attributes, draw(ATTRIBUTES))
    entry = of_resource.scope_logs.add().log_records.add(
        time_unix_nano=draw(TIMES), observed_time_unix_nano=draw(TIMES), severity_number=draw(st.integers(0, 24)),
        severity_text=draw(TEXTS), event_name=draw(TEXTS), trace_id=draw(IDS), span_id=draw(IDS), flags=draw(COUNTS),
    )  # fmt: skip
    set_value(entry.body, draw(VALUES))
    add_pairs(entry.attributes, draw(ATTRIBUTES))
    return request


@settings(max_examples=80, deadline=None)
@given(request=span_requests(), with_names=st.booleans())
def test_spans_are_the_same_from_both_forms(request, with_names):
    spans = decode_traces(as_json(request, with_names=with_names), JSON + "; charset=utf-8")
    assert repr(spans) == repr(decode_traces(request.SerializeToString(), PROTOBUF))  # NaN is not equal to itself
    for record in map_traces(spans).records:
        decode_line(encode_line(record))


@settings(max_examples=80, deadline=None)
@given(request=log_requests(), with_names=st.booleans())
def test_log_entries_are_the_same_from_both_forms(request, with_names):
    entries = decode_logs(as_json(request, with_names=with_names), JSON)
    assert repr(entries) == repr(decode_logs(request.SerializeToString(), PROTOBUF))


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), kind=st.sampled_from(sorted(DECODE)), form=st.sampled_from([JSON, PROTOBUF]))
def test_any_bytes_are_read_or_refused(data, kind, form):
    with contextlib.suppress(InputInvalid):
        DECODE[kind](data, form)


def example_request() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, name="AAAA")
    add_pairs(span.attributes, [("text", "BBBB"), ("bytes", b"\xff\xfe"), ("list", ["CCCC"])])
    return request


def test_a_text_that_is_no_utf8_costs_neither_its_span_nor_its_bytes():
    data = example_request().SerializeToString()
    for text, broken in ((b"AAAA", b"A\xffAA"), (b"BBBB", b"BBB\xe2"), (b"CCCC", b"\x80CCC")):
        data = data.replace(text, broken)
    [span] = decode_traces(data, PROTOBUF)
    assert (span.trace_id, span.name) == ("01" * 16, r"A\xffAA")
    assert span.attributes == {"text": r"BBB\xe2", "bytes": b"\xff\xfe", "list": [r"\x80CCC"]}


def test_every_field_that_holds_bytes_is_left_alone_by_a_repair():
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"\xfe" * 16, span_id=b"\xfd" * 8, parent_span_id=b"\xfc" * 8, name="AAAA"
    )  # fmt: skip
    span.links.add(trace_id=b"\xfb" * 16, span_id=b"\xfa" * 8)
    whole = decode_traces(request.SerializeToString(), PROTOBUF)
    [repaired] = decode_traces(request.SerializeToString().replace(b"AAAA", b"AAA\xff"), PROTOBUF)
    repaired.name = "AAAA"
    assert [repaired] == whole


def test_a_repeated_key_loses_no_value():
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    add_pairs(span.attributes, [("a", 1), ("a", 2), ("a", (("b", 1), ("b", 2)))])
    assert decode_traces(request.SerializeToString(), PROTOBUF)[0].attributes == {
        "a": 1, "a#2": 2, "a#3": {"b": 1, "b#2": 2},
    }  # fmt: skip


def span_json(**members) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [members, {"name": "other"}]}]}]}).encode()


ACCEPTED = {
    "an enum by name": ({"kind": "SPAN_KIND_CLIENT"}, "kind", 3),
    "an enum by number": ({"kind": 3}, "kind", 3),
    "a large integer as text": ({"startTimeUnixNano": "1790000000123456789"}, "start_ns", 1790000000123456789),
    "a large integer as a number": ({"startTimeUnixNano": 1790000000123456789}, "start_ns", 1790000000123456789),
    "an integer with a point": ({"flags": 1.0}, "flags", 1),
    "snake case": ({"start_time_unix_nano": "7"}, "start_ns", 7),
    "ids in capitals": ({"traceId": "AB" * 16}, "trace_id", "ab" * 16),
    "null": ({"name": None, "attributes": None, "status": None}, "name", ""),
    "unknown fields": ({"name": "n", "later": {"x": 1}}, "name", "n"),
    "an unset value": ({"attributes": [{"key": "a", "value": {}}, {"key": "b"}]}, "attributes", {"a": None, "b": None}),
    "an integer of no 64 bits": (
        {"attributes": [{"key": "a", "value": {"intValue": str(2**70)}}]}, "attributes", {"a": str(2**70)},
    ),
    "infinity": (
        {"attributes": [{"key": "a", "value": {"doubleValue": "-Infinity"}}]}, "attributes", {"a": -float("inf")},
    ),
    "bytes for URLs": (
        {"attributes": [{"key": "a", "value": {"bytesValue": "-_8"}}]}, "attributes", {"a": b"\xfb\xff"},
    ),
    "a lone surrogate": ({"name": "\ud83d"}, "name", "\ud83d"),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_json_is_read_as_its_writers_write_it(case):
    members, field, expected = ACCEPTED[case]
    span, other = decode_traces(span_json(**members), JSON)
    assert (span.problem, getattr(span, field)) == ("", expected)
    assert other.name == "other"


DEEP = {"stringValue": "x"}
for _ in range(100):
    DEEP = {"arrayValue": {"values": [DEEP]}}

REFUSED = {
    "kind": {"kind": "CLIENT"},
    "name": {"name": 5},
    "flags": {"flags": 1.5},
    "endTimeUnixNano": {"endTimeUnixNano": "soon"},
    "startTimeUnixNano": {"startTimeUnixNano": "9" * 5000},
    "attributes": {"attributes": {"a": 1}},
    "status": {"status": []},
    "stringValue": {"attributes": [{"key": "a", "value": {"stringValue": 5}}]},
    "boolValue": {"attributes": [{"key": "a", "value": {"boolValue": "true"}}]},
    "doubleValue": {"attributes": [{"key": "a", "value": {"doubleValue": "much"}}]},
    "intValue": {"attributes": [{"key": "a", "value": {"intValue": True}}]},
    "bytesValue": {"attributes": [{"key": "a", "value": {"bytesValue": "é"}}]},
    "value": {"attributes": [{"key": "a", "value": DEEP}]},
    "values": {"events": [{"attributes": [{"key": "a", "value": {"arrayValue": {"values": 7}}}]}]},
}


@pytest.mark.parametrize("field", REFUSED)
def test_a_span_of_wrong_types_is_a_problem_of_its_own(field):
    spans = decode_traces(span_json(**REFUSED[field]), JSON)
    assert [span.problem.partition(":")[0] for span in spans] == [field, ""]
    assert map_traces(spans[:1]).rejected == 1


def test_a_span_that_is_no_object_is_a_problem_of_its_own():
    spans = decode_traces(b'{"resourceSpans":[{"scopeSpans":[{"spans":[7, {"name":"n"}]}]}]}', JSON)
    assert [bool(span.problem) for span in spans] == [True, False]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"7", b"{", b'{"resourceSpans": 7}', b'{"resourceSpans": [7]}', b"\xff", b"[" * 100_000,
             b'{"resourceSpans":[{"scopeSpans":[{"spans":{}}]}]}', b'{"resourceSpans":[{"resource":[]}]}'],
)  # fmt: skip
def test_json_that_is_no_request_is_refused(data):
    with pytest.raises(InputInvalid, match="wanted"):
        decode_traces(data, JSON)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-protobuf2", "multipart/form-data; x=y"])
def test_another_content_type_is_refused_with_those_that_are_wanted(content_type):
    with pytest.raises(InputInvalid, match="application/x-protobuf or application/json"):
        decode_traces(b"", content_type)


def test_data_points_are_counted_in_both_forms():
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for form in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        metric = metrics.add(name=form)
        getattr(metric, form).data_points.add()
        getattr(metric, form).data_points.add()
    metrics.add(name="none")
    assert count_metrics(request.SerializeToString(), PROTOBUF) == 10
    assert count_metrics(as_json(request, with_names=False), JSON) == 10


RESPONSES = {
    "traces": (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_success_says_in_both_forms_what_was_rejected(kind):
    response, field, name = RESPONSES[kind]
    parsed = response.FromString(success(kind, PROTOBUF, 300, "é"))
    assert (getattr(parsed.partial_success, field), parsed.partial_success.error_message) == (300, "é")
    assert json.loads(success(kind, JSON, 300, "é")) == {"partialSuccess": {name: "300", "errorMessage": "é"}}
    assert response.FromString(success(kind, PROTOBUF)) == response()
    assert json.loads(success(kind, JSON)) == {}


def test_a_failure_is_a_status_in_the_form_of_the_request():
    assert json.loads(failure(JSON, 3, "no")) == {"code": 3, "message": "no"}
    assert json.loads(failure("text/plain", 3, "no")) == {"code": 3, "message": "no"}
    assert failure(PROTOBUF, 14, "no") == b"\x08\x0e\x12\x02no"  # google.rpc.Status: 1 is the code, 2 the message


def test_protobuf_is_not_imported_before_it_is_needed():
    used = "import sys, tracestore.formats.otlp as otlp; otlp.decode_traces(b'{}', otlp.JSON)"
    code = f"{used}; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
