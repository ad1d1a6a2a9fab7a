"""OpenInference sends content twice, raw and flattened: one copy is kept where both say the same.

The raw one, ``input.value`` and ``output.value``, is what the provider got and gave. A flattened copy
goes only when the raw text is JSON of OpenAI's chat or embeddings, has as many messages, and holds
every single flattened value at its own place. Otherwise (redacted, another provider) both are kept.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from tracestore.record import encode_json

_exact = msgspec.json.Decoder(float_hook=Decimal).decode  # a double would call 0.1 and 0.10000000000000000001 the same

_MODEL_KINDS = ("LLM", "EMBEDDING")
_MODEL_NAMES = frozenset(("llm.model_name", "embedding.model_name", "gen_ai.request.model"))
_MODEL_CHARACTERS = 200
_MESSAGE_TEXTS = {"role": "role", "content": "content", "name": "name", "tool_call_id": "tool_call_id"}
_CONTENT_TYPES = {"image_url": "image"}


def without_copies(request: dict[str, Any], response: dict[str, Any]) -> None:
    """Take out flattened content that ``input.value`` and ``output.value`` hold as well."""
    sent = _parsed(request.get("input.value")) if _REQUEST_COPIES.keys() & request.keys() else None
    got = _parsed(response.get("output.value")) if _RESPONSE_COPIES.keys() & response.keys() else None
    if sent is not None:
        for name in _REQUEST_COPIES.keys() & request.keys():
            if _REQUEST_COPIES[name](request[name], sent):
                del request[name]
    if got is not None:
        for name in _RESPONSE_COPIES.keys() & response.keys():
            if _RESPONSE_COPIES[name](response[name], got):
                del response[name]


def requested_model(attributes: dict[str, Any], request: dict[str, Any]) -> str | None:
    """Return the model of a call that failed: OpenInference names it after the answer, the request before it."""
    if attributes.get("openinference.span.kind") not in _MODEL_KINDS or not _MODEL_NAMES.isdisjoint(attributes):
        return None
    sent = _parsed(request.get("input.value"))
    model = None if sent is None else sent.get("model")
    return model if isinstance(model, str) and len(model) <= _MODEL_CHARACTERS else None


def _parsed(value: Any) -> dict[str, Any] | None:
    try:
        parsed = _exact(value) if isinstance(value, str) else None
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError, ArithmeticError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _are_messages(flat: dict[str, Any], sent: dict[str, Any]) -> bool:
    return _holds_messages(flat, sent.get("messages"))


def _are_choices(flat: dict[str, Any], got: dict[str, Any]) -> bool:
    choices = got.get("choices")
    if not isinstance(choices, list):
        return False
    return _holds_messages(flat, [choice.get("message") if isinstance(choice, dict) else None for choice in choices])


def _are_tools(flat: dict[str, Any], sent: dict[str, Any]) -> bool:
    tools = sent.get("tools")
    if not isinstance(tools, list):
        return False
    schemas = {f"{index}.tool.json_schema": tool for index, tool in enumerate(tools)}
    return all(name in schemas and _is_json_of(text, schemas[name]) for name, text in flat.items())


def _are_parameters(text: Any, sent: dict[str, Any]) -> bool:
    parameters = _parsed(text)
    return parameters is not None and all(
        name in sent and _canonical(value) == _canonical(sent[name]) for name, value in parameters.items()
    )


def _are_embedded(flat: dict[str, Any], sent: dict[str, Any]) -> bool:
    texts = sent.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    return _are_rows(flat, texts, "text")


def _are_vectors(flat: dict[str, Any], got: dict[str, Any]) -> bool:
    rows = got.get("data")
    vectors = [row.get("embedding") if isinstance(row, dict) else None for row in rows] if isinstance(rows, list) else 0
    return _are_rows(flat, vectors, "vector")


def _are_rows(flat: dict[str, Any], rows: Any, what: str) -> bool:
    if not isinstance(rows, list):
        return False
    held = {f"{index}.embedding.{what}": row for index, row in enumerate(rows)}
    return all(name in held and _canonical(value) == _canonical(held[name]) for name, value in flat.items())


_REQUEST_COPIES: dict[str, Callable[[Any, dict[str, Any]], bool]] = {
    "llm.input_messages.": _are_messages,
    "llm.tools.": _are_tools,
    "llm.invocation_parameters": _are_parameters,
    "embedding.embeddings.": _are_embedded,
}
_RESPONSE_COPIES: dict[str, Callable[[Any, dict[str, Any]], bool]] = {
    "llm.output_messages.": _are_choices,
    "embedding.embeddings.": _are_vectors,
}


def _holds_messages(flat: dict[str, Any], messages: Any) -> bool:
    """Tell whether every flattened value is in these messages, and no message is missing among the flattened."""
    if not isinstance(messages, list) or len({name.partition(".")[0] for name in flat}) != len(messages):
        return False
    held: dict[str, str] = {}
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return False
        _flatten(message, f"{index}.message.", held)
    return all(isinstance(value, str) and held.get(name) == value for name, value in flat.items())


def _flatten(message: dict[str, Any], prefix: str, held: dict[str, str]) -> None:
    """Add the texts of a chat message under the names that OpenInference gives them."""
    for key, name in _MESSAGE_TEXTS.items():
        _add(held, prefix + name, message.get(key))
    parts = message.get("content")
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, dict):
            place = f"{prefix}contents.{index}.message_content."
            kind = part.get("type")
            _add(held, place + "type", _CONTENT_TYPES.get(kind, kind) if isinstance(kind, str) else None)
            _add(held, place + "text", part.get("text"))
            image = part.get("image_url")
            _add(held, place + "image.image.url", image.get("url") if isinstance(image, dict) else image)
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            place = f"{prefix}tool_calls.{index}.tool_call."
            _add(held, place + "id", call.get("id"))
            function = call.get("function")
            if isinstance(function, dict):
                _add(held, place + "function.name", function.get("name"))
                _add(held, place + "function.arguments", function.get("arguments"))


def _add(held: dict[str, str], name: str, value: Any) -> None:
    if isinstance(value, str):
        held[name] = value


def _is_json_of(text: Any, value: Any) -> bool:
    parsed = _parsed(text)
    return parsed is not None and _canonical(parsed) == _canonical(value)


def _canonical(value: Any) -> bytes:
    """Return JSON that tells 1 from 1.0 and from true, which Python calls equal."""
    return encode_json(value, with_sorted_keys=True)
