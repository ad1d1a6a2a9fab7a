"""A log entry becomes a log: its event or its text is the message, and what is content its body."""

import pytest

from tracestore.formats.otlp import map_logs
from tracestore.formats.otlp.signals import Resource, Scope

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
START_NS = 1_790_000_000_123_456_789

# event name, body, attributes -> message, request, response
EVENTS = {
    "Claude Code, a request body": (
        "", "claude_code.api_request_body", {"event.name": "api_request_body", "body": '{"m":1}'},
        "claude_code.api_request_body", '{"m":1}', None,
    ),
    "Claude Code, a response body": (
        "", "claude_code.api_response_body", {"event.name": "api_response_body", "body": '{"r":1}'},
        "claude_code.api_response_body", None, '{"r":1}',
    ),
    "Claude Code, a prompt": (
        "claude_code.user_prompt", "claude_code.user_prompt", {"prompt": "hi", "prompt_length": 2},
        "claude_code.user_prompt", "hi", None,
    ),
    "Claude Code, a tool": (
        "claude_code.tool_result", None, {"tool_input": "{}", "tool_parameters": '{"a":1}', "tool_name": "Bash"},
        "claude_code.tool_result", '{"tool_input":{},"tool_parameters":{"a":1}}', None,
    ),
    "Codex, a tool": (
        "codex.tool_result", None, {"arguments": '{"a":1}', "output": "done", "call_id": "c"},
        "codex.tool_result", '{"a":1}', "done",
    ),
    "GenAI, details": (
        "gen_ai.client.inference.operation.details", None,
        {"gen_ai.input.messages": [{"role": "user"}], "gen_ai.output.messages": [{"role": "assistant"}]},
        "gen_ai.client.inference.operation.details", '[{"role":"user"}]', '[{"role":"assistant"}]',
    ),
    "legacy, a message": (
        "gen_ai.user.message", {"content": "hi"}, {"gen_ai.system": "openai"},
        "gen_ai.user.message", '{"content":"hi"}', None,
    ),
    "legacy, a choice": (
        "gen_ai.choice", {"index": 0, "message": {"content": "Sunny"}}, {},
        "gen_ai.choice", None, '{"index":0,"message":{"content":"Sunny"}}',
    ),
    "legacy, a choice beside its prompt": (
        "gen_ai.choice", {"index": 0}, {"gen_ai.prompt": "hi"}, "gen_ai.choice", "hi", '{"index":0}',
    ),
    "text alone": ("", "it is\nso", {}, "it is\nso", None, None),
    "text beside an event": ("shop.sold", "sold 3", {}, "shop.sold", "sold 3", None),
    "a long text": ("", "first\n" + "x" * 5000, {}, "first", "first\n" + "x" * 5000, None),
    "a structure": ("", {"a": [1, b"\0"]}, {}, '{"a":[1,"AA=="]}', '{"a":[1,"AA=="]}', None),
    "nothing": ("", None, {}, "", None, None),
    "an empty text": ("", "", {}, "", None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", EVENTS)
def test_the_message_and_the_bodies_of_a_log(case, new_entry, records_of_entries):
    event, body, attributes, msg, request, response = EVENTS[case]
    records = records_of_entries(new_entry(attributes, event_name=event, body=body))
    assert {record["msg"] for record in records} == {msg}
    assert [record.get("body") for record in records] == [text for text in (request, response) if text] or [None]


@pytest.mark.parametrize("case", EVENTS)
def test_what_is_no_content_stays_an_attribute_of_the_first_log(case, new_entry, records_of_entries):
    event, body, attributes, *_ = EVENTS[case]
    first, *others = records_of_entries(new_entry(attributes, event_name=event, body=body))
    about = ("event.name", "prompt_length", "tool_name", "call_id", "gen_ai.system")
    kept = {name: value for name, value in first["attributes"].items() if name in attributes}
    assert kept == {name: value for name, value in attributes.items() if name in about}
    assert [set(other["attributes"]) for other in others] == [{"otlp.body"}] * len(others)


def test_a_log_holds_ids_time_and_origin(new_entry, records_of_entries):
    [log] = records_of_entries(new_entry(
        {"session.id": "c"}, trace_id=TRACE_ID, span_id=SPAN_ID, severity=17, severity_text="ERROR", body="no", flags=1,
        dropped_attributes=2, observed_ns=START_NS + 1,
    ))  # fmt: skip
    assert log == {
        "kind": "log", "timestamp": 1790000000123.456789, "extensionId": "my.scope", "conversationId": "c",
        "turnId": TRACE_ID, "spanId": SPAN_ID, "level": "error", "msg": "no",
        "attributes": {
            "session.id": "c", "otlp.severity_number": 17, "otlp.severity_text": "ERROR", "otlp.flags": 1,
            "otlp.dropped_attributes": 2, "otlp.observed_ns": str(START_NS + 1),
            "resource.service.name": "shop", "scope.name": "my.scope", "scope.version": "1.2",
        },
    }  # fmt: skip


def test_the_turn_of_claude_code_is_the_prompt_where_there_is_no_trace(new_entry, records_of_entries):
    assert records_of_entries(new_entry({"prompt.id": "p-1"}))[0]["turnId"] == "p-1"
    assert records_of_entries(new_entry({"prompt.id": "p-1"}, trace_id=TRACE_ID))[0]["turnId"] == TRACE_ID
    assert "turnId" not in records_of_entries(new_entry())[0]


@pytest.mark.parametrize(
    ("severity", "text", "level"),
    [
        (1, "", "debug"), (8, "", "debug"), (9, "", "info"), (12, "", "info"), (13, "", "warn"), (16, "", "warn"),
        (17, "", "error"), (24, "", "error"), (99, "", "error"), (-1, "", "info"), (0, "", "info"),
        (0, "Warning", "warn"), (0, "FATAL", "error"), (0, "odd", "info"),
    ],
)  # fmt: skip
def test_severity_becomes_one_of_four_levels(severity, text, level, new_entry, records_of_entries):
    assert records_of_entries(new_entry(severity=severity, severity_text=text))[0]["level"] == level


def test_ids_that_are_none_are_kept_as_they_came(new_entry, records_of_entries):
    [log] = records_of_entries(new_entry(trace_id="abc", span_id="0" * 16))
    assert "turnId" not in log
    assert "spanId" not in log
    assert log["attributes"]["otlp.trace_id"] == "abc"
    assert "otlp.span_id" not in log["attributes"]


def test_the_time_of_observation_stands_in_for_the_time(new_entry, records_of_entries):
    [log] = records_of_entries(new_entry(time_ns=0, observed_ns=2_000_000))
    assert log["timestamp"] == 2
    assert "otlp.observed_ns" not in log["attributes"]


def test_the_time_of_observation_is_not_said_twice(new_entry, records_of_entries):
    [log] = records_of_entries(new_entry(observed_ns=START_NS))
    assert "otlp.observed_ns" not in log["attributes"]


def test_a_log_without_any_time_is_counted_with_its_reason(new_entry):
    mapped = map_logs([new_entry(time_ns=0), new_entry(problem="severityNumber: wanted an integer"), new_entry()])
    assert mapped.rejected == 2
    assert [reason.split(":")[0] for reason in mapped.reasons] == ["timeUnixNano", "severityNumber"]
    assert len(mapped.records) == 1


def test_reasons_are_few_however_many_are_rejected(new_entry):
    mapped = map_logs(new_entry(problem=f"reason {number}") for number in range(1000))
    assert (mapped.rejected, len(mapped.reasons)) == (1000, 10)
    mapped = map_logs(new_entry(problem="the same") for _ in range(3))
    assert (mapped.rejected, mapped.reasons) == (3, ["the same"])


def test_truncation_stays_an_attribute_and_a_body_elsewhere_is_read(scope, new_entry, records_of_entries):
    attributes = {
        "event.name": "api_response_body", "body_ref": "/d/r.response.json",
        "body_truncated": True, "body_length": 90000, "session.id": "s", "prompt.id": "p",
    }  # fmt: skip
    scope = Scope(scope.resource, "com.anthropic.claude_code.events")
    entry = new_entry(attributes, body="claude_code.api_response_body", scope=scope)
    [log] = records_of_entries(entry, read_ref={"/d/r.response.json": '{"é":1}'.encode()}.get)
    assert log["body"] == '{"é":1}'
    assert {name: log["attributes"][name] for name in attributes} == attributes
    assert "body" not in records_of_entries(entry)[0]


def test_entries_that_read_alike_stay_as_many_as_they_are(new_entry, records_of_entries):
    entries = [new_entry(body="again"), new_entry(body="again"), new_entry(body="other")]
    logs = records_of_entries(*entries)
    assert [log["attributes"].get("otlp.repeat") for log in logs] == [None, 2, None]
    assert records_of_entries(*entries) == logs


def test_a_service_without_a_scope_names_its_logs(new_entry, records_of_entries):
    assert records_of_entries(new_entry(scope=Scope(Resource({"service.name": "shop"}))))[0]["extensionId"] == "shop"
