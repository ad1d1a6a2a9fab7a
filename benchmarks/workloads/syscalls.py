"""System calls of an ingest for each body it stores, counted by strace where that is installed."""

import re
import shutil
from pathlib import Path

from benchmarks.harness import Figure, Options, in_child
from benchmarks.workloads.journals import journal_with_bodies

SHOWN = 8
_ROW = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(?P<calls>\d+)\s+(?:\d+\s+)?(?P<name>\w+)$", re.MULTILINE)


def run(options: Options) -> list[Figure]:
    """Trace one ingest of each side; nothing here is timed."""
    strace = shutil.which("strace")
    if strace is None:
        return []
    figures = []
    journal = journal_with_bodies(options)
    for name, task in (("ours", "collect"), ("plain files", "collect_plain")):
        directory = options.directory(task)
        counted = directory / "calls.txt"
        in_child(task, journal, directory / "store", prefix=(strace, "-c", "-f", "-o", str(counted)))
        bodies = sum(1 for _ in directory.rglob("*.gz"))
        calls = _calls(counted)
        most = sorted(calls.items(), key=lambda call: -call[1])[:SHOWN]
        note = ", ".join(f"{call} {number / bodies:.2f}" for call, number in most)
        label = f"{name}, calls for each of {bodies:,} bodies"
        figures.append(Figure(label, "", [sum(calls.values()) / bodies], note=note))
    return figures


def _calls(counted: Path) -> dict[str, int]:
    rows = _ROW.finditer(counted.read_text())
    return {row["name"]: int(row["calls"]) for row in rows if row["name"] != "total"}
