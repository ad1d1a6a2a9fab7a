"""Attributes that become columns, whatever convention their producer follows.

Questions over JSON are four to six times slower than over columns, so what people ask most (model,
tokens, tool) has columns of its own beside the JSON. The names are those of our own recorder, of
OpenTelemetry's GenAI semantic conventions, OpenInference and OpenLLMetry; earlier names win.
"""

from typing import Final, Literal, TypeAlias

from tracestore.record import Attributes

Promoted: TypeAlias = Literal[
    "provider", "model", "tool", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"
]

_TEXT: Final[dict[Promoted, tuple[str, ...]]] = {
    "provider": ("provider", "gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "model": (
        "model", "gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "llm.request.model",
        "embedding.model_name", "reranker.model_name",
    ),
    "tool": ("tool", "toolName", "tool_name", "gen_ai.tool.name", "tool.name"),
}  # fmt: skip
_COUNT: Final[dict[Promoted, tuple[str, ...]]] = {
    "input_tokens": (
        "inputTokens", "input_tokens", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt", "llm.usage.prompt_tokens", "input_token_count",
    ),
    "output_tokens": (
        "outputTokens", "output_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens",
        "llm.token_count.completion", "llm.usage.completion_tokens", "output_token_count",
    ),
    "cache_read_tokens": (
        "cacheReadTokens", "cache_read_tokens", "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens", "llm.token_count.prompt_details.cache_read", "cached_token_count",
    ),
    "cache_write_tokens": (
        "cacheWriteTokens", "cacheCreationTokens", "cache_creation_tokens",
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
}  # fmt: skip

COLUMNS: Final[tuple[Promoted, ...]] = (*_TEXT, *_COUNT)

# name -> (column, rank, whether it is text)
_WANTED: Final = {
    name: (column, rank, group is _TEXT)
    for group in (_TEXT, _COUNT)
    for column, names in group.items()
    for rank, name in enumerate(names)
}
_BIGINT_LIMIT = 2**63


def promote(attributes: Attributes | None) -> dict[Promoted, str | int]:
    """Return the columns that these attributes fill; a value of another type stays an attribute only."""
    found: dict[Promoted, tuple[int, str | int]] = {}
    for name in attributes or ():
        wanted = _WANTED.get(name)
        if wanted is None:
            continue
        column, rank, is_text = wanted
        value = (attributes or {})[name]
        is_better = column not in found or rank < found[column][0]
        if is_better and (isinstance(value, str) if is_text else _is_count(value)):
            assert isinstance(value, str | int)
            found[column] = (rank, value)
    return {column: value for column, (_, value) in found.items()}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _BIGINT_LIMIT
