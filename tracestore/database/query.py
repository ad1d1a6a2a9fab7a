"""Read-only SQL from people: one SELECT-like statement, its result finished before it is returned.

A lazy relation would pin a transaction, and one open transaction blocks compaction. DuckDB's own
parser says what a statement is and which functions it calls: inside a read-only transaction alone
CHECKPOINT, CALL, SET VARIABLE, CREATE TEMP TABLE and EXPLAIN ANALYZE COPY would still run, and in
DuckDB 1.5 `SELECT * FROM enable_logging(...)` writes files. What SQL could reach outside the store
is shut off where the database is opened.
"""

import re

import duckdb

from tracestore.database.answers import QueryResult
from tracestore.database.connection import Database
from tracestore.errors import QueryInvalid, StoreUnavailable

_EXPLAIN = re.compile(r"\s*EXPLAIN(?:\s+ANALYZE\b|\s*\([^()]*\))?", re.IGNORECASE)
_FUNCTION = re.compile(r'"function_name":"([^"]+)"')
_ACTING = frozenset({
    "checkpoint", "force_checkpoint", "enable_logging", "disable_logging", "truncate_duckdb_logs", "write_log",
    "enable_profiling", "disable_profiling", "query", "query_table", "json_execute_serialized_sql",
    "create_external_resource", "destroy_external_resource", "register_external_resource",
    "deregister_external_resource", "register_external_resource_type",
})  # fmt: skip
"""Functions that a SELECT can call and that change something, or run SQL that is not seen here."""
_ZONED = "wanted times without a zone, found TIMESTAMP WITH TIME ZONE; cast it, as in now()::TIMESTAMP"


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
            raise QueryInvalid(f"query: {_without_traceback(error)}") from error
        except ImportError as error:  # DuckDB wants pytz for a time with a zone
            raise QueryInvalid(f"query: {_ZONED}") from error
        except KeyboardInterrupt:
            cursor.interrupt()
            raise
    return QueryResult([column[0] for column in described], [str(column[1]) for column in described], rows)


def _check(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    found = _statement_type(cursor, sql)
    explain = _EXPLAIN.match(sql)
    if found == "EXPLAIN" and explain:  # EXPLAIN ANALYZE runs what it explains, be it a COPY into a file
        sql = sql[explain.end() :]
        found = _statement_type(cursor, sql)
    tree = cursor.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    if found != "SELECT" or tree is None or tree[0].startswith('{"error":true'):
        raise QueryInvalid(f"query: wanted a SELECT or EXPLAIN SELECT (this is read-only), found {found}")
    called = {name.lower() for name in _FUNCTION.findall(tree[0])}
    if acting := sorted(called & _ACTING):
        raise QueryInvalid(f"query: wanted functions that only read, found {acting[0]}")


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
    return str(statements[0].type.name)


def _without_traceback(error: duckdb.Error) -> str:
    return _ZONED if "pytz" in str(error) else str(error)
