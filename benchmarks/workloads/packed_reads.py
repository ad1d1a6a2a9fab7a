"""Reads out of packs: one body cold, a whole conversation, and opening a store of a million bodies."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from benchmarks.harness import Figure, Options, at_least, at_most, in_child, settle
from benchmarks.journals import agent_journal
from blobs import BlobStore, Digest
from tracestore import TraceStore

SAMPLE = 200
PACKS = 32
"""A million bodies of 30 KB fill about so many."""


def run(options: Options) -> list[Figure]:
    """Pack a journal and read from it; then open a store that is large in number."""
    directory = options.directory("packed-reads")
    store = directory / "store"
    in_child("collect", agent_journal(options), store)
    in_child("pack", store)
    return [*_cold(store, options), *_conversation(store, options.rounds), *_opening(options)]


def _cold(store: Path, options: Options) -> list[Figure]:
    with TraceStore(store, read_only=True) as opened:
        rows = opened.sql("SELECT DISTINCT body_digest FROM records WHERE body_digest IS NOT NULL").rows
    digests = [digest for (digest,) in sorted(rows)]
    asked = store.parent / "digests"
    asked.write_text("\n".join(random.Random(1).sample(digests, min(SAMPLE, len(digests)))))
    settle()
    results = [in_child("read_cold", store, asked) for _ in range(options.rounds)]
    rounds = [result["times_ms"] for result in results]
    note = f"{SAMPLE} bodies of {len(digests):,}, files and frames not in memory"
    return [
        Figure("get_body cold, p50", "ms", [median(times) for times in rounds], at_most(5), note),
        Figure("get_body cold, p99", "ms", [quantiles(times, n=100)[-1] for times in rounds], at_most(30)),
        Figure("the disk alone, p50", "ms", [median(each["disk_ms"]) for each in results], note="one read of a frame"),
    ]


def _conversation(store: Path, rounds: int) -> list[Figure]:
    """Read the longest conversation: body after body in order of time, and all at once."""
    with TraceStore(store, read_only=True) as opened:
        (name, count, raw_bytes), *_ = opened.sql(
            "SELECT conversation_id, count(body_digest), sum(body_size_bytes) FROM records"
            " GROUP BY conversation_id ORDER BY 2 DESC, 1 LIMIT 1"
        ).rows
        rows = opened.sql(
            f"SELECT body_digest FROM records WHERE conversation_id = '{name}' AND body_digest IS NOT NULL"
            " ORDER BY timestamp, record_id"
        ).rows
    digests = [digest for (digest,) in rows]

    def one_by_one() -> None:
        with TraceStore(store, read_only=True) as opened:
            for digest in digests:
                opened.get_body(digest)

    def at_once() -> None:
        with BlobStore(store / "blobs", create=False) as opened:
            for _ in opened.get_many(map(Digest.parse, digests)):
                pass

    note = f"{count} bodies, {raw_bytes / 1e6:.1f} MB"
    return [
        Figure(label, "MB/s", [float(raw_bytes) / 1e6 / _seconds(read) for _ in range(rounds)], at_least(300), note)
        for label, read in (("conversation, body by body", one_by_one), ("conversation, get_many", at_once))
    ]


def _opening(options: Options) -> list[Figure]:
    """Open as many bodies as an index has to bear; what they hold does not matter to it."""
    bodies = options.pick(100_000, 1_000_000)
    path = options.directory("many") / "blobs"
    with BlobStore(path) as blobs:
        for number in range(PACKS):
            some = [b"%x %x" % (number, index) for index in range(bodies // PACKS)]
            batch = {Digest.of(body): body for body in some}
            blobs.publish(blobs.stage(batch))
    settle()
    rounds = [in_child("open_blobs", path, Digest.of(b"0 0").hex()) for _ in range(options.rounds)]
    note = f"{bodies:,} bodies in {PACKS} packs, not in memory"
    return [
        Figure("BlobStore opens", "ms", [each["open_ms"] for each in rounds], at_most(100), note),
        Figure("memory to open", "MB", [each["open_bytes"] / 1e6 for each in rounds], at_most(50)),
        Figure("memory to open and read one", "MB", [each["read_bytes"] / 1e6 for each in rounds], at_most(50)),
    ]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
