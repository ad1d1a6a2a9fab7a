import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def test_a_table_in_a_pipe_is_text_with_tabs(cli: Cli, filled: Path) -> None:
    result = cli("query", "SELECT turn_id, status FROM turns ORDER BY turn_id", "--store", filled)

    assert result.stdout == "turn_id\tstatus\nt-error\terror\nt-open\topen\nwell\tok\n"


def test_text_of_a_trace_cannot_break_a_row(cli: Cli, filled: Path) -> None:
    result = cli("query", "SELECT name FROM spans WHERE turn_id = 't-open'", "--store", filled)

    assert result.stdout == "name\ntool.call\\nof \\x1b[31mtwo\n"


@pytest.mark.parametrize(
    ("sql", "json_value", "csv_value"),
    [
        ("NULL", None, ""),
        ("true", True, "true"),
        ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1, str(2**127 - 1)),
        ("1.50::DECIMAL(5, 2)", 1.5, "1.50"),
        ("12345678901234567890.123::DECIMAL(38, 3)", "12345678901234567890.123", "12345678901234567890.123"),
        ("'nan'::DOUBLE", None, "nan"),
        ("'-inf'::DOUBLE", None, "-inf"),
        ("'\\x00\\xFF'::BLOB", "00ff", "00ff"),
        ("'019cac1a-dae3-723a-b893-29cc81c6b04e'::UUID", "019cac1a-dae3-723a-b893-29cc81c6b04e", None),
        ("TIMESTAMP '2026-03-02 01:12:47.075'", "2026-03-02T01:12:47.075000", "2026-03-02 01:12:47.075000"),
        ("DATE '2026-03-02'", "2026-03-02", None),
        ("INTERVAL 1 HOUR", "1:00:00", None),
        ("[1, NULL, 'nan'::DOUBLE]", [1.0, None, None], "[1.0, null, null]"),
        ("{'a': DATE '2026-03-02'}", {"a": "2026-03-02"}, '{"a": "2026-03-02"}'),
        ("""'{"n": 12345678901234567890, "deep": [1]}'::JSON""", {"n": 12345678901234567890, "deep": [1]},
         '{"n": 12345678901234567890, "deep": [1]}'),
        ("'a\"b,c\nd'", 'a"b,c\nd', None),
        ("chr(27) || chr(155) || chr(8238) || 'ü'", "\x1b\x9b\u202eü", None),
    ],
)  # fmt: skip
def test_values_are_sensible_in_json_and_csv(
    cli: Cli, filled: Path, sql: str, json_value: object, csv_value: str | None
) -> None:
    in_json = cli("query", f"SELECT {sql} AS x", "--json", "--store", filled)
    in_csv = cli("query", f"SELECT {sql} AS x, 1 AS y", "--csv", "--store", filled)

    assert json.loads(in_json.stdout) == [{"x": json_value}]
    assert not set(in_json.stdout) & set("\x1b\x9b\u202e")
    (row,) = csv.DictReader(io.StringIO(in_csv.stdout))
    assert row["x"] == (json_value if csv_value is None else csv_value)


def test_columns_of_the_same_name_all_come(cli: Cli, filled: Path) -> None:
    result = cli("query", "SELECT 1 AS a, 2 AS a, 3 AS a", "--json", "--store", filled)

    assert json.loads(result.stdout) == [{"a": 1, "a_2": 2, "a_3": 3}]


def test_attributes_come_as_json_not_as_text(cli: Cli, filled: Path) -> None:
    sql = "SELECT attributes FROM records WHERE span_id = 's-error' ORDER BY seq"

    assert json.loads(cli("query", sql, "--json", "--store", filled).stdout) == [
        {"attributes": {"model": "m-1"}},
        {"attributes": {"inputTokens": 12, "outputTokens": 3}},
    ]


def test_a_statement_comes_from_stdin(cli: Cli, filled: Path) -> None:
    assert cli("query", "-", "--store", filled, stdin="SELECT 42 AS x;\n").stdout == "x\n42\n"


def test_no_rows_are_an_empty_table_and_an_empty_list(cli: Cli, filled: Path) -> None:
    sql = "SELECT turn_id FROM turns WHERE false"

    assert cli("query", sql, "--store", filled).stdout == "turn_id\n"
    assert cli("query", sql, "--json", "--store", filled).stdout == "[]\n"


def test_explain_is_a_drawing(cli: Cli, filled: Path) -> None:
    lines = cli("query", "EXPLAIN SELECT count(*) FROM records", "--store", filled).stdout.splitlines()

    assert len(lines) >= 3
    assert not any("\\n" in line for line in lines)


def test_the_schema_documents_every_view(cli: Cli, filled: Path) -> None:
    text = cli("query", "--schema", "--store", filled).stdout
    views = json.loads(cli("query", "--schema", "--json", "--store", filled).stdout)

    assert [view["view"] for view in views] == ["records", "bodies", "spans", "requests", "turns", "conversations"]
    for view in views:
        assert f"{view['view']}: {view['about']}" in text
        assert view["columns"]
    assert views[0]["columns"]["timestamp"] == "TIMESTAMP_NS"
    assert "input_tokens" in views[3]["columns"]


def test_a_statement_may_begin_with_a_comment(cli: Cli, filled: Path) -> None:
    assert cli("query", "-- how many\nSELECT 1 AS n", "--store", filled).stdout == "n\n1\n"
