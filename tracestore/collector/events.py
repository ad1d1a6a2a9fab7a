"""What happens while a collector works, as values; who prints them is not its business."""

from dataclasses import dataclass
from typing import TypeAlias

from tracestore.errors import TraceStoreError
from tracestore.journal.notices import Notice
from tracestore.maintenance.summary import PackReport, PruneSummary


@dataclass(frozen=True, slots=True)
class Collected:
    """One durable batch, and the totals of this run."""

    inserted: int
    duplicates: int
    rejected: int
    journal_bytes: int
    total_inserted: int
    total_duplicates: int
    total_rejected: int
    waiting_bytes: int = 0
    """Journal bytes that the last look at it found and that are not read yet."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A look at the journal that brought nothing."""


@dataclass(frozen=True, slots=True)
class CollectFailed:
    """A batch that the disk refused; it is tried again soon, and waits in the journal."""

    error: TraceStoreError
    waiting_bytes: int
    """Journal bytes that are not read yet."""


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes at the end of a segment that wait for their newline."""

    path: str
    torn_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """A prune on the cadence."""

    summary: PruneSummary


@dataclass(frozen=True, slots=True)
class PruneFailed:
    """A prune that did not succeed; the next one tries again."""

    error: TraceStoreError


@dataclass(frozen=True, slots=True)
class Packed:
    """A run of packing in the background."""

    report: PackReport


@dataclass(frozen=True, slots=True)
class PackFailed:
    """A run of packing that did not succeed; nothing is lost by it."""

    error: TraceStoreError


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """A snapshot that a backup asked for, and did not get; the earlier one stays."""

    error: TraceStoreError


Event: TypeAlias = (
    Collected | Idle | CollectFailed | Torn | Pruned | PruneFailed | Packed | PackFailed | SnapshotFailed | Notice
)
