"""Durable ingest of a backlog, first and replayed, in MB of journal a second, against what people use today."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.harness import Bar, Figure, Options, at_least, at_most, in_child, interleave, ratios
from benchmarks.journals import bar_of, named_journals
from tracestore import TraceStore

BASELINES: dict[str, tuple[str, Bar | None, str]] = {
    "seed_sqlite": ("the seed's design", at_least(3), "hash and gzip in C, synchronous=FULL; offset apart"),
    "sqlite_text": ("SQLite, text bodies", at_least(0.8), "synchronous=FULL; no digest, nothing kept once, no replay"),
    "duckdb_rows": ("DuckDB, bodies in rows", None, "no digest, nothing kept once, no replay"),
    "ndjson_zstd": ("NDJSON day files, zstd", None, "the lines as they are: no rows, no index, no replay"),
    "plain_files": ("plain files", at_least(3), "our rows; a body: zlib 6, sha256, fsync, rename; no directory sync"),
}
"""By module: what it is called, what ours over it has to reach, and what is not like for like."""
MEMORY_MB = 400

_Results: TypeAlias = dict[str, list[dict[str, Any]]]


def run(options: Options) -> list[Figure]:
    """Collect each journal by every side, each in a fresh process; all are durable batch by batch."""
    return [figure for name, journal in named_journals(options).items() for figure in _compare(name, journal, options)]


def _compare(corpus: str, journal: Path, options: Options) -> list[Figure]:
    known = options.directory("known") / "store"
    in_child("collect", journal, known)
    copies = _copies(journal, options)
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": partial(_collect, "collect", journal, options=options),
        "replay": lambda: in_child("collect", next(copies), known),
        **{name: partial(_collect, "collect_by", name, journal, options=options) for name in BASELINES},
    }
    records = _count(known)
    results = interleave(options.rounds, sides)
    if _count(known) != records:
        raise RuntimeError(f"replay: wanted {records} records as before, found {_count(known)}")
    megabytes = journal.stat().st_size / 1e6
    speeds = {side: [megabytes / each["wall_s"] for each in of_side] for side, of_side in results.items()}
    names = {"ours": "ours", "replay": "ours, replayed", **{name: BASELINES[name][0] for name in BASELINES}}
    notes = {"ours": f"{megabytes:.1f} MB of journal, {records:,} records", "replay": "every record is known already"}
    notes |= {name: note for name, (_, _, note) in BASELINES.items()}
    return [
        *(Figure(f"{corpus}: {names[side]}", "MB/s", values, note=notes[side]) for side, values in speeds.items()),
        *(
            Figure(
                f"{corpus}: ours over {name}", "x", ratios(speeds["ours"], speeds[side]), bar_of(corpus, bar), note,
                against=name,
            )
            for side, (name, bar, note) in BASELINES.items()
        ),
        Figure(
            f"{corpus}: replay over first ingest", "x", ratios(speeds["replay"], speeds["ours"]),
            bar_of(corpus, at_least(3)), "the same lines under another path: position lost, records known",
            against="our first ingest",
        ),
        *_resources(corpus, results, names, megabytes),
    ]  # fmt: skip


def _resources(corpus: str, results: _Results, names: dict[str, str], megabytes: float) -> Iterator[Figure]:
    """Yield memory, bytes written, and where the time of both cores went."""
    for side, of_side in results.items():
        bar = at_most(MEMORY_MB) if side in ("ours", "replay") else None
        megabytes_held = [each["peak_rss_bytes"] / 1e6 for each in of_side]
        yield Figure(f"{corpus}: {names[side]}, peak memory", "MB", megabytes_held, bar)
    for side, of_side in results.items():
        written = [each["written_bytes"] / 1e6 / megabytes for each in of_side]
        yield Figure(f"{corpus}: {names[side]}, written for a byte of journal", "bytes", written)
    for mode in ("user", "system"):
        seconds = [each[f"{mode}_s"] for each in results["ours"]]
        yield Figure(f"{corpus}: ours, {mode} seconds of both cores", "s", seconds)


def _copies(journal: Path, options: Options) -> Iterator[Path]:
    """Copy a journal for each round, under a path and with a beginning that no store has seen."""
    copies = []
    for number in range(options.rounds + 1):
        copy = options.directory("replay") / journal.name
        with copy.open("wb") as file, journal.open("rb") as lines:
            file.write(b"\n" * (number + 1))
            shutil.copyfileobj(lines, file, 1 << 20)
        copies.append(copy)
    return iter(copies)


def _collect(*task: str | Path, options: Options) -> dict[str, Any]:
    return in_child(*map(str, task), options.directory("ingest") / "store")


def _count(store: Path) -> int:
    with TraceStore(store, read_only=True) as opened:
        return int(opened.stats()["records"])
