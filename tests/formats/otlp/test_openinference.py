"""The flattened copy goes where the raw one says exactly the same, and stays where anything differs."""

import copy
import json

import pytest

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"n": 1.5}}}
REQUEST = {
    "model": "m",
    "temperature": 1.0,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "é"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 C"},
    ],
    "tools": [TOOL],
}
RESPONSE = {"id": "r", "choices": [{"message": {"role": "assistant", "content": "Sunny", "refusal": None}}]}
RAW = {"input.value": json.dumps(REQUEST), "output.value": json.dumps(RESPONSE)}
MESSAGE = "llm.input_messages."
COPIES = {
    f"{MESSAGE}0.message.role": "user",
    f"{MESSAGE}0.message.contents.0.message_content.type": "text",
    f"{MESSAGE}0.message.contents.0.message_content.text": "é",
    f"{MESSAGE}0.message.contents.1.message_content.type": "image",
    f"{MESSAGE}0.message.contents.1.message_content.image.image.url": "u",
    f"{MESSAGE}1.message.role": "assistant",
    f"{MESSAGE}1.message.tool_calls.0.tool_call.id": "call_1",
    f"{MESSAGE}1.message.tool_calls.0.tool_call.function.name": "weather",
    f"{MESSAGE}1.message.tool_calls.0.tool_call.function.arguments": '{"city":"Bern"}',
    f"{MESSAGE}2.message.role": "tool",
    f"{MESSAGE}2.message.tool_call_id": "call_1",
    f"{MESSAGE}2.message.content": "22 C",
    "llm.tools.0.tool.json_schema": json.dumps(TOOL, sort_keys=True),
    "llm.invocation_parameters": '{"model": "m", "temperature": 1.0}',
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "Sunny",
}


def test_what_is_sent_twice_is_kept_once(new_span, records_of_spans):
    opening, closing = records_of_spans(new_span(RAW | COPIES))
    assert (opening["body"], closing["body"]) == (RAW["input.value"], RAW["output.value"])
    assert opening["attributes"] == {"otlp.body": "input.value"}
    assert closing["attributes"]["otlp.body"] == "output.value"


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_that_differs_in_one_value_stays(name, new_span, records_of_spans):
    different = {
        "llm.tools.0.tool.json_schema": json.dumps(TOOL).replace("1.5", "1.50"),
        "llm.invocation_parameters": '{"temperature": 1}',
    }.get(name, COPIES[name] + "!")
    opening, closing = records_of_spans(new_span(RAW | COPIES | {name: different}))
    kept = json.loads((closing if "output" in name else opening)["body"])
    group = next(group for group in kept if name.startswith(group))
    assert json.dumps(different).strip('"') in json.dumps(kept[group]) or kept[group] == json.loads(different)


def test_a_message_more_or_less_keeps_both(new_span, records_of_spans):
    more = copy.deepcopy(REQUEST)
    more["messages"].append({"role": "user", "content": "and?"})
    for raw, copies in (
        (more, COPIES),
        (REQUEST, COPIES | {f"{MESSAGE}3.message.role": "user"}),
        (REQUEST, COPIES | {f"{MESSAGE}0.message.audio": "a"}),
    ):
        [opening, _] = records_of_spans(new_span(RAW | copies | {"input.value": json.dumps(raw)}))
        assert opening["attributes"]["otlp.body"] == "input.value,llm.input_messages"


@pytest.mark.parametrize(
    "raw",
    [
        "__REDACTED__", "[]", "{}", "null", '{"messages": {}}', '{"messages": [1, 2, 3]}', "[" * 9000, "\ud83d",
        '{"messages"', '{"messages": [1e99999999999999999999]}',
    ],
)  # fmt: skip
def test_a_raw_value_of_another_shape_keeps_both(raw, new_span, records_of_spans):
    opening, closing = records_of_spans(new_span(COPIES | {"input.value": raw, "output.value": raw}))
    assert "llm.input_messages" in json.loads(opening["body"])
    assert "llm.output_messages" in json.loads(closing["body"])


def test_embeddings_that_are_sent_twice_are_kept_once(new_span, records_of_spans):
    raw = {"input.value": '{"input": "hi"}', "output.value": '{"data":[{"embedding":[0.5,1.0]}]}'}
    copies = {"embedding.embeddings.0.embedding.text": "hi", "embedding.embeddings.0.embedding.vector": [0.5, 1.0]}
    opening, closing = records_of_spans(new_span(raw | copies))
    assert (opening["body"], closing["body"]) == tuple(raw.values())
    other = {"embedding.embeddings.0.embedding.vector": [0.5, 1.1], "embedding.embeddings.0.embedding.text": "ho"}
    opening, closing = records_of_spans(new_span(raw | other))
    assert json.loads(opening["body"])["embedding.embeddings"] == [{"embedding": {"text": "ho"}}]
    assert json.loads(closing["body"])["embedding.embeddings"] == [{"embedding": {"vector": [0.5, 1.1]}}]


@pytest.mark.parametrize("kind", ["LLM", "EMBEDDING"])
def test_a_call_that_failed_is_a_request_of_the_model_it_asked_for(kind, new_span, records_of_spans):
    failed = {"openinference.span.kind": kind, "input.value": RAW["input.value"]}
    closing = records_of_spans(new_span(failed))[1]
    assert closing["attributes"]["gen_ai.request.model"] == "m"


@pytest.mark.parametrize(
    "changed",
    [
        {"llm.model_name": "m-2026"},
        {"openinference.span.kind": "CHAIN"},
        {"input.value": '{"model": 7}'},
        {"input.value": "not JSON"},
        {"input.value": json.dumps({"model": "m" * 201})},
    ],
    ids=str,
)
def test_a_model_is_not_taken_from_elsewhere(changed, new_span, records_of_spans):
    span = {"openinference.span.kind": "LLM", "input.value": RAW["input.value"]} | changed
    assert "gen_ai.request.model" not in records_of_spans(new_span(span))[1]["attributes"]
