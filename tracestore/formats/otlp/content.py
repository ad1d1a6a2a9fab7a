"""Which attributes are content of a request or a response, and the one body that each side becomes.

A single content attribute is the body, as it stands. Several are one JSON object, name to value: a
text that is a JSON object or list stands there as it is, any other text as a JSON string, and
flattened names (``gen_ai.prompt.0.role``) as the structure they were, under their prefix.
"""

import re
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec

from tracestore.formats.otlp.flattened import nested
from tracestore.formats.otlp.openinference import requested_model, without_copies
from tracestore.record import encode_json, text_of
from tracestore.record.attributes import json_text, put

Side: TypeAlias = Literal["request", "response"]
Content: TypeAlias = dict[str, Any]
"""What one side holds by name; a flattened group is under its prefix and a dot, its names without them."""

_REQUEST = frozenset((
    "gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.input.messages_delta",
    "gen_ai.tool.definitions", "gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text", "gen_ai.prompt",
    "traceloop.entity.input", "input.value", "llm.input_messages", "llm.tools", "llm.prompts",
    "llm.invocation_parameters", "llm.prompt_template.template", "llm.prompt_template.variables",
    "reranker.query", "pydantic_ai.all_messages", "model_request_parameters", "tool_arguments",
))  # fmt: skip
_RESPONSE = frozenset((
    "gen_ai.output.messages", "gen_ai.tool.call.result", "gen_ai.retrieval.documents", "gen_ai.completion",
    "traceloop.entity.output", "output.value", "llm.output_messages", "llm.choices", "tool_response",
    "final_result",
))  # fmt: skip
_CODING_AGENT_REQUEST = frozenset(("prompt", "user_prompt", "tool_input", "tool_parameters", "arguments", "input"))
_CODING_AGENT_RESPONSE = frozenset(("response", "response.model_output", "output"))
_REQUEST_PREFIXES = (
    "gen_ai.prompt.", "llm.request.functions.", "llm.input_messages.", "llm.tools.", "llm.prompts.",
    "reranker.input_documents.",
)  # fmt: skip
_RESPONSE_PREFIXES = (
    "gen_ai.completion.", "llm.output_messages.", "llm.choices.", "retrieval.documents.", "embedding.embeddings.",
    "reranker.output_documents.",
)  # fmt: skip
_FLATTENED = re.compile(rf"({'|'.join(map(re.escape, _REQUEST_PREFIXES + _RESPONSE_PREFIXES))})[0-9]+(?:\.|$)")
_REFS = {
    f"{name}_ref": "request" if name in _REQUEST else "response"
    for name in _REQUEST | _RESPONSE
    if name.startswith("gen_ai.")
}
_CODING_AGENTS = ("claude_code.", "com.anthropic.claude_code", "codex.", "codex_")
_is_json = msgspec.json.Decoder(msgspec.Raw).decode


class Sides(msgspec.Struct, gc=False):
    """Attributes apart: what was sent, what came back, and what is about it."""

    request: Content = {}
    response: Content = {}
    rest: dict[str, Any] = {}


def apart(attributes: dict[str, Any], event: str, *around: str) -> Sides:
    """Tell content from attributes; of a span, event or log, by its name and what is around it: span, scope."""
    sides = Sides()
    agent = any(name.startswith(_CODING_AGENTS) for name in (event, *around))
    for name, value in attributes.items():
        place = _place(name) if len(name) < 200 else None  # a longer one is none of ours, and the cache keeps names
        if place is None and agent:
            place = _place_of_coding_agent(name, event)
        if place is None or value is None or value == "":
            sides.rest[name] = value
            continue
        side, prefix = place
        content = sides.request if side == "request" else sides.response
        if prefix:
            content.setdefault(prefix, {})[name[len(prefix) :]] = value
        else:
            content[name] = value
    if model := requested_model(attributes, sides.request):
        sides.rest["gen_ai.request.model"] = model
    without_copies(sides.request, sides.response)
    return sides


def side_of_ref(name: str, event: str) -> Side | None:
    """Return which side a reference to content elsewhere belongs to; None where it is no reference."""
    if name == "body_ref":
        return side_of_body(event)
    side = _REFS.get(name)
    return None if side is None else "request" if side == "request" else "response"


def side_of_body(event: str) -> Side:
    """Return which side the one body of an event is: `api_response_body` of Claude Code, `gen_ai.choice`."""
    return "response" if event.endswith(("response_body", "gen_ai.choice")) else "request"


def folded(content: Content) -> tuple[str | bytes, str] | None:
    """Return the one body of a side and the names of what it holds, comma between them; None without content."""
    if not content:
        return None
    names = ",".join(name.rstrip(".") for name in content)
    if len(content) == 1:
        [(name, value)] = content.items()
        if not name.endswith("."):
            value = text_of(value) if isinstance(value, bytes) else value
            return value if isinstance(value, str | bytes) else json_text(value), names
    pieces: dict[str, str] = {}
    for name, value in content.items():
        if name.endswith("."):
            put(pieces, name[:-1], json_text(nested(value)))
        else:
            put(pieces, name, _piece(value))
    return "{" + ",".join(f"{encode_json(name).decode()}:{piece}" for name, piece in pieces.items()) + "}", names


@lru_cache(maxsize=4096)
def _place(name: str) -> tuple[Side, str] | None:
    """Return side and, of a flattened name, prefix."""
    if name in _REQUEST:
        return "request", ""
    if name in _RESPONSE:
        return "response", ""
    flattened = _FLATTENED.match(name)
    if flattened is None:
        return None
    is_request = flattened[1] in _REQUEST_PREFIXES or name.endswith(".embedding.text")  # beside its vector
    return ("request" if is_request else "response"), flattened[1]


def _place_of_coding_agent(name: str, event: str) -> tuple[Side, str] | None:
    """Claude Code and Codex use everyday words, which are content in their own events alone."""
    if name in _CODING_AGENT_REQUEST:
        return "request", ""
    if name in _CODING_AGENT_RESPONSE:
        return "response", ""
    if name == "body":
        return side_of_body(event), ""
    return None


def _piece(value: Any) -> str:
    value = text_of(value) if isinstance(value, bytes) else value
    if not isinstance(value, str):
        return json_text(value)
    if value.lstrip()[:1] in ("{", "["):
        try:
            _is_json(value)
            return value
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass  # not JSON, or not all of it: a text like any other
    return encode_json(value).decode()
