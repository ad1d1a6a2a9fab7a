"""Prune by age against SQLite's delete and VACUUM, by a byte cap, and of loose blobs against rm and delete."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.baselines.sqlite import FILE
from benchmarks.corpora.tool_agent import BODIES_A_TURN, RECORDS_A_TURN, WEEK_DAYS, ToolAgent
from benchmarks.harness import Bar, Figure, Options, at_least, at_most, disk_bytes, in_child, interleave, ratios, settle
from benchmarks.journals import bar_of, collect, named_journals
from tracestore import RetentionPolicy, TraceStore
from tracestore.database.connection import Database
from tracestore.database.retention import Retention

KEPT_SHARE = 0.1
"""Part of the large store that stays, so that the sweep has to tell dead from living."""
SQLITE: dict[str, tuple[str, Bar | None, str]] = {
    "sqlite_text": ("SQLite, delete and VACUUM", at_least(5), "text bodies in the row; cuts turns in half"),
    "seed_sqlite": ("the seed's design", None, "delete alone: its file stays as large as it was"),
}
LEFT_AT_MOST = 0.7
"""Besides the half that lives: the latest snapshot, and the database file where compacting it gives back little."""
LATER_MS = 3_700_000
"""Beyond the hour in which what was replaced stays."""


def run(options: Options) -> list[Figure]:
    """Prune half of each journal; then most of a large store without packs, unless a journal was given."""
    halves = [_half(name, journal, options) for name, journal in named_journals(options).items()]
    return [figure for figures in halves for figure in figures] + ([] if options.journal else _loose(options))


def _half(corpus: str, journal: Path, options: Options) -> list[Figure]:
    """Prune turns older than half of the bytes, and to half of the bytes, on copies of the same stores."""
    directory = options.directory("half")
    stores = {"ours": directory / "ours", **{name: directory / name for name in SQLITE}}
    in_child("collect", journal, stores["ours"])
    in_child("pack", stores["ours"])
    for name in SQLITE:
        in_child("collect_by", name, journal, stores[name])
    cutoff_ms = str(middle_ms(stores["sqlite_text"]))
    cap_bytes = str(disk_bytes(stores["ours"] / "blobs") // 2)
    copies = {name: _copies(store, options) for name, store in (stores | {"cap": stores["ours"]}).items()}
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": lambda: _prune(next(copies["ours"]), cutoff_ms),
        "cap": lambda: _weighed("prune_to", next(copies["cap"]), cap_bytes),
        **{name: lambda name=name: _weighed("prune_by", name, next(copies[name]), cutoff_ms) for name in SQLITE},
    }
    before_bytes = {name: disk_bytes(store) for name, store in stores.items()}
    results = interleave(options.rounds, sides)
    capped = [each["blob_bytes"] / int(cap_bytes) for each in results["cap"]]
    note = f"{results['cap'][0]['bodies_evicted']:,} bodies evicted, no record goes"
    return [
        *_by_age(corpus, before_bytes, results),
        Figure(f"{corpus}: prune to half of the bytes, ours", "s", _values(results["cap"], "prune_s"), note=note),
        Figure(f"{corpus}: half of the bytes, bodies over the cap, ours", "share", capped, bar_of(corpus, at_most(1))),
    ]


def _by_age(corpus: str, before_bytes: dict[str, int], results: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    """Yield the seconds of each side, and what is left on disk."""

    def left(side: str, label: str, figure: str = "after_bytes", bar: Bar | None = None, note: str = "") -> Figure:
        shares = [value / before_bytes[side] for value in _values(results[side], figure)]
        return Figure(f"{corpus}: half by age, left on disk, {label}", "share", shares, bar_of(corpus, bar), note)

    ours = _values(results["ours"], "prune_s")
    later = _values(results["ours"], "later_s")
    deleted = f"{results['ours'][0]['records_deleted']:,} records, turns whole; the store was open"
    yield Figure(f"{corpus}: prune half by age, ours", "s", ours, note=deleted)
    yield Figure(f"{corpus}: prune half by age, ours, an hour later", "s", later, note="what was replaced goes")
    yield left("ours", "ours", note="what was replaced waits an hour for copies that may be running")
    yield left("ours", "ours, an hour later", "later_bytes", at_most(LEFT_AT_MOST))
    for name, (label, bar, note) in SQLITE.items():
        seconds = _values(results[name], "prune_s")
        yield Figure(f"{corpus}: prune half by age, {label}", "s", seconds, note=note)
        faster = f"{corpus}: prune half by age, ours over {label}"
        yield Figure(faster, "x", ratios(seconds, ours), bar_of(corpus, bar), note, against=label)
        yield left(name, label)


def _values(results: list[dict[str, Any]], figure: str) -> list[float]:
    return [each[figure] for each in results]


def _prune(store: Path, cutoff_ms: str) -> dict[str, Any]:
    """Prune, weigh, and prune once more when what was replaced need not wait any longer."""
    figures = _weighed("prune", store, cutoff_ms, "0")
    later = in_child("prune", store, cutoff_ms, str(LATER_MS))
    return figures | {"later_s": later["prune_s"], "later_bytes": disk_bytes(store)}


def _weighed(task: str, *arguments: str | Path) -> dict[str, Any]:
    """Run a task; adds the bytes of its store afterwards."""
    figures = in_child(task, *arguments)
    store = next(argument for argument in arguments if isinstance(argument, Path))
    return figures | {"after_bytes": disk_bytes(store), "blob_bytes": disk_bytes(store / "blobs")}


def _copies(store: Path, options: Options) -> Iterator[Path]:
    """Copy a store for each round, before the first one."""
    return iter([
        Path(shutil.copytree(store, options.directory("copy") / "store")) for _ in range(options.rounds + 1)
    ])  # fmt: skip


def middle_ms(store: Path) -> int:
    """Return the time before which half of the bodies' bytes came, from a store of plain SQLite."""
    with closing(sqlite3.connect(store / FILE)) as connection:
        (found,) = connection.execute(
            "WITH weighed AS (SELECT timestamp, 1 + coalesce(length(body), 0) AS bytes FROM records),"
            " sums AS (SELECT timestamp, sum(bytes) OVER (ORDER BY timestamp) AS so_far FROM weighed)"
            " SELECT min(timestamp) FROM sums WHERE so_far * 2 >= (SELECT sum(bytes) FROM weighed)"
        ).fetchone()
    return int(found)


def _loose(options: Options) -> list[Figure]:
    """Build two equal stores a round, prune one, and take the other apart by hand."""
    records, bodies = options.pick((200_000, 10_000), (1_000_000, 50_000))
    corpus = ToolAgent(
        records=int(records / (1 - KEPT_SHARE)),
        body_share=min(1.0, bodies / records * RECORDS_A_TURN / BODIES_A_TURN),
    )
    cutoff_ms = corpus.start_ms + int(WEEK_DAYS * (1 - KEPT_SHARE) * 86_400_000)
    rounds = []
    journal = corpus.write(options.directory("journal") / "journal.ndjson")
    for number in range(options.rounds):
        rounds.append(_round(journal, options.directory("prune"), cutoff_ms, number))
    prune, rm, delete, before, after, files, rows = zip(*rounds, strict=True)
    by_hand = [a + b for a, b in zip(rm, delete, strict=True)]
    beyond_delete = [a - b for a, b in zip(prune, delete, strict=True)]
    note = f"{rows[0]:,} records, {files[0]:,} bodies"
    return [
        Figure("loose: prune", "s", prune, note=note),
        Figure("loose: rm of the same files", "s", rm),
        Figure("loose: delete of the same rows", "s", delete, note="with its checkpoint"),
        Figure("loose: prune over rm and delete", "x", ratios(prune, by_hand), at_most(1.7)),
        Figure("loose: rm over prune less delete", "x", ratios(rm, beyond_delete), note="the stricter reading"),
        Figure("loose: on disk before", "MB", [value / 1e6 for value in before], note="as du counts"),
        Figure("loose: on disk after", "MB", [value / 1e6 for value in after]),
    ]


def _round(journal: Path, stores: Path, cutoff_ms: int, number: int) -> tuple[float, float, float, int, int, int, int]:
    for name in ("pruned", "by-hand") if number % 2 else ("by-hand", "pruned"):
        with TraceStore(stores / name, no_pack=True) as store:
            collect(store, journal)
    doomed = _doomed_files(stores / "by-hand", cutoff_ms)
    sides = {"rm": lambda: _rm(doomed), "delete": lambda: _delete_rows(stores / "by-hand", cutoff_ms)}
    seconds = {}
    before_bytes = disk_bytes(stores / "pruned")
    if number % 2:
        seconds = {name: side() for name, side in sides.items()}
    with TraceStore(stores / "pruned") as store:
        policy = RetentionPolicy(max_age=time.time_ns() // 1_000_000 - cutoff_ms)
        settle()
        start = time.perf_counter()
        summary = store.prune(policy)
        seconds["prune"] = time.perf_counter() - start
    if not number % 2:
        seconds |= {name: side() for name, side in sides.items()}
    if summary.bodies_deleted != len(doomed):
        raise RuntimeError(f"prune: wanted {len(doomed)} bodies deleted, found {summary.bodies_deleted}")
    after_bytes = disk_bytes(stores / "pruned")
    return (
        seconds["prune"], seconds["rm"], seconds["delete"], before_bytes, after_bytes,
        summary.bodies_deleted, summary.records_deleted,
    )  # fmt: skip


def _doomed_files(store: Path, cutoff_ms: int) -> list[bytes]:
    """Return the blobs that only turns past their age name."""
    with TraceStore(store, read_only=True) as opened:
        rows = opened.sql(
            "SELECT body_digest FROM records JOIN turns USING (turn_id) WHERE body_digest IS NOT NULL"
            f" GROUP BY body_digest HAVING max(epoch_ms(turns.ended_at)) < {cutoff_ms} ORDER BY body_digest"
        ).rows
    return [bytes(store / "blobs" / "objects" / digest[:2] / f"{digest}.gz") for (digest,) in rows]


def _rm(paths: list[bytes]) -> float:
    settle()
    start = time.perf_counter()
    subprocess.run(["xargs", "-0", "rm", "-f"], input=b"\0".join(paths), check=True)
    return time.perf_counter() - start


def _delete_rows(store: Path, cutoff_ms: int) -> float:
    database = Database(store / "records.duckdb", scratch=store / "tmp")
    settle()
    start = time.perf_counter()
    Retention(database).expire(cutoff_ms * 1_000_000)
    database.checkpoint()
    seconds = time.perf_counter() - start
    database.close()
    return seconds
