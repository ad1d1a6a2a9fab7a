"""Read-only SQL from people: one SELECT-like statement, its result finished before it is returned.

A lazy relation would pin a transaction, and one open transaction blocks compaction. DuckDB's own
parser says what a statement is: inside a read-only transaction alone CHECKPOINT, CALL, SET VARIABLE
and CREATE TEMP TABLE would still run. What SQL could reach outside the store is shut off where the
database is opened.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import duckdb

from tracestore.database.connection import Database
from tracestore.errors import InputInvalid, QueryInvalid, StoreUnavailable

_READING = {"SELECT", "EXPLAIN"}


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The finished answer to a query: column names, their SQL types and all rows."""

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]

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


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputInvalid(f"wanted the library {name} for this form of the result; pip install {name}") from error


def run_query(database: Database, sql: str) -> QueryResult:
    """Run one reading statement; QueryInvalid says what is wrong with it."""
    with database.reading() as cursor:
        _check(cursor, sql)
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            cursor.execute(sql)
            described = cursor.description or []
            rows = cursor.fetchall()
            cursor.execute("ROLLBACK")
        except duckdb.InterruptException as error:
            raise QueryInvalid("query: interrupted; ask for less, or again") from error
        except (duckdb.IOException, duckdb.FatalException) as error:
            raise StoreUnavailable(f"query: {error}; mend the disk, then try again") from error
        except duckdb.Error as error:
            raise QueryInvalid(f"query: {error}") from error
        except KeyboardInterrupt:
            cursor.interrupt()
            raise
    return QueryResult([column[0] for column in described], [str(column[1]) for column in described], rows)


def _check(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = cursor.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryInvalid(f"query: {error}") from error
    if len(statements) != 1:
        raise QueryInvalid(f"query: wanted one statement, found {len(statements)}")
    found = statements[0].type.name
    if found not in _READING:
        raise QueryInvalid(f"query: wanted a SELECT (this is read-only), found {found}")
