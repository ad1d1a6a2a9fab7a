"""Bytes on disk of a coding agent's week: bodies of all references over blobs/, loose and packed."""

from pathlib import Path

from benchmarks.harness import Figure, Options, at_least, at_most, disk_bytes, in_child
from benchmarks.workloads.journals import agent_journal
from blobs.packs.frame import zstd
from tracestore import TraceStore
from tracestore.record import decode_line

LEAST = {"agent-week": 80, "tau-airline": 90, "mint": 26, "livemcp": 12, "llamastack": 13}
"""What packs have to reach, by the name of the journal."""
BOUND_WINDOW_LOG = 31


def run(options: Options) -> list[Figure]:
    """Collect a journal both ways, pack, and weigh; nothing here is timed."""
    journal, directory = agent_journal(options), options.directory("packed-space")
    for task in ("collect", "collect_loose"):
        in_child(task, journal, directory / task)
    packed = directory / "collect"
    collected_bytes = disk_bytes(packed / "blobs")
    in_child("pack", packed)
    with TraceStore(packed, read_only=True) as store:
        stats = store.stats()
    raw_bytes = stats["body_bytes"]
    loose_files = _files(directory / "collect_loose" / "blobs")
    least = LEAST.get(journal.stem)

    def ratio(name: str, size_bytes: int, least: float | None = None, note: str = "") -> Figure:
        bar = None if least is None else at_least(least)
        return Figure(name, "x", [raw_bytes / size_bytes], bar, note or f"{size_bytes / 1e6:.2f} MB")

    most_files = 5_000 + raw_bytes / 64e6
    return [
        Figure("raw bodies, all references", "MB", [raw_bytes / 1e6], note=f"{stats['unique_bodies']:,} unique bodies"),
        ratio("loose", disk_bytes(directory / "collect_loose" / "blobs")),
        ratio("as collected", collected_bytes),
        ratio("packed", disk_bytes(packed / "blobs"), least),
        ratio("everything in one zstd -19", _bound_bytes(journal)),
        Figure("files, loose", "files", [loose_files]),
        Figure("files, packed", "files", [_files(packed / "blobs")], at_most(most_files)),
    ]


def _files(directory: Path) -> int:
    return sum(path.is_file() for path in directory.rglob("*"))


def _bound_bytes(journal: Path) -> int:
    """Compress all bodies as they come, as well as it gets."""
    parameter = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(
        options={
            parameter.compression_level: 19,
            parameter.window_log: BOUND_WINDOW_LOG,
            parameter.enable_long_distance_matching: 1,
        }
    )
    total = 0
    with journal.open("rb") as lines:
        for line in lines:
            total += len(compressor.compress(decode_line(line).body or b""))
    return total + len(compressor.flush())
