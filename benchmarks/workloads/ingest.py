"""Durable ingest of a backlog, first time, in MB of journal a second, against plain files."""

from functools import partial
from pathlib import Path

from benchmarks.harness import Figure, Options, at_least, disk_bytes, in_child, interleave, ratios
from benchmarks.workloads.journals import journal_with_bodies

NOTE = "plain: same decode, ids and Arrow insert; zlib 6, sha256, fsync and rename per body, no directory sync"


def run(options: Options) -> list[Figure]:
    """Collect the same journal both ways, each in a fresh process."""
    journal = journal_with_bodies(options)
    sides = {task: partial(_collect, task, journal, options) for task in ("collect", "collect_plain")}
    results = interleave(options.rounds, sides)
    megabytes = journal.stat().st_size / 1e6
    ours, plain = ([result["wall_s"] for result in results[task]] for task in sides)
    speedups = ratios(plain, ours)
    return [
        Figure("ours", "MB/s", [megabytes / seconds for seconds in ours], note=f"{megabytes:.1f} MB of journal"),
        Figure("plain files", "MB/s", [megabytes / seconds for seconds in plain], note=NOTE),
        Figure("ours over plain files", "x", speedups, at_least(3)),
        *(
            Figure(f"{name}, {mode} seconds of both cores", "s", [result[f"{mode}_s"] for result in results[task]])
            for name, task in (("ours", "collect"), ("plain files", "collect_plain"))
            for mode in ("user", "system")
        ),
        Figure("ours, on disk", "MB", [result["disk_bytes"] / 1e6 for result in results["collect"]]),
        Figure("plain files, on disk", "MB", [result["disk_bytes"] / 1e6 for result in results["collect_plain"]]),
        Figure("ours, peak memory", "MB", [result["peak_rss_bytes"] / 1e6 for result in results["collect"]]),
    ]


def _collect(task: str, journal: Path, options: Options) -> dict[str, float]:
    store = options.directory(task) / "store"
    figures = in_child(task, journal, store)
    return figures | {"disk_bytes": disk_bytes(store)}
