"""What readers get, as values: entries of a list, the result of a query. Needs no DuckDB."""

import importlib
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from tracestore.errors import InputInvalid

Level = Literal["conversation", "turn"]

Interrupt: TypeAlias = threading.Event
"""Ends the query that it was given to, when another thread sets it; be it before or while that runs."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One conversation or turn in a list; times are UTC, sizes bytes of bodies as they were sent."""

    level: Level
    id: str
    conversation_id: str | None
    name: str | None
    started_at: datetime
    ended_at: datetime
    duration_ms: float
    status: Literal["ok", "error", "open"]
    turns: int
    records: int
    requests: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    body_bytes: int | None


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How much a query may give and take; None is no limit.

    Rows beyond ``max_rows`` or ``max_bytes`` are not fetched. Bytes are those of texts and blobs, and 8 for any
    other value. A query that runs for ``timeout_ms`` is ended.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The finished answer to a query: column names, their SQL types and its rows.

    ``truncated`` says that there were more rows than the limits of the query allow.
    """

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool = False

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the first row, or None when there is none."""
        return self.rows[0] if self.rows else None

    def dicts(self) -> list[dict[str, Any]]:
        """Return each row as column name to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def df(self) -> Any:
        """Return a pandas DataFrame; needs pandas."""
        return _library("pandas").DataFrame(self.rows, columns=self.columns)

    def arrow(self) -> Any:
        """Return a PyArrow table; needs pyarrow."""
        columns = {name: [row[index] for row in self.rows] for index, name in enumerate(self.columns)}
        return _library("pyarrow").table(columns)


@dataclass(frozen=True, slots=True)
class ArrowResult:
    """The finished answer to a query as an Arrow IPC stream; ``truncated`` as for QueryResult."""

    stream: bytes
    truncated: bool


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputInvalid(f"wanted the library {name} for this form of the result; pip install {name}") from error
