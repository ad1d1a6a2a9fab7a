"""Prune by age of a large store of loose blobs, against rm of as many files and the rows' delete alone."""

import subprocess
import time
from pathlib import Path

from benchmarks.corpora.tool_agent import BODIES_A_TURN, RECORDS_A_TURN, WEEK_DAYS, ToolAgent
from benchmarks.harness import Figure, Options, at_most, disk_bytes, ratios, settle
from benchmarks.workloads.journals import collect
from tracestore import RetentionPolicy, TraceStore
from tracestore.database import Database
from tracestore.database.retention import Retention

KEPT_SHARE = 0.1
"""Part of the store that stays, so that the sweep has to tell dead from living."""


def run(options: Options) -> list[Figure]:
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
        Figure("prune", "s", prune, note=note),
        Figure("rm of the same files", "s", rm),
        Figure("delete of the same rows", "s", delete, note="with its checkpoint"),
        Figure("prune over rm and delete", "x", ratios(prune, by_hand), at_most(1.7)),
        Figure("prune less delete, over rm", "x", ratios(beyond_delete, rm), note="the stricter reading"),
        Figure("on disk before", "MB", [value / 1e6 for value in before], note="as du counts"),
        Figure("on disk after", "MB", [value / 1e6 for value in after]),
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
