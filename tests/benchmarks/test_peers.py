"""A journal as peers are given it: spans, calls, messages; and a peer that cannot be had."""

import json
from dataclasses import replace

import pytest

from benchmarks.corpora.coding_agent import CodingAgent
from benchmarks.harness import Options
from benchmarks.peers import PEERS, environment
from benchmarks.peers.calls import (
    Message,
    ToolCall,
    conversations,
    parsed,
    request_messages,
    response_messages,
    steps,
    tools,
)
from benchmarks.workloads import peers
from benchmarks.workloads.peers import _calls_and_middle

ANTHROPIC = {
    "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
    "messages": [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "ask the tool", "signature": "x"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"at": "Riga"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "and now?"},
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "tells", "input_schema": {"type": "object"}}],
}
OPENAI = {
    "messages": [
        {"role": "system", "content": "be brief\nbe kind"},
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "function": {"name": "weather", "arguments": '{"at": "Riga"}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "rain"},
        {"role": "user", "content": "and now?"},
    ],
    "tools": [{"function": {"name": "weather", "description": "tells", "parameters": {"type": "object"}}}],
}
KINDS = (("span-open", "request"), ("span-close", "response"))
SIZES, ENDS = (("a", 3), ("b", 2), ("c", 6), ("d", 2)), ("span-open", "span-close")
ODD = (None, 1, "text", [1], ["text"], [None], {"a": 1}, [{"type": "text", "text": {"a": 1}}])
SAID = [
    Message("system", "be brief\nbe kind"),
    Message("user", "weather?"),
    Message("assistant", tool_calls=(ToolCall("t1", "weather", '{"at": "Riga"}'),)),
    Message("tool", "rain", result_of="t1"),
    Message("user", "and now?"),
]


def journal_of(path, *records):
    path.write_text("".join(json.dumps({"timestamp": ms, **record}) + "\n" for ms, record in enumerate(records)))
    return path


def record(kind, span_id, conversation="c", **members):
    return {"kind": kind, "spanId": span_id, "turnId": "t", "conversationId": conversation, "name": "x", **members}


@pytest.fixture
def journal(tmp_path):
    return journal_of(
        tmp_path / "journal.ndjson",
        record("span-open", "root"),
        {"kind": "log", "msg": "hello", "turnId": "t", "level": "info"},
        record("span-open", "call", parentSpanId="root", attributes={"model": "m", "try": 1}, body="sent"),
        record("span-open", "other", conversation="d", body="sent elsewhere"),
        record("span-close", "call", attributes={"try": 2}, body="cmVjZWl2ZWQ=", bodyEncoding="base64"),
        record("span-close", "root"),
        record("span-close", "never opened", body="lost"),
    )


def test_a_span_comes_when_it_opens_and_when_it_closes(journal):
    seen = [(step.span_id, step.end_ms is not None) for step in steps(journal)]
    assert seen == [("root", False), ("call", False), ("other", False), ("call", True), ("root", True)]


def test_a_call_has_what_was_sent_and_received_and_all_attributes(journal):
    closed = {step.span_id: step for step in steps(journal) if step.end_ms is not None}
    call, root = closed["call"], closed["root"]
    assert (call.request, call.response, call.parent_id, call.is_call) == ("sent", "received", "root", True)
    assert (call.start_ms, call.end_ms, call.attributes) == (2, 4, {"model": "m", "try": 2})
    assert (root.is_call, root.parent_id) == (False, None)


def test_conversations_come_one_by_one_with_the_calls_that_ended(journal):
    found = {conversation: [span.span_id for span in spans] for conversation, spans in conversations(journal)}
    assert found == {"c": ["call"]}


def test_both_protocols_say_the_same(journal):
    assert request_messages(OPENAI) == SAID
    thought = [replace(message, reasoning="ask the tool" if message.tool_calls else "") for message in SAID]
    assert request_messages(ANTHROPIC) == thought
    assert tools(OPENAI) == tools(ANTHROPIC) != []


def test_an_answer_is_a_message():
    assert response_messages({"content": [{"type": "text", "text": "rain"}]}) == [Message("assistant", "rain")]
    choices = [{"message": {"role": "assistant", "content": "rain"}}]
    assert response_messages({"choices": choices}) == [Message("assistant", "rain")]


@pytest.mark.parametrize("body", ["data: {}\n\n", "[1]", ""])
def test_a_body_that_is_no_json_object_keeps_its_text(body):
    assert parsed(body) == {"text": body}
    assert request_messages(parsed(body)) == []


@pytest.mark.parametrize("odd", ODD)
def test_whatever_a_program_sent_is_messages_of_text(odd):
    request = {"system": odd, "tools": odd, "messages": [odd, {"role": odd, "content": odd, "tool_calls": odd}]}
    response = {"content": odd, "choices": odd}
    found = [*request_messages(request), *request_messages({"messages": odd}), *response_messages(response)]
    assert all(isinstance(text, str) for message in found for text in (message.role, message.text, message.reasoning))
    assert all(isinstance(tool.name, str) for tool in tools(request))


def test_a_coding_agents_calls_are_all_there_and_verbatim(tmp_path):
    week = CodingAgent(conversations=1)
    lines = [json.loads(line) for line in week.lines()]
    path = week.write(tmp_path / "week.ndjson")
    ((_, spans),) = conversations(path)
    bodies = {(line["kind"], line["spanId"]): line["body"] for line in lines if "body" in line}
    assert {(kind, span.span_id): getattr(span, of) for span in spans for kind, of in KINDS} == bodies
    first = request_messages(parsed(spans[0].request))
    assert [message.role for message in first] == ["system", "user"]
    assert response_messages(parsed(spans[0].response))[0].tool_calls


def test_a_peer_that_cannot_be_installed_is_told_and_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(environment.sys, "executable", "/bin/false")
    with pytest.raises(environment.PeerFailed, match="wanted exit code 0, found 1"):
        environment.prepared(PEERS[0])
    assert not list(tmp_path.rglob("made.txt"))


def test_what_a_script_prints_last_is_its_figures(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "starting"\necho "{\\"calls\\": 3, \\"home\\": \\"$HOME\\"}"\n')
    script.chmod(0o755)
    figures = environment.in_environment(PEERS[0], script, "feed", "journal", tmp_path)
    assert figures == {"calls": 3, "home": str(tmp_path)}


def test_the_middle_is_where_half_of_the_bytes_of_bodies_are_older(tmp_path):
    turns = [record(kind, name, turnId=name, body=name * size) for name, size in SIZES for kind in ENDS]
    assert _calls_and_middle(journal_of(tmp_path / "journal.ndjson", *turns)) == (4, 4)


def test_a_journal_without_calls_is_an_error(tmp_path):
    path = journal_of(tmp_path / "journal.ndjson", record("span-open", "root"), record("span-close", "root"))
    with pytest.raises(RuntimeError, match="wanted provider calls with bodies, found none"):
        _calls_and_middle(path)


def test_without_being_asked_no_peer_runs(tmp_path, capsys):
    assert peers.run(Options("small", 1, tmp_path)) == []
    assert "--peers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
