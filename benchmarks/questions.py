"""Five analytic questions, each written for us and, in its best form, for SQLite.

One set asks columns, one our views, one attributes that no column has. SQLite has no percentile, so a window
function ranks; and no view of ours, so each of its questions groups the halves of spans itself, with the columns
it needs and no others.
"""

from typing import Final, TypeAlias

Questions: TypeAlias = dict[str, tuple[str, str]]
"""Name to SQL of ours and of SQLite."""

_RANKED = """
WITH ranked AS (
    SELECT model, ms, row_number() OVER (PARTITION BY model ORDER BY ms) AS place,
        count(*) OVER (PARTITION BY model) AS calls FROM ({calls})
)
SELECT model, max(calls), min(ms) FILTER (WHERE place >= 0.5 * calls),
    min(ms) FILTER (WHERE place >= 0.95 * calls), min(ms) FILTER (WHERE place >= 0.99 * calls)
FROM ranked GROUP BY model ORDER BY model"""

_OURS: Final = {
    "latency percentiles by model": """
SELECT {model}, count(*), quantile_disc(duration_ms, [0.5, 0.95, 0.99]) FROM records
WHERE kind = 'span-close' AND {model} IS NOT NULL GROUP BY 1 ORDER BY 1""",
    "tokens by model and day": """
SELECT {model}, timestamp::DATE, sum({input}), sum({output}) FROM records
WHERE kind = 'span-close' AND {model} IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2""",
    "error rate by tool": """
SELECT {tool}, count(*), avg(({failed})::INT) FROM records
WHERE kind = 'log' AND {tool} IS NOT NULL GROUP BY 1 ORDER BY 1""",
    "slowest turns": "SELECT turn_id, {duration} AS ms FROM records GROUP BY 1 ORDER BY 2 DESC NULLS LAST, 1 LIMIT 10",
    "cache-hit share": """
SELECT {model}, sum({cached}) / sum({input}) FROM records
WHERE kind = 'span-close' AND {model} IS NOT NULL GROUP BY 1 ORDER BY 1""",
}
_SQLITE: Final = {
    "latency percentiles by model": _RANKED.format(
        calls="SELECT {model} AS model, duration_ms AS ms FROM records"
        " WHERE kind = 'span-close' AND {model} IS NOT NULL"
    ),
    "tokens by model and day": """
SELECT {model}, date(timestamp / 1000, 'unixepoch'), sum({input}), sum({output}) FROM records
WHERE kind = 'span-close' AND {model} IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2""",
    "error rate by tool": """
SELECT {tool}, count(*), avg({failed}) FROM records
WHERE kind = 'log' AND {tool} IS NOT NULL GROUP BY 1 ORDER BY 1""",
    "slowest turns": _OURS["slowest turns"],
    "cache-hit share": """
SELECT {model}, 1.0 * sum({cached}) / sum({input}) FROM records
WHERE kind = 'span-close' AND {model} IS NOT NULL GROUP BY 1 ORDER BY 1""",
}


def _questions(ours: dict[str, str], sqlite: dict[str, str]) -> Questions:
    return {name: (_OURS[name].format(**ours), _SQLITE[name].format(**sqlite)) for name in _OURS}


_COLUMNS: Final = {
    "model": "model", "tool": "tool", "failed": "level = 'error'",
    "input": "input_tokens", "output": "output_tokens", "cached": "cache_read_tokens",
}  # fmt: skip
COLUMNS: Final = _questions(
    _COLUMNS | {"duration": "(epoch_ns(max(timestamp)) - epoch_ns(min(timestamp))) // 1000000"},
    _COLUMNS | {"duration": "max(timestamp) - min(timestamp)"},
)

_TEXT: Final = {name: f"(attributes->>'$.{name}')" for name in ("model", "tool")}
_COUNTS: Final = {"input": "inputTokens", "output": "outputTokens", "cached": "cacheReadTokens"}
JSON: Final = _questions(
    _TEXT | {name: f"(attributes->>'$.{key}')::BIGINT" for name, key in _COUNTS.items()}
    | {"failed": "(attributes->>'$.ok') = 'false'", "duration": "sum((attributes->>'$.durationMs')::BIGINT)"},
    _TEXT | {name: f"(attributes->>'$.{key}')" for name, key in _COUNTS.items()}
    | {"failed": "(attributes->>'$.ok') = 0", "duration": "sum(attributes->>'$.durationMs')"},
)  # fmt: skip
"""Its slowest turns are those whose tools took longest."""


def _joined(columns: str) -> str:
    """Return the SQL of provider calls as SQLite has to join them."""
    return (
        f"SELECT max(model) AS model, {columns} FROM records WHERE kind <> 'log'"
        " GROUP BY turn_id, span_id HAVING max(model) IS NOT NULL"
    )


_BEGUN: Final = "coalesce(min(timestamp) FILTER (WHERE kind = 'span-open'), max(timestamp) - max(duration_ms))"

VIEWS: Final[Questions] = {
    "latency percentiles by model": (
        "SELECT model, count(*), quantile_disc(latency_ms, [0.5, 0.95, 0.99]) FROM requests GROUP BY 1 ORDER BY 1",
        _RANKED.format(calls=_joined("max(duration_ms) AS ms")),
    ),
    "tokens by model and day": (
        "SELECT model, started_at::DATE, sum(input_tokens), sum(output_tokens) FROM requests"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT model, date(begun / 1000, 'unixepoch'), sum(input), sum(output) FROM ("
        + _joined(f"{_BEGUN} AS begun, max(input_tokens) AS input, max(output_tokens) AS output")
        + ") GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    "turns by outcome": (
        "SELECT status, count(*) FROM turns GROUP BY 1 ORDER BY 1",
        """
SELECT CASE WHEN errors > 0 THEN 'error' WHEN opened > closed THEN 'open' ELSE 'ok' END, count(*) FROM (
    SELECT count(*) FILTER (WHERE status = 'error' OR level = 'error') AS errors,
        count(DISTINCT CASE kind WHEN 'span-open' THEN span_id END) AS opened,
        count(DISTINCT CASE kind WHEN 'span-close' THEN span_id END) AS closed FROM records GROUP BY turn_id
) GROUP BY 1 ORDER BY 1""",
    ),
    "slowest turns": (
        "SELECT turn_id, duration_ms FROM turns ORDER BY 2 DESC, 1 LIMIT 10",
        COLUMNS["slowest turns"][1],
    ),
    "cache-hit share": (
        "SELECT model, sum(cache_read_tokens) / sum(input_tokens) FROM requests GROUP BY 1 ORDER BY 1",
        "SELECT model, 1.0 * sum(cached) / sum(input) FROM ("
        + _joined("max(cache_read_tokens) AS cached, max(input_tokens) AS input")
        + ") GROUP BY 1 ORDER BY 1",
    ),
}
