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
    """As it was sent: system, developer, user, assistant, tool."""
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
    """Yield each conversation that has calls with them, closed, in order; one conversation at a time is in memory."""
    places: dict[str, list[int]] = {}
    with journal.open("rb") as lines:
        offset = 0
        for line in lines:
            if b'"body"' in line:
                places.setdefault(json.loads(line).get("conversationId", ""), []).append(offset)
            offset += len(line)
        for conversation, offsets in places.items():
            both = _steps(_records_at(lines, offsets))
            if calls := [span for span in both if span.is_call and span.end_ms is not None]:
                yield conversation, calls


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
        return base64.b64decode(body).decode(errors="replace")
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
    messages = _messages("system", request.get("system"))
    for message in _objects(request.get("messages")):
        messages += _messages(_string(message.get("role") or "user"), message.get("content"), message)
    return messages


def response_messages(response: dict[str, Any]) -> list[Message]:
    """Return what the model answered."""
    if choices := _objects(response.get("choices")):
        said = _objects([choice.get("message") for choice in choices])
        return [found for message in said for found in _messages("assistant", message.get("content"), message)]
    return _messages("assistant", response.get("content") or response.get("text"))


def tools(request: dict[str, Any]) -> list[Tool]:
    """Return the definitions of tools in a request."""
    given = [tool.get("function") or tool for tool in _objects(request.get("tools"))]
    return [
        Tool(_string(tool.get("name")), _string(tool.get("description")), _schema(tool)) for tool in _objects(given)
    ]


def _schema(tool: dict[str, Any]) -> dict[str, Any]:
    schema = tool.get("input_schema") or tool.get("parameters")
    return schema if isinstance(schema, dict) else {}


def _messages(role: str, content: Any, around: dict[str, Any] | None = None) -> list[Message]:
    """Return a message's own message, and before it one for each answer of a tool inside it."""
    around = around or {}
    blocks = _blocks(content)
    results = [
        Message("tool", _joined(_blocks(block.get("content"))), result_of=_string(block.get("tool_use_id")))
        for block in blocks
        if block.get("type") == "tool_result"
    ]
    own = Message(
        role,
        _joined(blocks),
        "\n".join(_string(block.get("thinking")) for block in blocks if block.get("type") == "thinking"),
        (*_used_in_blocks(blocks), *_used_beside(_objects(around.get("tool_calls")))),
        _string(around.get("tool_call_id")),
    )
    has_own = own.text or own.reasoning or own.tool_calls
    return [*results, own] if has_own else results


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Return content as blocks, whatever a program sent: text where it is neither blocks nor nothing."""
    if isinstance(content, list):
        return [block if isinstance(block, dict) else {"type": "text", "text": block} for block in content]
    return [{"type": "text", "text": content}] if content else []


def _joined(blocks: list[dict[str, Any]]) -> str:
    return "\n".join(_string(block.get("text")) for block in blocks if block.get("type") == "text")


def _used_in_blocks(blocks: list[dict[str, Any]]) -> Iterator[ToolCall]:
    for block in blocks:
        if block.get("type") == "tool_use":
            yield _tool_call(block.get("id"), block.get("name"), block.get("input"))


def _used_beside(uses: list[dict[str, Any]]) -> Iterator[ToolCall]:
    for use in uses:
        function = use.get("function")
        function = function if isinstance(function, dict) else {}
        yield _tool_call(use.get("id"), function.get("name"), function.get("arguments"))


def _tool_call(call: Any, name: Any, arguments: Any) -> ToolCall:
    """Make a use of a tool, whose arguments may be an object or its text."""
    given = parsed(arguments) if isinstance(arguments, str) else arguments
    return ToolCall(_string(call), _string(name), json.dumps(given if isinstance(given, dict) else {}))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _string(value: Any) -> str:
    """Return text as it is, and anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
