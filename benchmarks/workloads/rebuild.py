"""Snapshot and rebuild of a large store: time and memory, and how both compare with the first ingest."""

from pathlib import Path

from benchmarks.corpora.tool_agent import BODIES_A_TURN, RECORDS_A_TURN, ToolAgent
from benchmarks.harness import Figure, Options, disk_bytes, in_child, interleave


def run(options: Options) -> list[Figure]:
    """Collect a store, then lose its database and open it again; each step in a process of its own."""
    records, bodies = options.pick((100_000, 5_000), (1_000_000, 50_000))
    share = min(1.0, bodies / records * RECORDS_A_TURN / BODIES_A_TURN)
    corpus = ToolAgent(records=records, body_share=share)
    journal = corpus.write(options.directory("journal") / "journal.ndjson")
    store = options.directory("rebuild") / "store"
    ingest = in_child("collect", journal, store)
    first = in_child("snapshot", store)
    journal.unlink()  # so that everything comes from the snapshot
    rebuilds = interleave(options.rounds, {"rebuild": lambda: _rebuild(store)}, warm_up=False)["rebuild"]
    seconds = [figures["wall_s"] for figures in rebuilds]
    note = f"{records:,} records, about {bodies:,} bodies"
    return [
        Figure("ingest with its snapshots", "s", [ingest["wall_s"]], note=note),
        Figure("snapshot", "s", [first["wall_s"]], note="the rest since the last automatic one"),
        Figure("snapshot on disk", "MB", [disk_bytes(store / "snapshots") / 1e6]),
        Figure("rebuild from the snapshot", "s", seconds),
        Figure("rebuild over ingest", "x", [ingest["wall_s"] / value for value in seconds], against="first ingest"),
        Figure("rebuild, peak memory", "MB", [figures["peak_rss_bytes"] / 1e6 for figures in rebuilds]),
    ]


def _rebuild(store: Path) -> dict[str, float]:
    (store / "records.duckdb").unlink()
    return in_child("rebuild", store)
