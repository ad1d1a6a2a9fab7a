"""What SQL from people may be: one SELECT over the store's views, as DuckDB's own parser reads it.

A read-only transaction alone lets CHECKPOINT, CALL, SET VARIABLE, CREATE TEMP TABLE and EXPLAIN ANALYZE
COPY run, and in DuckDB 1.5 `SELECT * FROM enable_logging(...)` writes files. What is outside the store is
shut off where the database is opened, but not the store's own files: compaction needs them, and the journal
holds what redaction took out of the records. So SQL names tables by plain names, where DuckDB would take
``'journal/1.ndjson'`` for a file, and of the functions that make tables it gets those listed here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from tracestore.errors import QueryInvalid

MAX_SQL_CHARACTERS = 100_000

_EXPLAIN = re.compile(r"\s*EXPLAIN(?:\s+ANALYZE\b|\s*\([^()]*\))?", re.IGNORECASE)
_TABLE = re.compile(r"(?!duckdb_|pg_|pragma_)\w+", re.IGNORECASE)
"""A table's name: no path, and none of the tables in which DuckDB tells of paths and settings."""
_QUALIFIERS = frozenset({"", "information_schema", "main", "raw", "store"})
_TABLE_FUNCTIONS = frozenset({
    "duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_indexes", "duckdb_tables", "duckdb_types",
    "duckdb_views", "generate_series", "json_each", "json_tree", "range", "repeat", "unnest",
})  # fmt: skip
_REFUSED_FUNCTIONS = frozenset({
    "@@", "current_setting", "getenv", "getvariable", "json_serialize_plan", "nextval", "pg_sleep", "setval",
    "sleep_ms", "write_log",
})  # fmt: skip
"""Functions of single values that act, wait, or tell of settings; `json_serialize_plan` binds SQL unseen here."""
_READING_NODES = frozenset({"CTE_NODE", "RECURSIVE_CTE_NODE", "SELECT_NODE", "SET_OPERATION_NODE"})


def check(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise QueryInvalid unless this is one statement that only reads, and reads only the store."""
    if len(sql) > MAX_SQL_CHARACTERS:
        raise QueryInvalid(f"query: wanted at most {MAX_SQL_CHARACTERS:,} characters, found {len(sql):,}")
    if "\0" in sql:  # where the parser of DuckDB 1.5 stops, as if there were nothing behind it
        raise QueryInvalid(f"query: wanted text, found a zero byte at {sql.index(chr(0))}")
    found = _statement_type(cursor, sql)
    explain = _EXPLAIN.match(sql)
    if found == "EXPLAIN" and explain:  # EXPLAIN ANALYZE runs what it explains, be it a COPY into a file
        sql = sql[explain.end() :]
        found = _statement_type(cursor, sql)
    for node in _nodes(_tree(cursor, sql, found)):
        _check_node(node)


def _statement_type(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        sql.encode()
        statements = cursor.extract_statements(sql)
    except UnicodeEncodeError as error:
        raise QueryInvalid(f"query: wanted Unicode text, found a lone surrogate at {error.start}") from error
    except duckdb.Error as error:
        raise QueryInvalid(f"query: {error}") from error
    if len(statements) != 1:
        raise QueryInvalid(f"query: wanted one statement, found {len(statements)}")
    try:
        return str(statements[0].type.name)
    except ValueError:  # DuckDB parses more kinds of statements than its Python library has names for
        return "another kind of statement"


def _tree(cursor: duckdb.DuckDBPyConnection, sql: str, found: str) -> Any:
    serialized = cursor.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0]
    try:
        tree = json.loads(serialized)
    except RecursionError as error:
        raise QueryInvalid("query: wanted fewer parts inside one another; write it flatter") from error
    if found != "SELECT" or tree["error"]:
        raise QueryInvalid(f"query: wanted a SELECT or EXPLAIN SELECT (this is read-only), found {found}")
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _check_node(node: dict[str, Any]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in _READING_NODES:
        raise QueryInvalid(f"query: wanted parts that only read, found {kind}")
    if "table_name" in node:
        _check_table(node)
    if kind == "TABLE_FUNCTION" and (name := node["function"].get("function_name", "").lower()) not in _TABLE_FUNCTIONS:
        allowed = ", ".join(sorted(_TABLE_FUNCTIONS))
        raise QueryInvalid(f"query: wanted tables of the store, or of {allowed}; found {name}()")
    name = str(node.get("function_name", "")).lower()
    if name in _REFUSED_FUNCTIONS or name.startswith("__internal"):
        raise QueryInvalid(f"query: wanted functions that only read the store, found {name}")


def _check_table(node: dict[str, Any]) -> None:
    path = node.get("qualified_name", {}).get("path") or [node["catalog_name"], node["schema_name"], node["table_name"]]
    *qualifiers, name = [str(part).strip('"') for part in path]  # SHOW TABLES is of the table ""tables""
    if not name and not any(qualifiers):
        return  # DESCRIBE of a statement has no name, and DuckDB 1.5 gives DESCRIBE of a table none
    if not (_QUALIFIERS.issuperset(map(str.lower, qualifiers)) and _TABLE.fullmatch(name)):
        found = ".".join(filter(None, [*qualifiers, name]))
        raise QueryInvalid(f"query: wanted a table of the store, found {found!r:.200}; SHOW TABLES lists them")
