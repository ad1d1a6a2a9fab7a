"""Bytes on disk of one journal by scheme, as du counts them: ours, what people use today, bounds; after prune."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, Figure, Options, at_least, at_most, disk_bytes, in_child
from benchmarks.journals import agent_journal, journal_with_bodies
from benchmarks.workloads.prune import LATER_MS, middle_ms
from blobs.packs.frame import zstd
from tracestore import TraceStore
from tracestore.record import decode_line

NAMES = {
    "seed_sqlite": "the seed's design", "sqlite_text": "SQLite, text bodies", "duckdb_rows": "DuckDB, bodies in rows",
    "ndjson_zstd": "NDJSON day files, zstd", "plain_files": "plain files",
}  # fmt: skip
CANNOT_PRUNE = {"plain_files"}
NOTES = {
    "seed_sqlite": "gzip in the row, a body once", "sqlite_text": "nothing compressed, a body as often as it came",
    "duckdb_rows": "a body as often as it came", "ndjson_zstd": "no index: a body is found by reading its day",
    "plain_files": "rows as ours, a gzip file a body",
}  # fmt: skip
LEAST = {"agent-week": 80, "tau-airline": 90, "mint": 26, "livemcp": 12, "llamastack": 13}
"""What packs have to reach, raw bodies over stored, by the name of the journal."""
LEAST_OVER_SEED = {"agent-week": 20}
LEAST_RECORDS = 100_000
"""Fewer do not fill the blocks of a column."""
BOUND_WINDOW_LOG = 31


def run(options: Options) -> list[Figure]:
    """Store each journal by every scheme and weigh; nothing here is timed."""
    if options.journal is not None:
        journals = {options.journal.stem: options.journal}
    else:
        journals = {"tool agent": journal_with_bodies(options), "coding agent": agent_journal(options)}
    return [figure for name, journal in journals.items() for figure in _weigh(name, journal, options)]


def _weigh(corpus: str, journal: Path, options: Options) -> Iterator[Figure]:
    directory = options.directory("space")
    stores = {name: directory / name for name in NAMES}
    for name, store in stores.items():
        in_child("collect_by", name, journal, store)
    loose, packed = directory / "loose", directory / "packed"
    in_child("collect_loose", journal, loose)
    in_child("collect", journal, packed)
    collected_bytes = disk_bytes(packed / "blobs")
    in_child("pack", packed)
    stats = _stats(packed)
    packed_bytes = disk_bytes(packed)

    def megabytes(name: str, size_bytes: int, note: str = "") -> Figure:
        return Figure(f"{corpus}: {name}", "MB", [size_bytes / 1e6], note=note)

    gzip_bytes, bound_bytes = _bounds(journal)
    count = f"{stats['records']:,} records, {stats['bodies']:,} bodies, {stats['unique_bodies']:,} of them different"
    yield megabytes("journal", journal.stat().st_size, count)
    yield megabytes("ours, packed", packed_bytes, "database, snapshot and all")
    yield megabytes("ours, loose", disk_bytes(loose), "database and snapshot, a gzip file a body")
    for name, store in stores.items():
        yield megabytes(NAMES[name], disk_bytes(store), NOTES[name])
    yield megabytes("bodies alone, gzip -6 each", gzip_bytes, "no blocks of 4 KiB, a body as often as it came")
    yield megabytes("bodies alone, one zstd -19", bound_bytes, "a bound: no read can be served from it")
    for name, store in stores.items():
        least = LEAST_OVER_SEED.get(journal.stem) if name == "seed_sqlite" else None
        ratio = disk_bytes(store) / packed_bytes
        bar = None if least is None else at_least(least)
        label = f"{corpus}: ours, packed, smaller than {NAMES[name]}"
        yield Figure(label, "x", [ratio], bar, NOTES[name], against=NAMES[name])
    if stats["bodies"]:
        yield from _packs(corpus, stats, collected_bytes, loose, packed, bound_bytes, LEAST.get(journal.stem))
    yield from _database(corpus, packed)
    yield from _pruned(corpus, stores, packed)


def _packs(
    corpus: str, stats: dict[str, Any], collected_bytes: int, loose: Path, packed: Path, bound_bytes: int,
    least: float | None,
) -> Iterator[Figure]:  # fmt: skip
    """Yield raw bodies of all references over ``blobs/`` alone, and the number of its files."""
    raw_bytes = stats["body_bytes"]
    weighed: dict[str, tuple[int, Bar | None]] = {
        "loose": (disk_bytes(loose / "blobs"), None),
        "as collected": (collected_bytes, None),
        "packed": (disk_bytes(packed / "blobs"), None if least is None else at_least(least)),
        "in one zstd -19": (bound_bytes, None),
    }
    for name, (size_bytes, bar) in weighed.items():
        note = f"{size_bytes / 1e6:.2f} MB of {raw_bytes / 1e6:.1f}"
        yield Figure(f"{corpus}: raw bodies over those {name}", "x", [raw_bytes / size_bytes], bar, note)
    yield Figure(f"{corpus}: files, loose", "files", [_files(loose / "blobs")])
    most_files = 5_000 + raw_bytes / 64e6
    yield Figure(f"{corpus}: files, packed", "files", [_files(packed / "blobs")], at_most(most_files))


def _database(corpus: str, store: Path) -> Iterator[Figure]:
    """Compact the database, and yield its bytes a record, ledger included."""
    with TraceStore(store) as opened:
        before_bytes = opened.stats()["database_bytes"]
        opened.compact()
        records = opened.stats()["records"]
        columns = _columns(opened)
    file_bytes = (store / "records.duckdb").stat().st_size
    bar = at_most(85) if records >= LEAST_RECORDS else None
    yield Figure(f"{corpus}: database file", "bytes/record", [file_bytes / records], bar, columns)
    yield Figure(f"{corpus}: database file before compaction", "bytes/record", [before_bytes / records])


def _pruned(corpus: str, stores: dict[str, Path], packed: Path) -> Iterator[Figure]:
    """Prune the older half of the records everywhere, and weigh again."""
    cutoff_ms = str(middle_ms(stores["sqlite_text"]))
    before_bytes = disk_bytes(packed)
    found = in_child("prune", packed, cutoff_ms, "0")
    note = f"{found['bytes_pending'] / 1e6:.2f} MB wait an hour for copies that may be running"
    yield Figure(f"{corpus}: half pruned, ours, packed", "MB", [disk_bytes(packed) / 1e6], note=note)
    in_child("prune", packed, cutoff_ms, str(LATER_MS))
    after = f"of {before_bytes / 1e6:.2f} MB, compacted"
    yield Figure(f"{corpus}: half pruned, ours, packed, an hour later", "MB", [disk_bytes(packed) / 1e6], note=after)
    for name, store in stores.items():
        if name not in CANNOT_PRUNE:
            before_bytes = disk_bytes(store)
            in_child("prune_by", name, store, cutoff_ms)
            after = f"of {before_bytes / 1e6:.2f} MB"
            yield Figure(f"{corpus}: half pruned, {NAMES[name]}", "MB", [disk_bytes(store) / 1e6], note=after)


def _stats(store: Path) -> dict[str, Any]:
    with TraceStore(store, read_only=True) as opened:
        return opened.stats()


def _columns(store: TraceStore) -> str:
    """Say which columns take the most blocks; DuckDB's own blocks, so only the order means much."""
    rows = store.sql(
        "SELECT column_name, count(DISTINCT block_id) AS blocks FROM pragma_storage_info('raw.records')"
        " WHERE block_id >= 0 GROUP BY column_name ORDER BY blocks DESC, column_name LIMIT 5"
    ).rows
    return ", ".join(f"{name} {blocks}" for name, blocks in rows)


def _files(directory: Path) -> int:
    return sum(path.is_file() for path in directory.rglob("*"))


def _bounds(journal: Path) -> tuple[int, int]:
    """Return the bytes of all bodies as they come: each in gzip, and all together as small as it gets."""
    parameter = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(
        options={
            parameter.compression_level: 19,
            parameter.window_log: BOUND_WINDOW_LOG,
            parameter.enable_long_distance_matching: 1,
        }
    )
    gzip_bytes = bound_bytes = 0
    with journal.open("rb") as lines:
        for line in lines:
            body = decode_line(line).body
            if body is not None:
                gzip_bytes += len(zlib.compress(body, 6, 31))
                bound_bytes += len(compressor.compress(body))
    return gzip_bytes, bound_bytes + len(compressor.flush())
