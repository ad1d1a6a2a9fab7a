"""A span becomes its two halves: what was sent on the open, what came back and all else on the close."""

import json

import pytest
from blake3 import blake3

from tracestore import TraceStore
from tracestore.formats.otlp import map_traces
from tracestore.formats.otlp.records import Shared
from tracestore.formats.otlp.signals import Event, Link, Resource, Scope
from tracestore.record.attributes import Flat

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
START_NS = 1_790_000_000_123_456_789
MESSAGES = '[{"role": "user",  "parts": []}]'

# attributes -> body of the request, what it holds, body of the response, what it holds
CONVENTIONS = {
    "GenAI, one of each": (
        {"gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": "[1]"},
        MESSAGES, "gen_ai.input.messages", "[1]", "gen_ai.output.messages",
    ),
    "GenAI, several": (
        {
            "gen_ai.system_instructions": 'Be "brief"', "gen_ai.input.messages": MESSAGES,
            "gen_ai.tool.definitions": "[",
        },
        '{"gen_ai.system_instructions":"Be \\"brief\\"","gen_ai.input.messages":' + MESSAGES
        + ',"gen_ai.tool.definitions":"["}',
        "gen_ai.system_instructions,gen_ai.input.messages,gen_ai.tool.definitions", None, None,
    ),
    "GenAI, as a structure": (
        {"gen_ai.input.messages": [{"role": "user", "parts": [{"n": 1.5, "b": b"\0\xff", "nothing": None}]}]},
        '[{"role":"user","parts":[{"n":1.5,"b":"AP8=","nothing":null}]}]', "gen_ai.input.messages", None, None,
    ),
    "GenAI tool": (
        {"gen_ai.tool.call.arguments": '{"city":"Bern"}', "gen_ai.tool.call.result": "22 C"},
        '{"city":"Bern"}', "gen_ai.tool.call.arguments", "22 C", "gen_ai.tool.call.result",
    ),
    "GenAI retrieval": (
        {"gen_ai.retrieval.query.text": "what", "gen_ai.retrieval.documents": "[]"},
        "what", "gen_ai.retrieval.query.text", "[]", "gen_ai.retrieval.documents",
    ),
    "legacy attributes": (
        {"gen_ai.prompt": "Weather?", "gen_ai.completion": "Sunny"},
        "Weather?", "gen_ai.prompt", "Sunny", "gen_ai.completion",
    ),
    "OpenLLMetry, flattened": (
        {
            "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief",
            "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.tool_calls.0.arguments": '{"a":1}',
            "llm.request.functions.0.name": "weather",
            "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.finish_reason": "stop",
        },
        '{"gen_ai.prompt":[{"role":"system","content":"Be brief"},'
        '{"role":"user","tool_calls":[{"arguments":"{\\"a\\":1}"}]}],'
        '"llm.request.functions":[{"name":"weather"}]}',
        "gen_ai.prompt,llm.request.functions",
        '{"gen_ai.completion":[{"role":"assistant","finish_reason":"stop"}]}', "gen_ai.completion",
    ),
    "OpenLLMetry, workflow": (
        {"traceloop.entity.input": '{"q": 1}', "traceloop.entity.output": "done", "traceloop.span.kind": "workflow"},
        '{"q": 1}', "traceloop.entity.input", "done", "traceloop.entity.output",
    ),
    "OpenInference, raw": (
        {"input.value": "what?", "input.mime_type": "text/plain", "output.value": "that"},
        "what?", "input.value", "that", "output.value",
    ),
    "OpenInference, retriever": (
        {"retrieval.documents.0.document.content": "a", "retrieval.documents.1.document.score": 0.5},
        None, None,
        '{"retrieval.documents":[{"document":{"content":"a"}},{"document":{"score":0.5}}]}', "retrieval.documents",
    ),
    "OpenInference, embedding": (
        {"embedding.embeddings.0.embedding.text": "hi", "embedding.embeddings.0.embedding.vector": [0.5, 1.0]},
        '{"embedding.embeddings":[{"embedding":{"text":"hi"}}]}', "embedding.embeddings",
        '{"embedding.embeddings":[{"embedding":{"vector":[0.5,1.0]}}]}', "embedding.embeddings",
    ),
    "pydantic-ai": (
        {"pydantic_ai.all_messages": MESSAGES, "final_result": "22 C", "logfire.msg": "a run"},
        MESSAGES, "pydantic_ai.all_messages", "22 C", "final_result",
    ),
}  # fmt: skip


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_content_is_folded_into_one_body_for_each_side(convention, new_span, records_of_spans):
    attributes, request, request_names, response, response_names = CONVENTIONS[convention]
    opening, closing = records_of_spans(new_span(attributes))
    assert opening.get("body") == request
    assert opening.get("attributes", {}).get("otlp.body") == request_names
    assert closing.get("body") == response
    assert closing["attributes"].get("otlp.body") == response_names


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_content_is_no_attribute_any_more_and_the_rest_still_is(convention, new_span, records_of_spans):
    attributes = CONVENTIONS[convention][0]
    _, closing = records_of_spans(new_span(attributes | {"unknown.name": "kept"}))
    rest = {name: closing["attributes"][name] for name in attributes if name in closing["attributes"]}
    about = ("traceloop.span.kind", "input.mime_type", "logfire.msg")
    assert rest == {name: value for name, value in attributes.items() if name in about}
    assert closing["attributes"]["unknown.name"] == "kept"


def test_among_several_only_objects_and_lists_are_taken_for_json(new_span, records_of_spans):
    attributes = {"gen_ai.prompt": '"5"', "input.value": "5"}
    attributes |= {"traceloop.entity.input": ' {"a":1}', "llm.prompts": "[1] x"}
    opening = records_of_spans(new_span(attributes))[0]
    assert opening["body"] == (
        '{"gen_ai.prompt":"\\"5\\"","input.value":"5","traceloop.entity.input": {"a":1},"llm.prompts":"[1] x"}'
    )


@pytest.mark.parametrize("nothing", ["", None])
def test_empty_content_is_an_attribute_and_no_body(nothing, new_span, records_of_spans):
    opening, closing = records_of_spans(new_span({"gen_ai.input.messages": nothing}))
    assert "body" not in opening
    assert closing["attributes"]["gen_ai.input.messages"] == nothing


def test_the_halves_of_a_span_hold_its_ids_times_and_outcome(new_span, records_of_spans):
    opening, closing = records_of_spans(new_span({"n": 3}, parent_span_id="c7ad6b7169203331", status_code=2))
    shared = {
        "extensionId": "my.scope", "turnId": TRACE_ID, "spanId": SPAN_ID,
        "parentSpanId": "c7ad6b7169203331", "name": "chat m",
    }  # fmt: skip
    assert opening == {"kind": "span-open", "timestamp": 1790000000123.456789, **shared}
    assert closing == {
        "kind": "span-close", "timestamp": 1790000001623.456789, **shared, "durationMs": 1500, "status": "error",
        "attributes": {
            "n": 3, "otlp.status": "error", "resource.service.name": "shop",
            "scope.name": "my.scope", "scope.version": "1.2",
        },
    }  # fmt: skip


def test_times_are_exact_to_the_nanosecond(new_span):
    opening, closing = map_traces([new_span(start_ns=1, end_ns=1_790_000_000_999_999_999)]).records
    assert str(opening["timestamp"]) == "0.000001"
    assert str(closing["timestamp"]) == "1790000000999.999999"


def test_what_else_a_span_says_is_an_attribute(scope, new_span, records_of_spans):
    scope = Scope(
        Resource({"service.name": "shop", "pid": 7}, 2, "https://r"), "", "", {"team": "a"}, 3, "https://s"
    )  # fmt: skip
    _, closing = records_of_spans(new_span(
        scope=scope, kind=3, trace_state="a=b", status_message="no", status_code=1, flags=257,
        dropped_attributes=4, dropped_events=5, dropped_links=6,
    ))  # fmt: skip
    assert closing["extensionId"] == "shop"
    assert closing["attributes"] == {
        "otlp.kind": "client", "otlp.status": "ok", "otlp.status_message": "no", "traceState": "a=b",
        "otlp.flags": 257, "otlp.dropped_attributes": 4, "otlp.dropped_events": 5, "otlp.dropped_links": 6,
        "resource.service.name": "shop", "resource.pid": 7, "resource.schema_url": "https://r",
        "resource.dropped_attributes": 2, "scope.team": "a", "scope.schema_url": "https://s",
        "scope.dropped_attributes": 3,
    }  # fmt: skip


def test_an_attribute_named_like_one_of_ours_stands_beside_it(new_span, records_of_spans):
    _, closing = records_of_spans(new_span({"otlp.kind": "mine", "scope.name": "mine too"}, kind=2))
    attributes = closing["attributes"]
    assert (attributes["otlp.kind"], attributes["otlp.kind#2"]) == ("mine", "server")
    assert (attributes["scope.name"], attributes["scope.name#2"]) == ("mine too", "my.scope")


@pytest.mark.parametrize("name", ["gen_ai.conversation.id", "session.id", "conversation.id"])
def test_the_conversation_is_the_spans_else_its_resources(name, scope, new_span, records_of_spans):
    of_resource = Scope(Resource({name: "from resource"}))
    assert records_of_spans(new_span({name: "mine"}, scope=of_resource))[0]["conversationId"] == "mine"
    assert records_of_spans(new_span(scope=of_resource))[0]["conversationId"] == "from resource"
    assert "conversationId" not in records_of_spans(new_span())[0]


def test_a_span_without_scope_and_service_is_from_otlp(new_span, records_of_spans):
    assert records_of_spans(new_span(scope=Scope(Resource({}))))[0]["extensionId"] == "otlp"


def test_events_are_logs_of_their_span(new_span, records_of_spans):
    trouble = Event(START_NS + 7, "exception", {"exception.message": "no"}, 1)
    logs = records_of_spans(new_span(events=[Event(START_NS + 5, "first token", {}), trouble]))[2:]
    of_span = {"kind": "log", "extensionId": "my.scope", "turnId": TRACE_ID, "spanId": SPAN_ID}
    assert logs == [
        {**of_span, "timestamp": 1790000000123.456794, "level": "info", "msg": "first token"},
        {
            **of_span, "timestamp": 1790000000123.456796, "level": "error", "msg": "exception",
            "attributes": {"exception.message": "no", "otlp.dropped_attributes": 1},
        },
    ]  # fmt: skip


def test_content_of_an_event_is_its_body_and_of_both_sides_two(new_span, records_of_spans):
    tool = Event(START_NS, "tool.output", {"input": "ls", "output": "a.txt", "exit": 0})
    request, response = records_of_spans(new_span(name="claude_code.tool", events=[tool]))[2:]
    assert (request["body"], response["body"]) == ("ls", "a.txt")
    assert request["attributes"] == {"exit": 0, "otlp.body": "input"}
    assert response["attributes"] == {"otlp.body": "output"}


def test_everyday_words_are_content_for_coding_agents_alone(new_span, records_of_spans):
    attributes = {"prompt": "a", "input": "b", "output": "c", "body": "d"}
    opening, closing = records_of_spans(new_span(attributes))
    assert "body" not in opening
    assert {name: closing["attributes"][name] for name in attributes} == attributes


def test_events_of_one_moment_that_read_alike_stay_as_many_as_they_are(new_span, records_of_spans):
    chunk = Event(START_NS, "chunk", {"n": 1})
    span = new_span(events=[chunk, chunk, Event(START_NS, "chunk", {"n": 2}), chunk])
    logs = records_of_spans(span)[2:]
    assert [log["attributes"].get("otlp.repeat") for log in logs] == [None, 2, None, 3]
    assert records_of_spans(span)[2:] == logs


def test_links_keep_ids_state_and_attributes(new_span, records_of_spans):
    links = [Link("ab" * 16, "cd" * 8), Link("ab" * 16, "ef" * 8, "a=b", {"reason": "retry", "l": [1, 2]}, 3, 1)]
    assert records_of_spans(new_span(links=links))[0]["links"] == [
        {"spanId": "cd" * 8, "turnId": "ab" * 16},
        {
            "spanId": "ef" * 8, "turnId": "ab" * 16, "reason": "retry", "l": "[1,2]",
            "traceState": "a=b", "otlp.flags": 1, "otlp.dropped_attributes": 3,
        },
    ]  # fmt: skip


def test_a_span_without_an_end_stays_open_and_says_what_it_knows(new_span, records_of_spans):
    attributes = {"gen_ai.request.model": "m", "gen_ai.input.messages": "[]", "gen_ai.output.messages": "[2]"}
    opening, answer = records_of_spans(new_span(attributes, end_ns=0))
    assert opening["kind"] == "span-open"
    assert opening["attributes"]["gen_ai.request.model"] == "m"
    assert opening["body"] == "[]"
    assert (answer["kind"], answer["body"]) == ("log", "[2]")


def test_a_long_text_is_a_body_and_its_attribute_names_it(new_span, records_of_spans):
    text = "é" * 2049
    _, closing, log = records_of_spans(new_span({"short": "é" * 2048, "long": text}))
    assert closing["attributes"]["short"] == "é" * 2048
    assert closing["attributes"]["long"] == f"body:{blake3(text.encode()).hexdigest()}"
    assert log == {
        "kind": "log", "timestamp": closing["timestamp"], "extensionId": "my.scope", "turnId": TRACE_ID,
        "spanId": SPAN_ID, "level": "debug", "msg": "long", "body": text,
    }  # fmt: skip


def test_a_long_text_of_the_resource_is_with_every_span_of_it(new_span, records_of_spans):
    scope = Scope(Resource({"process.command_args": ["x" * 5000]}))
    records = records_of_spans(new_span(scope=scope), new_span(scope=scope, span_id="c7ad6b7169203331"))
    bodies = [record for record in records if record["kind"] == "log"]
    assert [log["body"] for log in bodies] == [json.dumps(["x" * 5000])] * 2
    assert [log["spanId"] for log in bodies] == [SPAN_ID, "c7ad6b7169203331"]


def test_a_scope_that_is_gone_is_not_taken_for_another():
    shared, gone = Shared(), Scope(Resource({"n": 1}))
    place = id(gone)
    shared.add_to(Flat(), gone)
    del gone
    assert place not in [id(scope) for scope in [Scope(Resource({"n": 2})) for _ in range(100)]]


def test_a_reference_is_followed_only_by_who_can_read_it(new_span, records_of_spans):
    span = new_span({"gen_ai.input.messages_ref": "a", "gen_ai.output.messages_ref": "b", "my_ref": "c"})
    held = {"a": b"\xff\x00"}
    opening, closing = records_of_spans(span, read_ref=held.get)
    assert (opening["body"], opening["bodyEncoding"]) == ("/wA=", "base64")
    assert "body" not in closing
    attributes = closing["attributes"]
    assert [attributes[name] for name in span.attributes] == list(span.attributes.values())
    assert "body" not in records_of_spans(span)[0]


def test_content_elsewhere_joins_what_is_here(new_span, records_of_spans):
    span = new_span({"gen_ai.input.messages_ref": "a", "gen_ai.system_instructions": "Be brief"})
    opening = records_of_spans(span, read_ref={"a": b' [{"x": 1}]'}.get)[0]
    assert opening["body"] == '{"gen_ai.system_instructions":"Be brief","gen_ai.input.messages_ref": [{"x": 1}]}'


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": ""}, "traceId"),
        ({"trace_id": "0" * 32}, "traceId"),
        ({"trace_id": "0a f7651916cd43dd8448eb211c80319"}, "traceId"),
        ({"span_id": "abc"}, "spanId"),
        ({"parent_span_id": "12"}, "parentSpanId"),
        ({"start_ns": 0}, "startTimeUnixNano"),
        ({"start_ns": 2**63}, "startTimeUnixNano"),
        ({"end_ns": 2**64 - 1}, "endTimeUnixNano"),
        ({"start_ns": 10**5000}, "startTimeUnixNano"),
        ({"problem": "kind: wanted an integer"}, "kind"),
    ],
)
def test_a_wrong_span_is_counted_with_its_reason_and_costs_no_other(fields, reason, new_span):
    mapped = map_traces([new_span(), new_span(**fields), new_span()])
    assert mapped.rejected == 1
    assert [text.split(":")[0] for text in mapped.reasons] == [reason]
    assert len(mapped.records) == 4


def test_an_event_of_no_possible_time_does_not_cost_its_span(new_span, records_of_spans):
    _, closing, none, late = records_of_spans(new_span(events=[Event(0, "a", {}), Event(2**64 - 1, "b", {})]))
    assert none["timestamp"] == late["timestamp"] == closing["timestamp"]
    assert late["attributes"] == {"otlp.time_ns": str(2**64 - 1)}


def test_views_show_what_the_conventions_say(tmp_path, new_span):
    conventions = [
        {
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 3, "gen_ai.usage.cache_read.input_tokens": 4,
        },
        {
            "llm.system": "openai", "llm.model_name": "m", "llm.token_count.prompt": 7,
            "llm.token_count.completion": 3, "llm.token_count.prompt_details.cache_read": 4,
        },
        {
            "gen_ai.system": "openai", "gen_ai.response.model": "m", "gen_ai.usage.prompt_tokens": 7,
            "gen_ai.usage.completion_tokens": 3, "gen_ai.usage.cache_read_input_tokens": 4,
        },
    ]  # fmt: skip
    spans = [
        new_span({**attributes, "session.id": "c", "gen_ai.input.messages": "[]"}, span_id=f"{number:016x}")
        for number, attributes in enumerate(conventions, 1)
    ]
    with TraceStore(tmp_path / "store") as store:
        for _ in range(2):  # the second time is a retry
            store.insert_records(map_traces(spans).records)
        requests = store.sql(
            "SELECT provider, model, input_tokens, output_tokens, cache_read_tokens, status, request_size_bytes"
            " FROM requests"
        ).fetchall()
        assert requests == [("openai", "m", 7, 3, 4, "ok", 2)] * 3
        turns = store.sql("SELECT turn_id, conversation_id, requests, input_tokens, records FROM turns").fetchall()
        assert turns == [(TRACE_ID, "c", 3, 21, 6)]
