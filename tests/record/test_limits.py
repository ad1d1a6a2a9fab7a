"""Each limit names itself and what was found, is exact, and bounds memory before it is too late."""

import json

import pytest

from tracestore import RecordInvalid
from tracestore.record import decode_line, line_of
from tracestore.record.limits import (
    ATTRIBUTE_LIMIT_BYTES,
    ATTRIBUTES_LIMIT,
    BODY_LIMIT_BYTES,
    DEPTH_LIMIT,
    VALUES_LIMIT,
)

BASE = {"kind": "log", "timestamp": 1, "extensionId": "app", "level": "info", "msg": "m"}


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


LIMITS = {
    "many attributes": (
        {"attributes": {f"a{n}": n for n in range(ATTRIBUTES_LIMIT)}},
        {"attributes": {f"a{n}": n for n in range(ATTRIBUTES_LIMIT + 1)}},
        "attributes: wanted at most 1000, found 1001",
    ),
    "a long attribute": (
        {"attributes": {"a": "x" * ATTRIBUTE_LIMIT_BYTES}},
        {"attributes": {"a": "x" * ATTRIBUTE_LIMIT_BYTES + "y"}},
        "attributes.a: wanted at most 1048576 bytes, found 1048577",
    ),
    "a long attribute of few characters": (
        {"attributes": {"a": "€" * (ATTRIBUTE_LIMIT_BYTES // 3)}},
        {"attributes": {"a": "€" * (ATTRIBUTE_LIMIT_BYTES // 3 + 1)}},
        "attributes.a: wanted at most 1048576 bytes, found 1048578",
    ),
    "a long name": (
        {"attributes": {"x" * ATTRIBUTE_LIMIT_BYTES: 1}},
        {"attributes": {"x" * ATTRIBUTE_LIMIT_BYTES + "y": 1}},
        "an attribute's name: wanted at most 1048576 bytes, found 1048577",
    ),
    "a long body": (
        {"body": "x" * BODY_LIMIT_BYTES},
        {"body": "x" * BODY_LIMIT_BYTES + "y"},
        "body: wanted at most 33554432 bytes, found 33554433",
    ),
    "deep nesting": (
        {"extra": nested(DEPTH_LIMIT - 1)},
        {"extra": nested(DEPTH_LIMIT)},
        "line: wanted at most 200 levels of nesting, found more",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("is_line", [False, True])
def test_the_limit_fits_and_a_little_more_does_not(name, is_line):
    def read(members):
        return decode_line(json.dumps(members, ensure_ascii=False).encode()) if is_line else line_of(members)

    within, over, message = LIMITS[name]
    assert read(BASE | within).record.msg == "m"
    with pytest.raises(RecordInvalid) as caught:
        read(BASE | over)
    assert str(caught.value) == message


def test_the_values_of_a_line_are_limited_and_those_in_its_body_are_not():
    fitting = VALUES_LIMIT - len(BASE) - 1
    assert decode_line(json.dumps(BASE | {"extra": [0] * fitting}).encode()).extra == {"extra": [0] * fitting}
    with pytest.raises(RecordInvalid, match=f"at most {VALUES_LIMIT} values, found {VALUES_LIMIT + 7} or more"):
        decode_line(json.dumps(BASE | {"extra": [0] * (fitting + 8)}).encode())
    body = json.dumps([0, "a,\\b", [1.5]] * VALUES_LIMIT)
    assert decode_line(json.dumps(BASE | {"body": body}).encode()).body == body.encode()


def test_what_would_be_refused_as_a_line_is_not_written_as_one(memory_store):
    record = BASE | {"extra": [0] * VALUES_LIMIT}
    with pytest.raises(RecordInvalid, match="record 1: line: wanted at most 100000 values"):
        memory_store.insert_records([BASE, record])
    assert memory_store.stats()["records"] == memory_store.stats()["rejected"] == 0


@pytest.mark.parametrize("unit", [b"1,", b"[],", b'"a",', b'"",', b'"a":1,', b'"a":"b",', b"1.5,", b"{},"])
@pytest.mark.parametrize("field", [b"attributes", b"links", b"unknown"])
def test_a_line_of_many_values_is_refused_before_it_takes_memory(unit, field):
    start = json.dumps(BASE).encode()[:-1] + b',"' + field + b'":['
    line = start + unit * (32 * 2**20 // len(unit)) + b"0]}"
    with pytest.raises(RecordInvalid, match="values, found"):
        decode_line(line)


def test_hostile_lines_are_refused_in_little_memory(python):
    script = (
        "import json\n"
        "from tests.peak_memory import peak_kib\n"
        "from tracestore import RecordInvalid\n"
        "from tracestore.record import decode_line\n"
        f"start = json.dumps({BASE!r}).encode()[:-1]\n"
        "lines = [start + b',\"x\":[' + unit * (32 * 2**20 // len(unit)) + b'0]}' for unit in (b'1.5,', b'[],')]\n"
        "before = peak_kib()\n"
        "for line in lines:\n"
        "    try: decode_line(line)\n"
        "    except RecordInvalid: continue\n"
        "    raise AssertionError\n"
        "print(peak_kib() - before)\n"
    )
    assert int(python("-c", script).stdout) < 150 << 10, "KiB"
