"""A journal as spans and provider calls, and a call's bodies as messages; the standard library alone.

Bodies of the two usual protocols are understood: messages of strings or of blocks, with uses of tools in
the blocks or beside them. A body of any other shape has no messages, and its text still is what it was.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Span:
    """A span of a turn; a provider call is one with a request."""

    span_id: str
    parent_id: str | None
    conversation_id: str
    turn_id: str
    name: str
    start_ms: float
    attributes: dict[str, Any]
    request: str | None = None
    """The body of its opening record, verbatim."""
    response: str | None = None
    """The body of its closing record, verbatim."""
    end_ms: float | None = None
    """None while it is open."""

    @property
    def is_call(self) -> bool:
        """Tell whether something was sent to a provider."""
        return self.request is not None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One use of a tool that a model asked for."""

    id: str
    name: str
    arguments: str
    """A JSON object."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt or an answer."""

    role: str
    """One of system, user, assistant, tool."""
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    result_of: str = ""
    """Of a tool's answer: the id of the call."""


@dataclass(frozen=True, slots=True)
class Tool:
    """The definition of a tool in a request."""

    name: str
    description: str
    schema: dict[str, Any] = field(hash=False)


def steps(journal: Path) -> Iterator[Span]:
    """Yield every span twice, in the order of the journal: when it opens and when it closes."""
    with journal.open("rb") as lines:
        yield from _steps(json.loads(line) for line in lines)


def conversations(journal: Path) -> Iterator[tuple[str, list[Span]]]:
    """Yield each conversation with its calls, closed, in order; one conversation at a time is in memory."""
    places: dict[str, list[int]] = {}
    with journal.open("rb") as lines:
        offset = 0
        for line in lines:
            if b'"body"' in line:
                places.setdefault(json.loads(line).get("conversationId", ""), []).append(offset)
            offset += len(line)
        for conversation, offsets in places.items():
            steps_of_calls = _steps(_records_at(lines, offsets))
            yield conversation, [span for span in steps_of_calls if span.is_call and span.end_ms is not None]


def _records_at(lines: Any, offsets: Iterable[int]) -> Iterator[dict[str, Any]]:
    for offset in offsets:
        lines.seek(offset)
        yield json.loads(lines.readline())


def _steps(records: Iterable[dict[str, Any]]) -> Iterator[Span]:
    open_spans: dict[tuple[str, str], Span] = {}
    for record in records:
        if record["kind"] not in ("span-open", "span-close"):
            continue
        key = (record.get("turnId", ""), record["spanId"])
        attributes, body = record.get("attributes") or {}, _text(record)
        if record["kind"] == "span-open":
            span = open_spans[key] = Span(
                record["spanId"], record.get("parentSpanId"), record.get("conversationId", ""), key[0],
                record["name"], record["timestamp"], attributes, request=body,
            )  # fmt: skip
            yield span
        elif span := open_spans.pop(key, None):
            span.attributes = {**span.attributes, **attributes}
            span.response, span.end_ms = body, record["timestamp"]
            yield span


def _text(record: dict[str, Any]) -> str | None:
    body: str | None = record.get("body")
    if body is not None and record.get("bodyEncoding") == "base64":
        return base64.b64decode(body).decode(errors="surrogateescape")
    return body


def parsed(body: str | None) -> dict[str, Any]:
    """Return a body as JSON; ``{"text": ...}`` where it is no JSON object."""
    try:
        value = json.loads(body or "")
    except ValueError:
        return {"text": body or ""}
    return value if isinstance(value, dict) else {"text": body}


def request_messages(request: dict[str, Any]) -> list[Message]:
    """Return what a request says to the model, the system prompt first."""
    messages = _messages("system", request.get("system") or [])
    for message in request.get("messages") or []:
        messages += _messages(message.get("role", "user"), message.get("content") or "", message)
    return messages


def response_messages(response: dict[str, Any]) -> list[Message]:
    """Return what the model answered."""
    if choices := response.get("choices"):
        said = [choice.get("message") or {} for choice in choices]
        return [found for message in said for found in _messages("assistant", message.get("content") or "", message)]
    return _messages("assistant", response.get("content") or response.get("text") or "")


def tools(request: dict[str, Any]) -> list[Tool]:
    """Return the definitions of tools in a request."""
    given = [tool.get("function") or tool for tool in request.get("tools") or []]
    schemas = [tool.get("input_schema") or tool.get("parameters") or {} for tool in given]
    return [
        Tool(tool.get("name", ""), tool.get("description", ""), schema)
        for tool, schema in zip(given, schemas, strict=True)
    ]


def _messages(role: str, content: Any, around: dict[str, Any] | None = None) -> list[Message]:
    """Return a message's own message, and before it one for each answer of a tool inside it."""
    around = around or {}
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    results = [
        Message("tool", _joined(block.get("content") or ""), result_of=block.get("tool_use_id") or "")
        for block in blocks
        if block.get("type") == "tool_result"
    ]
    own = Message(
        role,
        _joined(blocks),
        "\n".join(block.get("thinking") or "" for block in blocks if block.get("type") == "thinking"),
        (*_used_in_blocks(blocks), *_used_beside(around.get("tool_calls") or [])),
        around.get("tool_call_id") or "",
    )
    has_own = own.text or own.reasoning or own.tool_calls
    return [*results, own] if has_own else results


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text") or "" for block in content if block.get("type") == "text")


def _used_in_blocks(blocks: list[dict[str, Any]]) -> Iterator[ToolCall]:
    for block in blocks:
        if block.get("type") == "tool_use":
            yield ToolCall(block.get("id") or "", block.get("name") or "", json.dumps(block.get("input") or {}))


def _used_beside(uses: list[dict[str, Any]]) -> Iterator[ToolCall]:
    for use in uses:
        function = use.get("function") or {}
        yield ToolCall(use.get("id") or "", function.get("name") or "", function.get("arguments") or "{}")
