"""How much a request holds is known before it is decoded; texts do not count, whatever is in them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracestore.errors import InputInvalid
from tracestore.formats.otlp import JSON, PROTOBUF, count_metrics, decode_logs, decode_traces, weight

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
Request = trace_service.ExportTraceServiceRequest


@pytest.fixture
def low_limit(monkeypatch):
    """A limit that a small request reaches."""
    monkeypatch.setattr(weight, "VALUES_LIMIT", 1_000)


def part(number, content):
    """A field that has a length, as protobuf writes it."""
    size, prefix = len(content), bytearray([number << 3 | 2])
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes(prefix) + bytes([size]) + content


def request_of(spans):
    return part(1, part(2, spans))


def attribute(value):
    return part(9, part(1, b"a") + part(2, value))


HOSTILE = {
    "empty spans": request_of(part(2, b"") * 1_500),
    "empty attributes": request_of(part(2, part(9, b"") * 1_500)),
    "a list of nothings": request_of(part(2, attribute(part(5, part(1, b"") * 1_500)))),
    "many short lists": request_of(part(2, attribute(part(5, part(1, b"") * 20)) * 80)),
    "a list behind a text, which is the last one to count": request_of(
        part(2, attribute(part(1, b"text") + part(5, part(1, b"") * 1_500)))
    ),
    "empty resources": part(1, b"") * 1_500,
    "events of events": request_of(part(2, part(11, part(3, b"")) * 800)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_many_values_in_few_bytes_are_refused(low_limit, content):
    with pytest.raises(InputInvalid, match="at most 1000 values"):
        decode_traces(content, PROTOBUF)


def test_logs_and_metrics_are_counted_too(low_limit):
    for decode in (decode_logs, count_metrics):
        with pytest.raises(InputInvalid, match="at most 1000 values"):
            decode(HOSTILE["empty spans"], PROTOBUF)


def test_many_texts_of_any_size_are_not_too_much(low_limit):
    text = b"\x0a\x12\x4a\x00" * 100_000  # what small messages would begin with
    assert len(decode_traces(request_of(part(2, attribute(part(1, text))) * 50), PROTOBUF)) == 50


def test_so_many_as_the_limit_are_taken(low_limit):
    taken = 1_000 - 2  # the resource and its scope are messages too
    assert len(decode_traces(request_of(part(2, b"") * taken + part(15, b"x" * 5_000)), PROTOBUF)) == taken
    with pytest.raises(InputInvalid, match="at most 1000"):
        decode_traces(request_of(part(2, b"") * (taken + 1) + part(15, b"x" * 5_000)), PROTOBUF)


@pytest.mark.parametrize("end", [b"\x0b", b"\x0a\x05ab", b"\x08", b"\xff" * 11, b"\x0f"])
def test_what_is_no_protobuf_of_otlp_is_refused(low_limit, end):
    with pytest.raises(InputInvalid, match="wanted protobuf"):
        decode_traces(part(15, b"x" * 5_000) + end, PROTOBUF)


values = st.recursive(
    st.text(max_size=300) | st.integers(-5, 5) | st.booleans() | st.none() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
    max_leaves=60,
)


def fill(target, value):
    match value:
        case bool():
            target.bool_value = value
        case str():
            target.string_value = value
        case int():
            target.int_value = value
        case bytes():
            target.bytes_value = value
        case list():
            target.array_value.SetInParent()
            for item in value:
                fill(target.array_value.values.add(), item)
        case dict():
            target.kvlist_value.SetInParent()
            for key, item in value.items():
                fill(target.kvlist_value.values.add(key=key).value, item)


def held(message):
    """Messages and texts in a message: what the generated classes say."""
    count = 0
    for field, value in message.ListFields():
        if field.message_type or field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            for item in [value] if not hasattr(value, "append") else value:
                count += 1 + (held(item) if field.message_type else 0)
    return count


@settings(deadline=None)
@given(attributes=st.lists(values, max_size=8))
def test_the_count_is_what_the_generated_classes_find(attributes):
    request = Request()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="chat", trace_id=b"1" * 16)
    span.events.add(name="event")
    for value in attributes:
        fill(span.attributes.add(key="key").value, value)
    data = request.SerializeToString()
    fields = weight._fields_of(Request.DESCRIPTOR)
    assert weight._weight(data, Request.DESCRIPTOR.full_name, fields, 0) == held(request)
    assert weight._weight(data, Request.DESCRIPTOR.full_name, fields, 256) >= held(request)


def json_of(spans):
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + spans + b"]}]}]}"


@pytest.mark.parametrize("spans", [b"{}," * 4_000 + b"{}", b"[" * 9_000, b'"a",' * 9_000 + b"1", b"1," * 9_000 + b"1"])
def test_json_of_many_values_is_refused(low_limit, spans):
    with pytest.raises(InputInvalid, match="at most 1000 values"):
        decode_traces(json_of(spans), JSON)


def test_texts_of_json_may_hold_whatever_they_like(low_limit):
    text = '{"a": [1, 2, "\\\\", {}, "b"]},' * 1_000
    attributes = [{"key": "a", "value": {"stringValue": text}}]
    (span,) = decode_traces(json_of(json.dumps({"attributes": attributes}).encode()), JSON)
    assert span.attributes == {"a": text}
