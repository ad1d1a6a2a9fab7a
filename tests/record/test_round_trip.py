"""What goes in comes out: every field, every digit, every byte."""

from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracestore import LogRecord, SpanClose, SpanOpen, TraceStore
from tracestore.ingest import row_of
from tracestore.record import decode_line, encode_line, line_of, members_of, text_of

BASE = {"kind": "log", "timestamp": 1772413967075, "extensionId": "app", "turnId": "t", "level": "info", "msg": "hello"}


@pytest.fixture(scope="module")
def back():
    """`back(record)` stores a record and returns it as it comes out again, in the journal's JSON shape."""
    with TraceStore.memory() as store:

        def there_and_back(record):
            return all_there_and_back([record])[0]

        def all_there_and_back(records):
            assert store.insert_records(records).rejected == 0
            ids = [UUID(bytes=row_of(decode_line(encode_line(record))).record_id) for record in records]
            return [store.get_record(str(record_id)).to_json_dict() for record_id in ids]

        there_and_back.all = all_there_and_back
        yield there_and_back


@pytest.mark.parametrize(
    "members",
    [
        {"new": {"nested": [{"deeper": None}, True, "x"]}, "other": []},
        {"new": 123456789012345678901234567890, "other": [-(10**40), {"a": 2**64}]},
        {"new": Decimal("0.1234567890123456789012345678901234567890"), "other": [Decimal("1E+400")]},
        {"attributes": {"big": 2**53 + 1, "bigger": 2**64, "biggest": 10**30, "negative": -(2**63) - 1}},
        {"attributes": {"float": 0.1, "true": True, "false": False, "none": None, "text": "x", "": "no name"}},
        {"msg": "\ud83d alone", "attributes": {"\udfff": "\ud800"}, "turnId": "\ud800"},
        {"msg": "\ud800", "new": Decimal("0.1234567890123456789012345"), "other": {"\ud801": [Decimal("1E+400")]}},
        {"msg": "\ud800", "timestamp": Decimal("1772413967075.123456")},
        {"msg": "\ufeffwith a mark in front", "attributes": {"\ufeff": "\ufeff"}},
        {"msg": "a\0b", "turnId": "\0", "attributes": {"a\0": "\0"}, "new\0": {"\0": "\0"}},
        {"msg": "", "extensionId": "", "turnId": "", "attributes": {}, "links": []},
        {"msg": "Grüße 世界 😀 \u2028 \x1b[31m \n\r\t\\ \" '"},
        {"links": [{"spanId": "s", "turnId": "t", "reason": "caused", "new": None}]},
        {"timestamp": Decimal("1772413967075.000001")},
        {"timestamp": Decimal("1772413967075.0000000001")},
        {"timestamp": 0},
        {"id": "own \ud800"},
        {"id": "own"},
        {"body": ""},
        {"body": "\ufeffbody\0\ud800"},
        {"body": b"\xff\xfe\x00"},
        {"body": b"\xed\xa0\x80\xed"},
    ],
)
def test_a_record_comes_back_as_it_was(back, members):
    record = BASE | members
    assert back(record) == record


def test_a_span_keeps_a_duration_that_no_double_holds(back):
    record = BASE | {"kind": "span-close", "spanId": "s", "name": "n", "durationMs": 2**53 + 1, "status": "ok"}
    del record["level"], record["msg"]
    assert back(record) == record


def test_columns_say_something_readable_where_a_text_has_lone_surrogates(memory_store):
    memory_store.insert_records([BASE | {"msg": "a\ud800b", "attributes": {"model": "\udfff"}, "new": "\ud800"}])
    row = memory_store.sql("SELECT msg, model, attributes->>'model', extra->>'new' FROM records").fetchone()
    assert row == ("a\ufffdb", "\ufffd", "\ufffd", "\ufffd")


def test_a_turn_is_found_by_an_id_with_a_lone_surrogate(memory_store):
    memory_store.insert_records([BASE | {"turnId": turn_id} for turn_id in ("\ud800", "\ud801", "\ufffd")])
    for turn_id in ("\ud800", "\ud801", "\ufffd"):
        assert [record.turn_id for record in memory_store.get_turn(turn_id)] == [turn_id]
        assert memory_store.easy_view(turn_id).strip() == "- hello"


def test_record_objects_and_dicts_are_the_same_records(memory_store):
    objects = [
        LogRecord(timestamp=1, extension_id="app", level="warn", msg="m", span_id="s", attributes={"a": 1}),
        SpanOpen(timestamp=2, extension_id="app", span_id="s", name="n", links=[{"spanId": "x"}], body="text"),
        SpanClose(timestamp=3, extension_id="app", span_id="s", name="n", duration_ms=1.5, status="ok", body=b"\xff"),
    ]
    assert memory_store.insert_records(objects).inserted == 3
    assert memory_store.insert_records([members_of(record) for record in objects]).duplicates == 3


@pytest.mark.parametrize("text", ["", "plain", "Grüße", "\ufeffmark", "\ud800", "a\ud83d\0b", "\U0001f600"])
def test_every_text_body_has_bytes_of_its_own_and_comes_back(text):
    body = line_of(BASE | {"body": text}).body
    assert text_of(body) == text
    assert decode_line(encode_line(BASE | {"body": text})).body == body


texts = st.text(st.characters(), max_size=12) | st.sampled_from(["", "\ufeff", "\0", "\ud800", "\udfff\ud800", "é"])
scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
scalars |= texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
times = st.integers(0, 9 * 10**12) | st.decimals(0, 9 * 10**12, places=6) | st.decimals(0, 9 * 10**12, places=9)
links = st.fixed_dictionaries({"spanId": texts}, optional={"turnId": texts, "reason": texts})
optional = {
    "conversationId": texts, "turnId": texts, "parentSpanId": texts, "id": texts,
    "attributes": st.dictionaries(texts, scalars, max_size=3),
    "links": st.lists(links, max_size=2),
    "body": texts | st.binary(max_size=20).filter(lambda body: isinstance(text_of(body), bytes)),
    "new": values.filter(lambda value: value is not None), "x\ud800": values.filter(lambda value: value is not None),
}  # fmt: skip
shared = {"timestamp": times, "extensionId": texts}
span = shared | {"spanId": texts, "name": texts}
durations = st.integers(0, 2**60) | st.floats(0, 1e15)
records = (
    st.fixed_dictionaries(
        shared | {"kind": st.just("log"), "level": st.sampled_from(["debug", "info", "warn", "error"]), "msg": texts},
        optional=optional | {"spanId": texts},
    )
    | st.fixed_dictionaries(span | {"kind": st.just("span-open")}, optional=optional)
    | st.fixed_dictionaries(
        span | {"kind": st.just("span-close"), "durationMs": durations, "status": st.sampled_from(["ok", "error"])},
        optional=optional,
    )
)


def exact(value):
    """Make 1, 1.0, True and Decimal(1) different where JSON makes them so, and numbers comparable."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    return ("number", Decimal(repr(value)) if isinstance(value, float) else Decimal(value))


own_ids = count()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(records, min_size=1, max_size=10))
def test_any_records_come_back_from_the_store_as_they_were(back, batch):
    batch = [record | ({"id": f"{next(own_ids)}{record['id']}"} if "id" in record else {}) for record in batch]
    assert [exact(record) for record in back.all(batch)] == [exact(record) for record in batch]


@settings(max_examples=300, deadline=None)
@given(records)
def test_a_line_is_read_as_it_was_written(record):
    read, built = decode_line(encode_line(record)), line_of(record)
    assert (read.record, read.timestamp_ns, read.body) == (built.record, built.timestamp_ns, built.body)
    assert exact(read.extra) == exact(built.extra)
