"""What an export gives: its chunks, and what was in them. Needs no DuckDB."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Self


@dataclass(slots=True, kw_only=True)
class ExportReport:
    """What was exported so far; all of it once the chunks have ended."""

    records: int = 0
    bodies: int = 0
    """Bodies that were written; a body that two records name counts twice."""
    bytes: int = 0
    """Bytes of the chunks."""
    missing_bodies: int = 0
    """Bodies that were asked for and are evicted or lost."""


class Export(Iterator[bytes]):
    """An export while it runs: iterate for its bytes, close it to end it early."""

    def __init__(self, chunks: Generator[bytes], report: ExportReport, planned_records: int) -> None:
        self._chunks = chunks
        self.report = report
        self.planned_records = planned_records
        """How many records will come, but for those that are pruned meanwhile."""

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.report.bytes += len(chunk)
        return chunk

    def close(self) -> None:
        """End it; may be called twice, and after the end."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
