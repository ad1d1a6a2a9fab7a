"""SQL from people: it reads, finishes, and reaches nothing else."""

import pytest

from tracestore import QueryInvalid

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
