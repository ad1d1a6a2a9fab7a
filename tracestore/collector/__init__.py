"""The process that makes rows of a journal, and keeps the store in shape meanwhile."""

from tracestore.collector.collector import Collector
from tracestore.collector.events import (
    Collected,
    CollectFailed,
    Event,
    Idle,
    Packed,
    PackFailed,
    Pruned,
    PruneFailed,
    SnapshotFailed,
    Torn,
)

__all__ = [
    "CollectFailed",
    "Collected",
    "Collector",
    "Event",
    "Idle",
    "PackFailed",
    "Packed",
    "PruneFailed",
    "Pruned",
    "SnapshotFailed",
    "Torn",
]
