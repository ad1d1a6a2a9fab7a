"""Whatever is sent to the receiver: an answer that the protocol knows, and the next request is served."""

import gzip
import json
import random
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracestore.record import decode_line

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
logs_service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")

ANSWERS = {200, 400, 413, 415}
"""None of them is a 5xx: the disk and the collector are well in these tests."""
POST = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
fuzzing = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def valid_trace():
    request = trace_service.ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "openinference.instrumentation.openai"
    for number in range(1, 4):
        span = scope.spans.add(trace_id=bytes([number]) * 16, span_id=bytes([number]) * 8, name="chat")
        span.start_time_unix_nano, span.end_time_unix_nano = 1_772_413_967_075_000_000, 1_772_413_968_075_000_000
        span.attributes.add(key="llm.input_messages.0.message.content").value.string_value = "hello"
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 7
        span.attributes.add(key="tags").value.array_value.values.add().string_value = "a"
        span.events.add(name="exception", time_unix_nano=1_772_413_967_075_000_000)
        span.links.add(trace_id=bytes([9]) * 16, span_id=bytes([9]) * 8)
    return request.SerializeToString()


def valid_logs():
    request = logs_service.ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1_772_413_967_075_000_000)
    record.body.kvlist_value.values.add(key="role").value.string_value = "user"
    return request.SerializeToString()


def valid_json():
    values = {"gen_ai.input.messages": {"stringValue": "[]"}, "gen_ai.usage.input_tokens": {"intValue": "7"}}
    attributes = [{"key": key, "value": value} for key, value in values.items()]
    span = {
        "traceId": "01" * 16, "spanId": "02" * 8, "name": "chat", "startTimeUnixNano": "1772413967075000000",
        "endTimeUnixNano": 1772413968075000000, "attributes": attributes, "status": {"code": "STATUS_CODE_ERROR"},
    }  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


VALID = [valid_trace(), valid_logs(), valid_json()]


@st.composite
def mutated(draw):
    """A valid request with a few bytes changed, cut out, doubled or put in."""
    content = bytearray(draw(st.sampled_from(VALID)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 6))):
        at = chance.randrange(len(content) + 1)
        end = min(len(content), at + chance.randrange(8))
        match chance.randrange(4):
            case 0:
                content[at:end] = chance.randbytes(end - at)
            case 1:
                del content[at:end]
            case 2:
                content[at:at] = content[at:end]
            case _:
                content[at:at] = chance.choice([b"\xff" * 9, b"\x00", b"null", b"{", b"1e999", b'"\\ud800"', b"\n"])
    return bytes(content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["resourceSpans", "resourceLogs", "resourceMetrics", "scopeSpans", "scopeLogs", "spans", "logRecords",
             "attributes", "key", "value", "stringValue", "arrayValue", "values", "traceId", "spanId",
             "startTimeUnixNano", "timeUnixNano", "status", "code", "events", "links", "body"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip
json_texts = json_values.map(lambda value: json.dumps(value).encode())
contents = st.one_of(st.binary(max_size=300), mutated(), json_texts, st.sampled_from(VALID))
zipped = st.one_of(contents, contents.map(gzip.compress), contents.map(lambda content: gzip.compress(content)[:-3]))
header_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
types = st.one_of(st.sampled_from([PROTOBUF, JSON]), header_text)
encodings = st.one_of(st.sampled_from(["", "gzip", "identity", "deflate"]), header_text)


@fuzzing
@given(signal=st.sampled_from(["traces", "logs", "metrics"]), content=zipped, content_type=types, encoding=encodings)
def test_any_body_under_any_headers_has_an_answer(receiving, signal, content, content_type, encoding):
    headers = {"Content-Encoding": encoding} if encoding else {}
    response = receiving.post(content, signal, content_type=content_type, **headers)
    assert response.status_code in ANSWERS, response.text


@fuzzing
@given(content=st.one_of(mutated(), json_texts), as_json=st.booleans())
def test_what_is_acknowledged_can_be_read_back(receiving, content, as_json):
    content_type = JSON if as_json else PROTOBUF
    for signal in ("traces", "logs"):
        response = receiving.post(content, signal, content_type=content_type)
        assert response.status_code in ANSWERS, response.text
    for path in receiving.journal.glob("*.ndjson"):  # of this example alone: the segment grows through all of them
        lines = path.read_bytes().splitlines()
        for line in lines[receiving.lines_read :]:
            decode_line(line)
        receiving.lines_read = len(lines)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    garbage=st.one_of(
        st.binary(min_size=1, max_size=200),
        st.binary(max_size=50).map(lambda some: POST + some + b"\r\n\r\n"),
        st.binary(max_size=50).map(lambda some: POST + b"Transfer-Encoding: chunked\r\n\r\n" + some),
    )
)
def test_what_is_not_even_http_leaves_the_server_up(receiving, garbage):
    with socket.create_connection(("127.0.0.1", receiving.port), timeout=20) as client:
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(100)
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert receiving.post(b"").status_code == 200
