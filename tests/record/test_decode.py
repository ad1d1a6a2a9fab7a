"""Strict decoding: what a line may hold, and what is said of one that is no record."""

import json

import pytest

from tracestore.errors import RecordInvalid
from tracestore.record import decode_line, encode_line, line_of

BASE = {"kind": "log", "timestamp": 1, "extensionId": "app", "level": "info", "msg": "hello"}
OPEN = {"kind": "span-open", "timestamp": 1, "extensionId": "app", "spanId": "s", "name": "step"}
CLOSE = {**OPEN, "kind": "span-close", "durationMs": 5, "status": "ok"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (BASE | {"kind": "metric"}, "kind: wanted one of log, span-open, span-close, found str 'metric'"),
        (BASE | {"kind": 5}, "kind: wanted one of log, span-open, span-close, found int 5"),
        ({"timestamp": 1}, "kind: wanted one of log, span-open, span-close, found nothing"),
        (BASE | {"timestamp": "5"}, "timestamp: wanted int | float, found str '5'"),
        (BASE | {"timestamp": True}, "timestamp: wanted int | float, found bool True"),
        (BASE | {"timestamp": None}, "timestamp: wanted int | float, found nothing"),
        (BASE | {"timestamp": -1}, "timestamp: wanted milliseconds since 1970, before the year 2262, found int -1"),
        (BASE | {"timestamp": 10**16}, "timestamp: wanted milliseconds since 1970, before the year 2262"),
        (BASE | {"extensionId": 5}, "extensionId: wanted str, found int 5"),
        (BASE | {"level": "fatal"}, "level: wanted one of debug, info, warn, error, found str 'fatal'"),
        (BASE | {"level": None}, "level: wanted str, found nothing"),
        (BASE | {"msg": ["a"]}, "msg: wanted str, found list ['a']"),
        (BASE | {"turnId": 5}, "turnId: wanted str | null, found int 5"),
        (BASE | {"conversationId": {}}, "conversationId: wanted str | null, found dict {}"),
        (BASE | {"attributes": [1]}, "attributes: wanted object | null, found list [1]"),
        (BASE | {"attributes": {"a": {"b": 1}}}, "attributes.a: wanted "),
        (BASE | {"attributes": {"ok": 1, "a": [1]}}, "attributes.a: wanted "),
        (BASE | {"links": {"spanId": "s"}}, "links: wanted array | null, found dict"),
        (BASE | {"links": [{"turnId": "t"}]}, "links[0].spanId: wanted str, found nothing"),
        (BASE | {"links": [{"spanId": "s"}, {"spanId": 5}]}, "links[1].spanId: wanted str, found int 5"),
        (BASE | {"body": {"a": 1}}, "body: wanted str | null, found dict {'a': 1}"),
        (BASE | {"body": 5}, "body: wanted str | null, found int 5"),
        (BASE | {"body": "x", "bodyEncoding": "gzip"}, "bodyEncoding: wanted one of base64, found str 'gzip'"),
        (BASE | {"body": "no base64!", "bodyEncoding": "base64"}, "body: wanted base64, found "),
        (BASE | {"bodyEncoding": "base64"}, "body: wanted base64 text beside bodyEncoding, found none"),
        (BASE | {"id": 5}, "id: wanted str | null, found int 5"),
        (OPEN | {"spanId": None}, "spanId: wanted str, found nothing"),
        (CLOSE | {"durationMs": "5"}, "durationMs: wanted int | float, found str '5'"),
        (CLOSE | {"status": "failed"}, "status: wanted one of ok, error, found str 'failed'"),
    ],
)
def test_a_wrong_field_is_named_with_the_wanted_and_the_found_value(record, message):
    for decode in (lambda: decode_line(json.dumps(record).encode()), lambda: line_of(record)):
        with pytest.raises(RecordInvalid) as caught:
            decode()
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("record", [BASE, OPEN, CLOSE], ids=lambda record: record["kind"])
def test_each_required_field_is_missed_by_name(record):
    for field in record.keys() - {"kind"}:
        without = {key: value for key, value in record.items() if key != field}
        with pytest.raises(RecordInvalid, match=f"^{field}: wanted a value, found none$"):
            decode_line(json.dumps(without).encode())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"null", "record: wanted an object, found nothing"),
        (b"[1]", "record: wanted an object, found list [1]"),
        (b'"text"', "record: wanted an object, found str 'text'"),
        (b"{", "line: wanted one JSON object, found "),
        (b"{} {}", "line: wanted one JSON object, found Extra data"),
        (b'{"a": NaN}', "line: wanted one JSON object, found NaN, which is not JSON"),
        (b'{"kind":"log","msg":"\xff"}', "line: wanted UTF-8, found invalid start byte at byte 21"),
        (b"\xef\xbb\xbf{}", "line: wanted one JSON object"),
        (b"[" * 100_000, "line: wanted at most 200 levels of nesting, found far more"),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "line: wanted at most 200 levels of nesting, found far more"),
        (b"[" * 950 + b"]" * 950, "record: wanted an object, found list"),
    ],
)
def test_what_is_no_object_of_json_is_said_so(line, message):
    with pytest.raises(RecordInvalid) as caught:
        decode_line(line)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("timestamp", b"1e99999999999999999999"),
        ("timestamp", b"1.5e-99999999999999999999"),
        ("unknown", b"1e99999999999999999999"),
        ("unknown", b"-1e-99999999999999999999"),
        ("durationMs", b"1e99999999999999999999"),
    ],
)
def test_a_number_without_measure_is_no_crash(field, number):
    """A collector that meets such a line must reject it, not stop at it for ever."""
    record = json.dumps({**CLOSE, field: 7777}).encode().replace(b"7777", number)
    with pytest.raises(RecordInvalid, match="a number of any size that can be written down"):
        decode_line(record)


def test_a_number_that_no_double_holds_is_refused_where_a_double_is_wanted():
    with pytest.raises(RecordInvalid, match=r"^attributes\.a: wanted a number that a double can hold, found 1E\+400"):
        decode_line(json.dumps(BASE | {"attributes": {"a": 7777}}).encode().replace(b"7777", b"1e400"))


def test_thousands_of_digits_are_refused_and_not_printed():
    with pytest.raises(RecordInvalid, match=r"^timestamp: wanted milliseconds") as caught:
        line_of(BASE | {"timestamp": 10**5000})
    assert len(str(caught.value)) < 200


def test_nesting_has_a_limit_far_below_what_stops_a_reader():
    def nested(levels):
        return json.dumps(BASE).encode()[:-1] + b', "extra": ' + b"[" * levels + b"]" * levels + b"}"

    assert decode_line(nested(199)).extra is not None
    with pytest.raises(RecordInvalid, match="wanted at most 200 levels of nesting, found more"):
        decode_line(nested(200))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"attributes": {"a": float("nan")}}, "attributes.a: wanted a finite number, found nan"),
        ({"durationMs": float("inf")}, "durationMs: wanted a finite number, found inf"),
        ({"timestamp": float("nan")}, "timestamp: wanted a finite number, found nan"),
        ({"new": [{"deep": float("-inf")}]}, "new.0.deep: wanted a finite number, found -inf"),
        ({"new": {1: 2}}, "new: wanted names that are text, found int 1"),
        ({"new": b"bytes"}, "new: wanted only what JSON can hold, found bytes"),
        ({"new": object}, "new: wanted only what JSON can hold, found type"),
    ],
)
def test_a_dict_that_json_would_change_in_silence_is_refused(value, message):
    with pytest.raises(RecordInvalid) as caught:
        line_of(CLOSE | value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("body", [b"\xff\x00", bytearray(b"\xff\x00"), memoryview(b"\xff\x00")])
def test_a_body_may_be_any_bytes(body):
    assert line_of(BASE | {"body": body}).body == b"\xff\x00"


def test_bytes_travel_as_base64():
    line = encode_line(BASE | {"body": b"\xff\xfe\x00"})
    assert json.loads(line) == BASE | {"body": "//4A", "bodyEncoding": "base64"}
    assert decode_line(line).body == b"\xff\xfe\x00"


def test_a_field_of_another_kind_is_kept_as_extra():
    line = decode_line(json.dumps(BASE | {"durationMs": 5, "status": "whatever"}).encode())
    assert line.extra == {"durationMs": 5, "status": "whatever"}


def test_null_is_the_same_as_absent():
    nulls = dict.fromkeys(("turnId", "conversationId", "parentSpanId", "attributes", "links", "body", "spanId"))
    assert decode_line(json.dumps(BASE | nulls).encode()) == decode_line(json.dumps(BASE).encode())


def test_a_duration_that_no_double_holds_is_no_crash():
    with pytest.raises(RecordInvalid, match=r"^durationMs: wanted a number that a double can hold, found int 999"):
        decode_line(json.dumps(CLOSE | {"durationMs": 7777}).encode().replace(b"7777", b"9" * 400))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("timestamp", "\ud83d", "timestamp: wanted int | float, found str"),
        ("status", "\ud83d", "status: wanted one of ok, error, found str"),
        ("bodyEncoding", "\ud83d", "bodyEncoding: wanted one of base64, found str"),
        ("attributes", "\ud83d", "attributes: wanted object | null, found str"),
        ("links", ["\ud83d"], "links[0]: wanted object, found list"),
    ],
)
def test_a_lone_surrogate_where_no_text_fits_is_no_crash(field, value, message):
    with pytest.raises(RecordInvalid) as caught:
        decode_line(json.dumps({**CLOSE, field: value}).encode())
    assert str(caught.value).startswith(message)
