"""Record ids: golden values, and what an id does and does not depend on."""

import json

import pytest

from blobs import Digest
from tracestore.record import content_hash, decode_line, milliseconds_of_id, record_id

BASE = {"kind": "log", "timestamp": 1772413967075, "extensionId": "app", "level": "info", "msg": "hello"}


def identify(record):
    line = decode_line(record if isinstance(record, bytes) else json.dumps(record).encode())
    return record_id(line, None if line.body is None else Digest.of(line.body)).hex()


GOLDEN = [
    (BASE, "019cac1adae388c2403b405afc4bd653"),
    (BASE | {"body": "text"}, "019cac1adae304daa58372e591a00e0b"),
    (BASE | {"turnId": "t", "attributes": {"b": 1, "a": 2.5}}, "019cac1adae311612fb25dd2a0935bf8"),
    (BASE | {"id": "own"}, "019cac1adae3fb5eb8a855224c34cd53"),
    (BASE | {"new": {"b": 1.5, "a": [10**30]}}, "019cac1adae3a0690cba1c5689cef82b"),
    (BASE | {"msg": "\ud800", "new": {"b": 1.5, "a": None}}, "019cac1adae3c5f9897bd9fa4a4ecd5c"),
    (
        {"kind": "span-close", "timestamp": 1772413967075.25, "extensionId": "app", "spanId": "s", "name": "n",
         "durationMs": 12.5, "status": "ok"},
        "019cac1adae30d62ebe105ebc0867821",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("record", "golden"), GOLDEN)
def test_ids_never_change(record, golden):
    """A changed id would store every replayed record twice."""
    assert identify(record) == golden


def test_an_id_begins_with_the_milliseconds_of_its_time():
    assert milliseconds_of_id(bytes.fromhex(identify(BASE | {"timestamp": 1772413967075.999}))) == 1772413967075


@pytest.mark.parametrize("changed", [{}, {"msg": "\ud800"}, {"new": {"y": 1.5, "x": 2}}, {"msg": "\ud800", "new": 1.5}])
def test_the_order_of_keys_makes_no_difference(changed):
    record = BASE | {"attributes": {"a": 1, "b": 2}} | changed
    turned = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in record.items()}
    assert identify(dict(reversed(turned.items()))) == identify(record)


def test_spelling_makes_no_difference():
    record = BASE | {"msg": "Grüße", "timestamp": 1772413967075}
    spelled = json.dumps(record, ensure_ascii=False, indent=1).replace("1772413967075", "1.772413967075e12")
    assert identify(spelled.encode()) == identify(record)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"new": 1.5}, {"new": "1.5"}),
        ({"new": 1.5, "msg": "\ud800"}, {"new": "1.5", "msg": "\ud800"}),
        ({"new": None}, {}),
        ({"attributes": {"a": 1}}, {"attributes": {"a": "1"}}),
        ({"attributes": {"a": True}}, {"attributes": {"a": 1}}),
        ({"attributes": {"a": 2**53}}, {"attributes": {"a": 2**53 + 1}}),
        ({"attributes": {}}, {}),
        ({"body": ""}, {}),
        ({"body": "\ud800"}, {"body": "\ud801"}),
        ({"body": "a\ud800"}, {"body": "a\ufffd"}),
        ({"body": "\ufeffa"}, {"body": "a"}),
        ({"msg": "\ud800"}, {"msg": "\ufffd"}),
        ({"msg": "\ud800", "body": "a"}, {"msg": "\ud800", "body": "b"}),
        ({"timestamp": 1.000001}, {"timestamp": 1.000002}),
        ({"timestamp": 1.0000001}, {"timestamp": 1.0000002}),
        ({"id": "a"}, {"id": "b"}),
        ({"id": "a"}, {"msg": "a"}),
        ({"turnId": "x"}, {"conversationId": "x"}),
    ],
)
def test_what_differs_has_another_id(one, other):
    assert identify(BASE | one) != identify(BASE | other)


@pytest.mark.parametrize("msg", ["plain", "\ud800"])
def test_every_digit_of_an_unknown_number_counts(msg):
    line = json.dumps(BASE | {"msg": msg, "new": 7777}).encode()
    digits = [b"0.1234567890123456789012345", b"0.1234567890123456789012346"]
    assert identify(line.replace(b"7777", digits[0])) != identify(line.replace(b"7777", digits[1]))


def test_the_own_id_of_the_producer_wins_over_the_content():
    one, other = BASE | {"id": "own"}, BASE | {"id": "own", "msg": "other"}
    assert identify(one) == identify(other)
    lines = [decode_line(json.dumps(record).encode()) for record in (one, other, BASE)]
    hashes = [content_hash(line, None) for line in lines]
    assert hashes[0] != hashes[1]
    assert hashes[2] is None


def test_a_body_counts_by_its_digest():
    """Else an id would cost as much as reading the body a second time."""
    line = decode_line(json.dumps(BASE | {"body": "text"}).encode())
    assert record_id(line, Digest.of(b"text")) != record_id(line, Digest.of(b"other"))
    assert record_id(line, Digest.of(b"text")) == record_id(decode_line(json.dumps(BASE).encode()), Digest.of(b"text"))
