"""Tables in ``raw``, views in ``main``, and the numbered migrations that made them.

Base tables hold ids and digests as 16 and 32 bytes and time as nanoseconds; they have no index
and no constraint: an ART index made inserts four times slower and the file twice as large.
zstd on attributes takes 6 bytes a record from the file (8.6 instead of 14.9).
Rows are immutable; what can change about a body is in the ledger ``raw.bodies``.

Views are what people query: hexadecimal digests, spans joined from their halves, provider calls,
turns and conversations. No view reads a body. Spans are counted by `list_unique`: DuckDB 2.0 works
out every count(DISTINCT) of a view, be it asked for or not, which made the slowest turns 20 times as slow.
"""

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from tracestore.errors import StoreBroken

_TABLES = """
CREATE SCHEMA raw;
CREATE TABLE raw.migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMP);
CREATE TABLE raw.records (
    record_id UUID, timestamp TIMESTAMP_NS, inserted_at TIMESTAMP_NS, seq BIGINT,
    kind VARCHAR, extension_id VARCHAR, conversation_id VARCHAR, turn_id VARCHAR,
    span_id VARCHAR, parent_span_id VARCHAR, name VARCHAR, level VARCHAR, msg VARCHAR,
    duration_ms DOUBLE, status VARCHAR,
    provider VARCHAR, model VARCHAR, tool VARCHAR,
    input_tokens BIGINT, output_tokens BIGINT, cache_read_tokens BIGINT, cache_write_tokens BIGINT,
    attributes JSON USING COMPRESSION zstd, links JSON, extra JSON, producer_id VARCHAR, content_hash UBIGINT,
    body_digest BLOB, body_size_bytes BIGINT, exact BLOB
);
CREATE TABLE raw.bodies (digest BLOB, size_bytes BIGINT, stored_bytes BIGINT, state VARCHAR);
CREATE TABLE raw.positions (
    segment_id BIGINT, path VARCHAR, device UBIGINT, inode UBIGINT, "offset" BIGINT,
    head_bytes BIGINT, head_digest BLOB, tail_bytes BIGINT, tail_digest BLOB, updated_at TIMESTAMP
);
CREATE TABLE raw.rejected (lines BIGINT, file_bytes BIGINT);
INSERT INTO raw.rejected VALUES (0, 0);
CREATE TABLE raw.prunes (
    pruned_at TIMESTAMP, max_age_ms BIGINT, max_total_body_bytes BIGINT,
    records_deleted BIGINT, bodies_evicted BIGINT
);
"""

_VIEWS = """
CREATE VIEW records AS
SELECT record_id, timestamp, inserted_at, seq, kind, extension_id, conversation_id, turn_id, span_id,
    parent_span_id, name, level, msg, duration_ms, status, provider, model, tool, input_tokens,
    output_tokens, cache_read_tokens, cache_write_tokens, attributes, links, extra, producer_id,
    lower(hex(body_digest)) AS body_digest, body_size_bytes
FROM raw.records;

CREATE VIEW bodies AS
SELECT lower(hex(digest)) AS digest, size_bytes, stored_bytes, state FROM raw.bodies;

CREATE VIEW spans AS
SELECT turn_id, span_id,
    any_value(conversation_id) AS conversation_id,
    any_value(parent_span_id) AS parent_span_id,
    any_value(extension_id) AS extension_id,
    any_value(name) AS name,
    coalesce(
        min(timestamp) FILTER (kind = 'span-open'),
        max(make_timestamp_ns(
            epoch_ns(timestamp) - greatest(0, least(duration_ms * 1000000, epoch_ns(timestamp)))::BIGINT
        ))
    ) AS started_at,
    max(timestamp) FILTER (kind = 'span-close') AS ended_at,
    max(duration_ms) AS duration_ms,
    coalesce(max(status), 'open') AS status,
    arg_min(provider, kind) AS provider,
    arg_min(model, kind) AS model,  -- of the close, which sorts first and knows who answered; else of the open
    arg_min(tool, kind) AS tool,
    max(input_tokens) AS input_tokens,
    max(output_tokens) AS output_tokens,
    max(cache_read_tokens) AS cache_read_tokens,
    max(cache_write_tokens) AS cache_write_tokens,
    any_value(attributes) FILTER (kind = 'span-open') AS open_attributes,
    any_value(attributes) FILTER (kind = 'span-close') AS close_attributes,
    lower(hex(any_value(body_digest) FILTER (kind = 'span-open'))) AS open_body_digest,
    any_value(body_size_bytes) FILTER (kind = 'span-open') AS open_body_size_bytes,
    lower(hex(any_value(body_digest) FILTER (kind = 'span-close'))) AS close_body_digest,
    any_value(body_size_bytes) FILTER (kind = 'span-close') AS close_body_size_bytes
FROM raw.records WHERE kind <> 'log'
GROUP BY turn_id, span_id;

CREATE VIEW requests AS
SELECT turn_id, span_id, conversation_id, name, started_at, ended_at, duration_ms AS latency_ms, status,
    provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
    open_body_digest AS request_digest, open_body_size_bytes AS request_size_bytes,
    close_body_digest AS response_digest, close_body_size_bytes AS response_size_bytes
FROM spans WHERE model IS NOT NULL;

CREATE VIEW turns AS
SELECT turn_id, conversation_id, name, started_at, ended_at, duration_ms, records, spans, requests, errors,
    CASE WHEN errors > 0 THEN 'error' WHEN spans > closed_spans THEN 'open' ELSE 'ok' END AS status,
    input_tokens, output_tokens, cache_read_tokens, body_bytes
FROM (
    SELECT turn_id,
        any_value(conversation_id) AS conversation_id,
        arg_min(name, (timestamp, seq)) FILTER (kind = 'span-open') AS name,
        min(timestamp) AS started_at,
        max(timestamp) AS ended_at,
        (max(epoch_ns(timestamp)) - min(epoch_ns(timestamp))) / 1000000.0 AS duration_ms,
        count(*) AS records,
        coalesce(list_unique(list(span_id) FILTER (kind = 'span-open')), 0)::BIGINT AS spans,
        coalesce(list_unique(list(span_id) FILTER (kind = 'span-close')), 0)::BIGINT AS closed_spans,
        coalesce(list_unique(list(span_id) FILTER (kind <> 'log' AND model IS NOT NULL)), 0)::BIGINT AS requests,
        count(*) FILTER (status = 'error' OR level = 'error') AS errors,
        TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
        TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
        TRY_CAST(sum(cache_read_tokens) AS BIGINT) AS cache_read_tokens,
        sum(body_size_bytes)::BIGINT AS body_bytes
    FROM raw.records WHERE turn_id IS NOT NULL
    GROUP BY turn_id
);

CREATE VIEW conversations AS
SELECT conversation_id,
    min(started_at) AS started_at,
    max(ended_at) AS ended_at,
    count(*) AS turns,
    sum(records)::BIGINT AS records,
    sum(requests)::BIGINT AS requests,
    sum(errors)::BIGINT AS errors,
    CASE WHEN sum(errors) > 0 THEN 'error' WHEN bool_or(status = 'open') THEN 'open' ELSE 'ok' END AS status,
    TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
    TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
    TRY_CAST(sum(cache_read_tokens) AS BIGINT) AS cache_read_tokens,
    sum(body_bytes)::BIGINT AS body_bytes
FROM turns WHERE conversation_id IS NOT NULL
GROUP BY conversation_id;
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a version of the schema to the next."""

    version: int
    name: str
    sql: str


MIGRATIONS: tuple[Migration, ...] = (Migration(1, "records, ledger, positions, views", _TABLES + _VIEWS),)

TABLES_IN_ORDER: dict[str, str] = {
    "records": "timestamp, seq",
    "bodies": "digest",
    "positions": "segment_id",
    "rejected": "lines",
    "prunes": "pruned_at",
    "migrations": "version",
}
"""Every base table, and the order in which a compacted file holds its rows."""

VIEWS = ("records", "bodies", "spans", "requests", "turns", "conversations")


def version_of(connection: DuckDBPyConnection) -> int:
    """Return the schema's version; 0 for an empty database."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database()"
        " AND schema_name = 'raw' AND table_name = 'migrations'"
    ).fetchone()
    if known is None or known[0] == 0:
        return 0
    found = connection.execute("SELECT coalesce(max(version), 0) FROM raw.migrations").fetchone()
    return int(found[0]) if found else 0


def migrate(connection: DuckDBPyConnection) -> None:
    """Bring the current database to the newest version, each step in a transaction of its own."""
    found = version_of(connection)
    newest = MIGRATIONS[-1].version
    if found > newest:
        raise StoreBroken(f"records.duckdb: wanted schema {newest} or older, found {found}; use a newer tracestore")
    for migration in MIGRATIONS:
        if migration.version <= found:
            continue
        connection.execute("BEGIN")
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO raw.migrations VALUES (?, ?, current_localtimestamp())",
            [migration.version, migration.name],
        )
        connection.execute("COMMIT")


def describe(connection: DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """Return view, column and type of everything people can query."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns()"
        " WHERE database_name = current_database() AND schema_name = 'main' ORDER BY table_name, column_index"
    ).fetchall()
    order = {name: position for position, name in enumerate(VIEWS)}
    return sorted(((str(t), str(c), str(d)) for t, c, d in rows), key=lambda row: order.get(row[0], len(order)))
