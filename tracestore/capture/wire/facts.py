"""What a call to a provider says about itself: provider, model, tokens, request id, error.

Read from the bodies of OpenAI, Anthropic and Google, plain or as server-sent events, and of the many
who speak like one of them. What is not there is not said. ``inputTokens`` are all of the input, also
those that a cache gave or took.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

_PROVIDERS: Final = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.x.ai": "xai",
    "api.cohere.com": "cohere",
    "api.together.xyz": "together",
    "openrouter.ai": "openrouter",
}
_PROVIDER_SUFFIXES: Final = {".openai.azure.com": "azure.openai", "-aiplatform.googleapis.com": "google"}
_PATHS: Final = {
    "/messages": "anthropic",
    "/chat/completions": "openai",
    "/completions": "openai",
    "/responses": "openai",
    "/embeddings": "openai",
    ":generateContent": "google",
    ":streamGenerateContent": "google",
}
_MODEL_IN_PATH = re.compile(r"/(?:model|deployments)/([^/]+)/|/models/([^/:]+):")  # Bedrock, Azure; Google
_REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id", "x-goog-request-id", "cf-ray")
_TOKENS: Final = {
    "inputTokens": ("input_tokens", "prompt_tokens", "promptTokenCount", "inputTokens", "tokens.input_tokens"),
    "outputTokens": (
        "output_tokens", "completion_tokens", "candidatesTokenCount", "outputTokens", "tokens.output_tokens",
    ),
    "cacheReadTokens": (
        "cache_read_input_tokens", "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens",
        "cachedContentTokenCount", "prompt_cache_hit_tokens", "cacheReadInputTokens",
    ),
    "cacheWriteTokens": ("cache_creation_input_tokens", "cacheWriteInputTokens"),
    "reasoningTokens": (
        "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "thoughtsTokenCount",
    ),
}  # fmt: skip
_BESIDE_INPUT: Final = {
    "input_tokens": ("cache_read_input_tokens", "cache_creation_input_tokens"),
    "inputTokens": ("cacheReadInputTokens", "cacheWriteInputTokens"),
}
"""Anthropic and Bedrock count what a cache gave and took beside the input; all others, as OpenTelemetry, within it."""
# In a stream of OpenAI every event says "usage":null, and the last one what it was.
_TELLING = re.compile(rb'"(?:usage(?:Metadata)?|error)"\s*:\s*\{')
_EVENT = re.compile(rb"^data:[ ]?(\{.*)$", re.MULTILINE)
_DONE = b"[DONE]"
_LAST_TYPES: Final = frozenset(
    ("message_stop", "error", "response.completed", "response.incomplete", "response.failed", "message-end")
)
_HOLDERS: Final = ("message", "response", "delta", "x_groq")  # first event of Anthropic; Responses, Cohere, Groq


class Said(NamedTuple):
    """What a response says: attributes, and what went wrong after its status was sent, or before."""

    attributes: dict[str, Any]
    error: str | None


class _Request(msgspec.Struct):
    """What of a request is looked at."""

    model: Any = None
    stream: Any = None


_decode_request = msgspec.json.Decoder(_Request).decode


def provider_of(host: str, path: str) -> str:
    """Return who is asked: by the host, else by whose path it is, else the host itself."""
    known = _PROVIDERS.get(host)
    if known is None:
        known = next((name for suffix, name in _PROVIDER_SUFFIXES.items() if host.endswith(suffix)), None)
    return known or next((name for end, name in _PATHS.items() if path.endswith(end)), host)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the id that the provider gave the request."""
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)


def of_request(path: str, body: bytes) -> dict[str, Any]:
    """Return ``model`` and ``stream`` of a request, as far as it says them."""
    try:
        request = _decode_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = _Request()
    in_path = _MODEL_IN_PATH.search(path)
    said = {"model": request.model or (in_path and (in_path[1] or in_path[2])), "stream": request.stream}
    return {name: value for name, value in said.items() if isinstance(value, str | bool)}


def of_response(body: bytes) -> Said:
    """Return ``model``, ``responseId``, tokens and error of a response, of one object or of a stream of events."""
    found: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    error: str | None = None
    for event in _events(body):
        holders = (event, *(event[name] for name in _HOLDERS if isinstance(event.get(name), dict)))
        for holder in holders:
            _add_text(found, "model", holder.get("model") or holder.get("modelVersion"))
            _add_text(found, "responseId", holder.get("id") or holder.get("responseId"))
            said = holder.get("usage") or holder.get("usageMetadata") or holder.get("meta")
            if isinstance(said, dict):
                usage |= {name: value for name, value in said.items() if value is not None}
            error = error or _error_text(holder.get("error"))
    return Said(found | _tokens(usage), error)


def is_finished(body: bytes) -> bool:
    """Tell whether a stream of events came to its last one, where many readers stop, before its end."""
    start = body.rfind(b"\ndata:") + 1
    last = body[start:] if body.startswith(b"data:", start) else b""
    data = last[len(b"data:") :].partition(b"\n")[0].strip()
    return data == _DONE or (_object(data) or {}).get("type") in _LAST_TYPES


def _events(body: bytes) -> list[dict[str, Any]]:
    """Return the objects of a response that tell something: the only one, or the first and those with usage."""
    if body[:100].lstrip()[:1] in (b"{", b"["):
        whole = _decoded(body)
        if whole is not None:
            return [each for each in (whole if isinstance(whole, list) else [whole]) if isinstance(each, dict)]
    first = _EVENT.search(body)
    if first is None:
        return []
    lines = [first[1]]
    end = first.end()
    for telling in _TELLING.finditer(body, end):
        if telling.start() < end:
            continue  # a second one in the same event
        start = body.rfind(b"\n", 0, telling.start()) + 1
        line = _EVENT.match(body, start)
        if line is not None:
            lines.append(line[1])
            end = line.end()
    return [event for line in lines if (event := _object(line)) is not None]


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _object(data: bytes) -> dict[str, Any] | None:
    decoded = _decoded(data)
    return decoded if isinstance(decoded, dict) else None


def _error_text(error: Any) -> str | None:
    """Return what an error says: its type, or its code, and its message."""
    if isinstance(error, dict):
        said = (error.get("type") or error.get("status") or error.get("code"), error.get("message"))
        return ": ".join(str(part) for part in said if part) or None
    return error if isinstance(error, str) and error else None


def _tokens(usage: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, keys in _TOKENS.items():
        for key in keys:
            count = _count_at(usage, key)
            if count is not None:
                found[name] = count + sum(_count_at(usage, beside) or 0 for beside in _BESIDE_INPUT.get(key, ()))
                break
    return found


def _count_at(usage: dict[str, Any], key: str) -> int | None:
    group, _, name = key.rpartition(".")
    holder = usage.get(group) if group else usage
    count = holder.get(name) if isinstance(holder, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _add_text(found: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, str) and value:
        found.setdefault(name, value)
