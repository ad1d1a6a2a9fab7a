"""Whatever attributes hold, every value is found again, and every record is one that a store accepts."""

import base64
import json
import math

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tracestore.formats.otlp import map_logs, map_traces
from tracestore.formats.otlp.flattened import nested
from tracestore.formats.otlp.signals import Event, Link, LogEntry, Resource, Scope, Span
from tracestore.record import decode_line, encode_line
from tracestore.record.attributes import COUNT_LIMIT, MORE, TEXT_LIMIT_BYTES
from tracestore.record.limits import ATTRIBUTES_LIMIT, BODY_LIMIT_BYTES

RIGHT = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "name": "n", "start_ns": 1, "end_ns": 2}
NAMES = st.sampled_from(
    ["", "a", "a#2", "otlp.body", "gen_ai.input.messages", "gen_ai.prompt", "gen_ai.prompt.0.role", "gen_ai.prompt.0",
     "gen_ai.prompt.1.x.0", "input.value", "llm.input_messages.0.message.role", "gen_ai.output.messages",
     "output.value", "scope.name", "event.name", "prompt.id"]
) | st.text(max_size=10)  # fmt: skip
TEXTS = st.text(max_size=20) | st.sampled_from(["{}", '{"a": [1, 2]}', '["\\ud83d"]', "x" * 5000, "é" * 3000, "[", '"'])
NUMBERS = st.integers() | st.floats()
VALUES = st.recursive(
    st.none() | TEXTS | st.booleans() | NUMBERS | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=8)


def plain(value):
    """Say a value as JSON says it."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def texts_of(value):
    """Yield every text, number and name in a value, each as text."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


def leaves(text):
    """Yield a text, and what is in it where it is JSON."""
    yield text
    try:
        yield from texts_of(json.loads(text))
    except (ValueError, RecursionError):
        return


def held_in(records):
    """Return every text that is anywhere in these records, and in the JSON that is in them."""
    found = set()
    for record in records:
        body = record.get("body", "")
        body = body.decode("utf-8", "surrogatepass") if isinstance(body, bytes) and is_text(body) else body
        for value in (*record.get("attributes", {}).values(), body):
            text = value if isinstance(value, str | bytes) else json.dumps(value)
            found.update([text] if isinstance(text, bytes) else leaves(text))
        found.update(record.get("attributes", {}))
    return found


def is_text(body: bytes) -> bool:
    try:
        body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def accepted(mapped):
    assert mapped.reasons == []
    return [decode_line(encode_line(record)) for record in mapped.records]


def assert_held(attributes, records):
    held = held_in(records)
    for value in attributes.values():
        if isinstance(value, bytes):
            as_text = value.decode("utf-8", "surrogatepass") if is_text(value) else None
            assert {value, as_text, plain(value)} & held
        elif isinstance(value, str):
            spliced = [text for text in held if isinstance(text, str) and value[:1] in ("{", "[") and value in text]
            assert value in held or spliced
        else:
            assert set(texts_of(plain(value))) <= held


@settings(max_examples=200, deadline=None)
@given(attributes=ATTRIBUTES, of_resource=ATTRIBUTES, of_event=ATTRIBUTES)
def test_every_value_of_a_span_is_found_again(attributes, of_resource, of_event):
    span = Span(
        scope=Scope(Resource(of_resource)), attributes=attributes, events=[Event(1, "e", of_event)],
        links=[Link("", "", attributes=of_event)], **RIGHT,
    )  # fmt: skip
    mapped = map_traces([span])
    accepted(mapped)
    for values in (attributes, of_resource, of_event):
        assert_held(values, mapped.records)


@settings(max_examples=150, deadline=None)
@given(attributes=ATTRIBUTES, body=VALUES, event=st.sampled_from(["", "codex.x", "gen_ai.choice"]))
def test_every_value_of_a_log_is_found_again(attributes, body, event):
    entry = LogEntry(scope=Scope(Resource({})), time_ns=1, attributes=attributes, body=body, event_name=event)
    mapped = map_logs([entry])
    accepted(mapped)
    assert_held(attributes, mapped.records)
    msg = mapped.records[0]["msg"]
    if body is not None and body != msg:
        assert_held({"body": body}, mapped.records)


@settings(max_examples=100, deadline=None)
@given(attributes=ATTRIBUTES)
def test_the_same_request_gives_the_same_lines(attributes):
    def lines():
        span = Span(scope=Scope(Resource({})), attributes=dict(attributes), **RIGHT)
        return [encode_line(record) for record in map_traces([span]).records]

    assert lines() == lines()


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.from_regex(r"[0-2a](\.[0-2a]){0,3}", fullmatch=True), st.integers(), max_size=6))
def test_flattened_names_lose_no_value_whatever_they_contradict(flat):
    found = nested(flat)

    def values(node):
        if isinstance(node, dict | list):
            for item in node.values() if isinstance(node, dict) else node:
                yield from values(item)
        else:
            yield node

    assert sorted(values(found)) == sorted(flat.values())


FLATTENED = {
    "lists of objects": ({"0.a": 1, "1.b.0": 2}, [{"a": 1}, {"b": [2]}]),
    "in any order": ({"1": "b", "0": "a"}, ["a", "b"]),
    "a gap": ({"0": "a", "2": "c"}, {"0": "a", "2": "c"}),
    "a leading zero": ({"00": "a"}, {"00": "a"}),
    "a huge index": ({"1000000000": "a"}, {"1000000000": "a"}),
    "a value that has names below it": ({"0": 1, "0.a": 2}, {"0": 1, "0.a": 2}),
    "names below a value": ({"0.a": 2, "0": 1}, {"0.a": 2, "0": 1}),
    "a value that is an object itself": ({"0": {"a": 1}, "1.b": 2}, [{"a": 1}, {"b": 2}]),
    "more levels than anyone means": ({".".join("a" * 1000): 1}, {".".join("a" * 1000): 1}),
}


@pytest.mark.parametrize("case", FLATTENED)
def test_flattened_names_become_what_they_were(case):
    flat, expected = FLATTENED[case]
    assert nested(flat) == expected


def new_span(**fields):
    return Span(**({"scope": Scope(Resource({}))} | RIGHT | fields))


def test_more_attributes_than_a_record_takes_are_a_body():
    attributes = {f"a{number}": number for number in range(3 * ATTRIBUTES_LIMIT)}
    mapped = map_traces([new_span(attributes=attributes)])
    accepted(mapped)
    _, closing, more = mapped.records
    assert len(closing["attributes"]) == COUNT_LIMIT + 1
    assert closing["attributes"][MORE] == f"body:{blake3(more['body'].encode()).hexdigest()}"
    assert closing["attributes"] | json.loads(more["body"]) == attributes | {MORE: closing["attributes"][MORE]}


def test_a_name_longer_than_any_name_is_in_a_body():
    name = "k" * 65536
    mapped = map_traces([new_span(attributes={name: 7, "b": 1})])
    accepted(mapped)
    _, closing, more = mapped.records
    assert set(closing["attributes"]) == {"b", MORE}
    assert json.loads(more["body"]) == {name: 7}


def test_the_limit_of_a_text_counts_its_bytes():
    mapped = map_traces([new_span(attributes={"fits": "x" * TEXT_LIMIT_BYTES, "not": "x" * (TEXT_LIMIT_BYTES + 1)})])
    assert [record.get("msg") for record in mapped.records] == [None, None, "not"]


def test_more_links_than_a_line_takes_are_a_body():
    links = [Link(f"{number:032x}", "cd" * 8, attributes={"n": number}) for number in range(20_000)]
    mapped = map_traces([new_span(links=links)])
    accepted(mapped)
    opening, more, _ = mapped.records
    found = [link["turnId"] for link in opening["links"]] + [link["trace_id"] for link in json.loads(more["body"])]
    assert found == [link.trace_id for link in links]


def test_a_span_that_no_line_can_hold_is_counted_and_costs_no_other():
    huge = new_span(attributes={"input.value": "x" * (BODY_LIMIT_BYTES + 1)})
    mapped = map_traces([new_span(), huge, new_span(name="x" * BODY_LIMIT_BYTES)])
    assert mapped.rejected == 2
    assert len(mapped.records) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_know_are_called_by_name(value):
    mapped = map_traces([new_span(attributes={"a": value, "list": [value, None]})])
    accepted(mapped)
    attributes = mapped.records[1]["attributes"]
    assert (attributes["a"], json.loads(attributes["list"])) == (plain(value), [plain(value), None])


def test_a_lone_surrogate_survives_in_names_values_and_bodies():
    attributes = {"\ud83d": "\ud83d", "input.value": "\ud83d", "long": "\ud83d" * 5000}
    opening, closing, long = accepted(map_traces([new_span(attributes=attributes, name="\ud83d")]))
    assert opening.body == long.body[:3] == b"\xed\xa0\xbd"
    assert json.loads(closing.exact)["attributes"]["\ud83d"] == "\ud83d"
