"""Day files of the lines as they came: NDJSON in zstd, a frame a batch.

Level 3, as `zstd` has it; each file that a batch touches is synced. Nothing is looked up but by reading a
day's file, so that it is the bound of what collecting can cost. It promises less: no index, no record id, so
that a journal read twice is stored twice; a frame that a power cut tears ends what can be read; only whole
days are deleted.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from benchmarks.baselines.lines import batches, decode
from blobs.packs.frame import zstd

LEVEL = 3
DAY_MS = 86_400_000

Key: TypeAlias = tuple[Path, int]
"""The file of a day, and the number of a line in it."""


class _Time(msgspec.Struct):
    timestamp: int | float


_decode_time = msgspec.json.Decoder(_Time).decode


def collect(journal: Path, store: Path) -> None:
    """Collect a journal into a new directory."""
    store.mkdir()
    for lines in batches(journal):
        days: dict[int, list[bytes]] = {}
        for line in lines:
            days.setdefault(int(_decode_time(line).timestamp) // DAY_MS, []).append(line)
        for day, of_day in days.items():
            _append(store / f"{datetime.fromtimestamp(day * DAY_MS / 1000, UTC):%Y-%m-%d}.ndjson.zst", of_day)
        _sync(store)


@contextmanager
def opened(store: Path) -> Iterator[list[Path]]:
    """List the files, oldest day first."""
    yield sorted(store.iterdir())


def count_records(files: Sequence[Path]) -> int:
    """Return how many there are."""
    return sum(1 for path in files for _ in _lines(path))


def body_keys(files: Sequence[Path]) -> list[Key]:
    """Return where the lines with a body are."""
    return [(path, number) for path in files for number, line in _lines(path) if decode(line).body is not None]


def body(files: Sequence[Path], key: Key) -> str:
    """Return one body, reading its day up to there."""
    path, wanted = key
    line = next(line for number, line in _lines(path) if number == wanted)
    return str(decode(line).body)


def bodies_of(files: Sequence[Path], column: str, value: str) -> Sequence[str]:
    """Return the bodies of a turn or a conversation in order of time, reading everything."""
    records = (decode(line) for path in files for _, line in _lines(path))
    found = [record for record in records if getattr(record, column) == value and record.body is not None]
    return [str(record.body) for record in sorted(found, key=lambda record: record.timestamp)]


def prune(store: Path, cutoff_ms: int) -> None:
    """Remove the days that are over by then."""
    first_kept = f"{datetime.fromtimestamp(cutoff_ms / 1000, UTC):%Y-%m-%d}"
    for path in store.iterdir():
        if path.name < first_kept:
            path.unlink()
    _sync(store)


def _append(path: Path, lines: Sequence[bytes]) -> None:
    with path.open("ab") as file:
        file.write(zstd.compress(b"".join(lines), LEVEL))
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with zstd.open(path) as file:
        content: Any = file
        yield from enumerate(content)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
