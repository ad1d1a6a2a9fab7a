"""SQL that only looks hostile, and is answered."""

HARMLESS = {
    "quotes and comments": [
        "SELECT 'DROP TABLE raw.records; COPY x TO ''y''; read_text(''/etc/passwd'')'",
        "SELECT 1 -- ; DROP TABLE raw.records",
        "SELECT 1 /* ; DROP TABLE raw.records */",
        "SELECT $$; DROP TABLE raw.records; $$",
        "SELECT $q$; COPY (SELECT 1) TO 'written.csv'; $q$",
        "SELECT E'\\'; DROP TABLE raw.records; --'",
        "SELECT 1 AS \"read_text('/etc/passwd')\"",
        "SELECT '\"type\":\"TABLE_FUNCTION\",\"function_name\":\"read_text\"'",
    ],
    "what SQL may know": [
        "SELECT * FROM raw.records",
        "SELECT * FROM store.raw.positions",
        "SELECT * FROM raw.migrations",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM duckdb_tables()",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SHOW DATABASES",
        "DESCRIBE raw.records",
        "SELECT version(), current_user, current_database(), current_schema(), current_query()",
        "SELECT json_serialize_sql('DROP TABLE x')",
        "SELECT json_deserialize_sql(json_serialize_sql('SELECT * FROM ''secret.csv'''))",
        "SELECT parse_path('/etc/passwd')",
        "WITH read_text AS (SELECT 1) FROM read_text",
        "WITH records AS (SELECT 1) FROM records",
    ],
}
