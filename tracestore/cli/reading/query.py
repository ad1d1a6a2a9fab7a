"""`tracestore query`: read-only SQL, as a table, JSON or CSV."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracestore.cli.options import common_options, open_for_reading, require
from tracestore.cli.output import (
    fits_terminal,
    is_terminal,
    print_json,
    print_line,
    print_records,
    print_table,
    print_text,
    say,
)
from tracestore.views.answers import schema_members
from tracestore.views.values import cell_text, json_row

if TYPE_CHECKING:
    from tracestore.database.answers import QueryResult
    from tracestore.store import TraceStore

SHOWN_ROWS = 1000
"""A terminal gets no more; a pipe, JSON and CSV get all."""

_NUMERIC = ("INT", "DOUBLE", "FLOAT", "DECIMAL")

_EXPLAINED = ["explain_key", "explain_value"]

@click.command(
    "query",
    short_help="Answer a question in SQL; read-only.",
    context_settings={"ignore_unknown_options": True},  # SQL may begin with a comment
)
@click.argument("sql", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--schema", is_flag=True, help="Print the views and their columns, and run nothing.")
@common_options
def command(sql: str | None, as_csv: bool, schema: bool, store: Path, as_json: bool) -> None:
    """Run one reading statement of DuckDB's SQL over the views; - reads it from stdin.

    \b
      tracestore query "SELECT model, count(*), sum(input_tokens) FROM requests GROUP BY ALL"
      tracestore query "SELECT * FROM turns WHERE status = 'error' ORDER BY started_at DESC LIMIT 5"

    Times are UTC and shown to the microsecond; epoch_ns(timestamp) has the nanoseconds. Nothing
    outside the store can be read, nothing can be changed.
    """
    require(not (as_csv and as_json), "--csv and --json: wanted one of them, found both")
    require(schema or sql is not None, "SQL: wanted a statement, or - for stdin, found nothing")
    require(not (schema and sql is not None), "--schema: wanted no statement beside it, found one")
    if sql == "-":
        sql = sys.stdin.read()
    with open_for_reading(store) as opened:
        if schema or sql is None:
            return _print_schema(opened, as_json)
        result = opened.sql(sql)
    if as_json:
        print_json([json_row(result.columns, result.types, row) for row in result.rows])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows([cell_text(value) for value in row] for row in result.rows)
    else:
        _print_rows(result)


def _print_rows(result: "QueryResult") -> None:
    if result.columns == _EXPLAINED:  # a drawing of many lines
        for line in "\n".join(str(row[1]) for row in result.rows).splitlines():
            print_line(line)
        return
    shown = result.rows[:SHOWN_ROWS] if is_terminal(sys.stdout) else result.rows
    rows = [[cell_text(value) for value in row] for row in shown]
    if is_terminal(sys.stdout) and not fits_terminal(result.columns, rows):
        print_records(result.columns, rows)
    else:
        types = zip(result.columns, result.types, strict=True)
        right = frozenset(name for name, type_ in types if type_.strip("U").startswith(_NUMERIC))
        print_table(result.columns, rows, right)
    if len(shown) < len(result.rows):
        say(f"{len(result.rows) - len(shown):,} more rows; --csv or --json prints all, LIMIT asks for fewer")


def _print_schema(store: "TraceStore", as_json: bool) -> None:
    views = schema_members(store.schema())
    if as_json:
        return print_json(views)
    for number, view in enumerate(views):
        print_text(f"{'' if not number else chr(10)}{view['view']}: {view['about']}")
        for column, type_ in view["columns"].items():
            print_text(f"  {column:<22} {type_}")
