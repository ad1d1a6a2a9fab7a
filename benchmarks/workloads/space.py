"""Bytes on disk: the database file for each record after compaction, ledger included; blobs as du counts."""

from benchmarks.harness import Figure, Options, at_most, disk_bytes
from benchmarks.workloads.journals import collect, journal_with_bodies
from tracestore import TraceStore


def run(options: Options) -> list[Figure]:
    """Collect a journal, compact, and weigh; nothing here is timed."""
    directory = options.directory("space")
    with TraceStore(directory / "store") as store:
        collect(store, journal_with_bodies(options))
        before_bytes = store.stats()["database_bytes"]
        store.compact()
        stats = store.stats()
        columns = _columns(store)
    file_bytes = (directory / "store" / "records.duckdb").stat().st_size
    blob_bytes = disk_bytes(directory / "store" / "blobs")
    records, raw_bytes = stats["records"], stats["unique_body_bytes"]
    return [
        Figure("database file", "bytes/record", [file_bytes / records], at_most(85), f"{records:,} records; {columns}"),
        Figure("database file before compaction", "bytes/record", [before_bytes / records]),
        Figure("unique bodies, raw", "MB", [raw_bytes / 1e6], note=f"{stats['unique_bodies']:,} bodies"),
        Figure("blobs on disk", "MB", [blob_bytes / 1e6]),
        Figure("raw over blobs on disk", "x", [raw_bytes / blob_bytes]),
    ]


def _columns(store: TraceStore) -> str:
    """Say which columns take the most blocks; DuckDB's own blocks, so only the order means much."""
    rows = store.sql(
        "SELECT column_name, count(DISTINCT block_id) AS blocks FROM pragma_storage_info('raw.records')"
        " WHERE block_id >= 0 GROUP BY column_name ORDER BY blocks DESC, column_name LIMIT 5"
    ).rows
    return ", ".join(f"{name} {blocks}" for name, blocks in rows)
