"""SQL from people: it reads, finishes, and reaches nothing else."""

import io
import subprocess
import sys
import threading

import nanoarrow
import pytest

from tests.conftest import REPOSITORY
from tracestore import QueryInvalid, TraceStore
from tracestore.database.answers import Interrupt, QueryLimits

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 8"

ACTING = [
    "CREATE TABLE x (a INTEGER)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE OR REPLACE VIEW records AS SELECT 1",
    "DROP VIEW records",
    "INSERT INTO raw.bodies VALUES (NULL, 1, 1, 'present')",
    "DELETE FROM raw.records",
    "UPDATE raw.records SET msg = 'changed'",
    "TRUNCATE raw.records",
    "ALTER TABLE raw.records ADD COLUMN x INTEGER",
    "WITH gone AS (DELETE FROM raw.records RETURNING 1) SELECT * FROM gone",
    "MERGE INTO raw.records USING records r ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "COMMENT ON TABLE raw.records IS 'x'",
    "COPY (SELECT 1) TO '{store}/written.csv'",
    "COPY raw.records TO '{store}/written.parquet'",
    "EXPORT DATABASE '{store}/exported'",
    "IMPORT DATABASE '{store}/exported'",
    "ATTACH '{store}/written.db'",
    "DETACH store",
    "USE memory",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/written.csv'",
    "explain analyze copy (SELECT 1) TO '{store}/written.csv'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{store}/written.csv'",
    "EXPLAIN/**/ANALYZE COPY (SELECT 1) TO '{store}/written.csv'",
    "/* ( */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/written.csv'",
    "EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM raw.records",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{store}/written')",
    "SELECT * FROM \"enable_logging\"(storage = 'file', storage_path = '{store}/written')",
    "WITH x AS (FROM Enable_Logging()) SELECT * FROM x",
    "SELECT (SELECT count(*) FROM enable_profiling(save_location = '{store}/written.json'))",
    "SELECT * FROM query('SELECT * FROM enable_logging()')",
    "SELECT * FROM force_checkpoint()",
    "SELECT write_log('x')",
    "EXPLAIN ANALYZE SELECT * FROM force_checkpoint()",
    "CALL enable_logging()",
    "CHECKPOINT",
    "VACUUM",
    "SET memory_limit = '10GB'",
    "RESET memory_limit",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CREATE SECRET x (TYPE s3)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DELETE FROM raw.records",
    "",
    "   ;  ",
    "-- nothing",
]
REACHING = [
    "SELECT * FROM read_text('{outside}')",
    "SELECT * FROM read_blob('{outside}')",
    "SELECT * FROM read_csv('{outside}')",
    "SELECT * FROM '{outside}'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_json_auto('{outside}')",
    "SELECT * FROM sniff_csv('{outside}')",
    "SELECT * FROM parquet_metadata('{outside}')",
    "SELECT * FROM read_text('{store}/../outside.csv')",
    "SELECT * FROM read_text('https://example.com/')",
    "SELECT getenv('HOME')",
]


@pytest.fixture
def hostile(store, make, tmp_path):
    """`hostile(sql)` runs SQL that must be refused, on a store with a file beside it."""
    outside = tmp_path / "outside.csv"
    outside.write_text("secret,words\n")
    store.insert_records(make.turn("t", request="text"))

    def run(sql):
        root = tmp_path / "store"
        before = sorted(path for path in tmp_path.rglob("*") if "records.duckdb" not in path.name)
        with pytest.raises(QueryInvalid) as caught:
            store.sql(sql.format(store=root, outside=outside))
        assert "secret" not in str(caught.value)
        assert sorted(path for path in tmp_path.rglob("*") if "records.duckdb" not in path.name) == before
        assert store.sql("SELECT count(*), count(DISTINCT kind) FROM records").fetchone() == (3, 3)
        assert store.sql("SELECT count(*) FROM bodies").fetchone() == (1,)

    return run


@pytest.mark.parametrize("part", range(4))
def test_statements_that_act_are_refused_and_change_nothing(hostile, part):
    for sql in ACTING[part::4]:
        hostile(sql)


def test_files_and_networks_outside_the_store_are_out_of_reach(hostile):
    for sql in REACHING:
        hostile(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1", "select 1;", "FROM records", "TABLE turns", "VALUES (1)", "WITH x AS (SELECT 1) SELECT * FROM x",
        "DESCRIBE records", "SHOW TABLES", "SUMMARIZE spans", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1", "SELECT [x + 1 FOR x IN [1]]",
        "-- a comment\nSELECT 1 -- and one more", "SELECT now()::TIMESTAMP", "SELECT * FROM range(3)",
        "SELECT attributes->>'model' FROM records", "SELECT 'DROP TABLE x; query(' AS text",
    ],
)  # fmt: skip
def test_statements_that_read_are_run(memory_store, sql):
    memory_store.sql(sql)


def test_a_result_is_finished_and_outlives_the_store(open_store, make):
    with open_store() as store:
        store.insert_records([make.log(msg=str(n)) for n in range(5)])
        result = store.sql("SELECT msg, seq FROM records ORDER BY seq")
        store.insert_records([make.log(msg="later")])
        store.compact()
    assert result.columns == ["msg", "seq"]
    assert result.types == ["VARCHAR", "BIGINT"]
    assert result.fetchall() == [(str(n), n + 1) for n in range(5)]
    assert result.fetchone() == ("0", 1)
    assert result.dicts()[0] == {"msg": "0", "seq": 1}


def test_text_of_any_script_and_zero_bytes_pass_through(memory_store, make):
    text = "Grüße 世界 😀\0behind"
    memory_store.insert_records([make.log(msg=text)])
    assert memory_store.sql("SELECT msg FROM records WHERE msg LIKE 'Grüße 世界%'").fetchone() == (text,)


def test_a_lone_surrogate_in_the_query_is_an_error_of_the_query(memory_store):
    with pytest.raises(QueryInvalid, match="lone surrogate at 8"):
        memory_store.sql("SELECT '\ud800'")


def test_a_time_with_a_zone_is_refused_with_what_to_write_instead(memory_store):
    with pytest.raises(QueryInvalid, match="now\\(\\)::TIMESTAMP"):
        memory_store.sql("SELECT now()")


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nothing FROM records", "SELECT * FROM nowhere", "SELECT 1/'x'"])
def test_bad_sql_is_an_error_of_the_query_and_leaves_the_store_usable(memory_store, sql):
    with pytest.raises(QueryInvalid, match=r"^query: "):
        memory_store.sql(sql)
    assert memory_store.sql("SELECT 1").rows == [(1,)]


def test_rows_beyond_a_limit_are_not_fetched_and_the_answer_says_so(memory_store):
    result = memory_store.sql("SELECT * FROM range(10000000000)", limits=QueryLimits(max_rows=3))
    assert (result.rows, result.truncated) == ([(0,), (1,), (2,)], True)
    for count, is_truncated in ((2, False), (3, False), (4, True)):
        result = memory_store.sql(f"SELECT * FROM range({count})", limits=QueryLimits(max_rows=3))
        assert (len(result.rows), result.truncated) == (min(count, 3), is_truncated)
    assert not memory_store.sql("SELECT * FROM range(4)").truncated


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT repeat('x', 100) FROM range(10000000000)", 10),
        ("SELECT repeat('x', 100)::BLOB FROM range(10000000000)", 10),
        ("SELECT [repeat('x', 50), repeat('x', 50)] FROM range(10000000000)", 10),
        ("SELECT {'ab': repeat('x', 98)} FROM range(10000000000)", 10),
        ("SELECT i, i FROM range(10000000000) t(i)", 62),
        ("SELECT repeat('x', 1001)", 0),
    ],
)
def test_bytes_beyond_a_limit_are_not_fetched(memory_store, sql, rows):
    result = memory_store.sql(sql, limits=QueryLimits(max_bytes=1000))
    assert (len(result.rows), result.truncated) == (rows, True)


def test_an_endless_answer_takes_no_memory():
    code = """
import sys
from tests.peak_memory import peak_kib
from tracestore.database.answers import QueryLimits
from tracestore.database.connection import Database
from tracestore.database.query import run_query
from tracestore.database.query.arrow import query_arrow
database = Database(None)
for sql in ("SELECT 1", *sys.argv[1:]):
    for ask in (run_query, query_arrow):
        ask(database, sql, limits=QueryLimits(max_rows=1000, max_bytes=100_000))
print(peak_kib())
"""
    endless = ["SELECT * FROM range(10000000000)", "SELECT repeat('x', 1000) FROM range(10000000000)"]
    idle, busy = (
        int(subprocess.run([sys.executable, "-c", code, *sql], cwd=REPOSITORY, capture_output=True, check=True).stdout)
        for sql in ([], endless)
    )
    assert busy - idle < 128 * 1024


@pytest.mark.parametrize("form", ["sql", "sql_arrow"])
def test_a_query_that_takes_too_long_ends_with_an_error_that_says_so(memory_store, form):
    for timeout_ms in (1, 100):  # one of them before the statement began, which DuckDB forgets
        with pytest.raises(QueryInvalid, match=f"within {timeout_ms} ms"):
            getattr(memory_store, form)(ENDLESS, limits=QueryLimits(timeout_ms=timeout_ms))
    assert memory_store.sql("SELECT 1").rows == [(1,)]


@pytest.mark.parametrize("form", ["sql", "sql_arrow"])
def test_a_query_ends_when_another_thread_says_so(memory_store, form):
    for wait_s in (0, 0.1):
        interrupt = Interrupt()
        other = threading.Timer(wait_s, interrupt.set)
        other.start()
        with pytest.raises(QueryInvalid, match="interrupted by whoever asked"):
            getattr(memory_store, form)(ENDLESS, interrupt=interrupt)
        other.join()


def test_a_query_that_was_to_end_before_it_began_does_not_answer(memory_store):
    interrupt = Interrupt()
    interrupt.set()
    with pytest.raises(QueryInvalid, match="interrupted"):
        memory_store.sql("SELECT 1", interrupt=interrupt)
    assert memory_store.sql("SELECT 1", interrupt=Interrupt()).rows == [(1,)]


def test_an_interrupt_at_the_end_of_a_query_hits_no_later_one(memory_store):
    def ask():
        while not is_over.is_set():
            assert memory_store.sql("SELECT sum(range) FROM range(10000)").rows == [(49995000,)]
            answers.append(1)

    is_over, answers = threading.Event(), []
    neighbour = threading.Thread(target=ask)
    neighbour.start()
    ended = set()
    for timeout_ms in range(1, 60):
        try:
            memory_store.sql("SELECT sum(range) FROM range(3000000)", limits=QueryLimits(timeout_ms=timeout_ms))
            ended.add("answered")
        except QueryInvalid:
            ended.add("ended")
        assert memory_store.sql("SELECT 1").rows == [(1,)]
    count = len(answers)
    while len(answers) == count:
        assert neighbour.is_alive()
    is_over.set()
    neighbour.join()
    assert "ended" in ended


def test_no_transaction_is_left_behind_so_that_compaction_goes_on(tmp_path, make):
    with TraceStore(tmp_path / "store") as store:
        store.insert_records(make.turn("t", request="text"))
        for form in (store.sql, store.sql_arrow):
            for sql in ("SELECT * FROM range(10000000000)", "SELECT 1", "DROP TABLE x", "SELECT 1/'x'", ENDLESS):
                try:
                    form(sql, limits=QueryLimits(max_rows=5, timeout_ms=100))
                except QueryInvalid:
                    assert sql not in ("SELECT 1", "SELECT * FROM range(10000000000)")
                assert store._database._try_checkpoint()
        store.insert_records(make.turn("u", request="more"))
        store.compact()
        assert store.sql("SELECT count(*) FROM records").rows == [(6,)]


def arrow_of(result):
    return nanoarrow.ArrayStream.from_readable(io.BytesIO(result.stream)).read_all()


def test_arrow_holds_what_the_rows_hold_with_the_types_of_the_database(memory_store, make):
    memory_store.insert_records([make.log(msg=f"line {n}", links=[{"spanId": "s"}]) for n in range(5)])
    sql = "SELECT seq, msg, timestamp, [seq] AS list, {'a': msg} AS struct, attributes FROM records ORDER BY seq DESC"
    result = memory_store.sql_arrow(sql)
    found = arrow_of(result)
    rows = memory_store.sql(sql).dicts()
    assert not result.truncated
    assert [row["msg"] for row in found.to_pylist()] == [row["msg"] for row in rows]
    assert [row["list"] for row in found.to_pylist()] == [row["list"] for row in rows]
    assert [row["struct"] for row in found.to_pylist()] == [row["struct"] for row in rows]
    assert "timestamp('ns'" in str(found.schema)


def test_arrow_has_the_same_limits_and_refuses_the_same(memory_store):
    result = memory_store.sql_arrow("SELECT * FROM range(10000000000)", limits=QueryLimits(max_rows=3))
    assert ([row["range"] for row in arrow_of(result).to_pylist()], result.truncated) == ([0, 1, 2], True)
    result = memory_store.sql_arrow(
        "SELECT repeat('x', 400) AS x FROM range(10000000000)", limits=QueryLimits(max_rows=1000, max_bytes=1000)
    )
    assert (len(arrow_of(result)), result.truncated) == (2, True)
    result = memory_store.sql_arrow("SELECT * FROM range(3)", limits=QueryLimits(max_rows=3))
    assert (len(arrow_of(result)), result.truncated) == (3, False)
    for sql in ("DROP VIEW records", "SELEC 1", "SELECT * FROM read_text('/etc/passwd')", "SELECT error('x')"):
        with pytest.raises(QueryInvalid, match=r"^query: "):
            memory_store.sql_arrow(sql)
    for sql in ("SHOW TABLES", "EXPLAIN SELECT 1", "DESCRIBE records;", "SELECT 1 -- a comment"):
        assert len(arrow_of(memory_store.sql_arrow(sql, limits=QueryLimits(max_rows=100)))) > 0
