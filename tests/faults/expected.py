"""What a store must hold, as plain dicts and sets: the model of the state machine. Pure.

It knows the promises of retention, and nothing of how a store keeps them: a turn expires as a whole
once its newest record is too old; a body is gone by the byte cap (``evicted``), by damage that no
repair could mend (``lost``), or when no record names it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

NS_PER_MS = 1_000_000

Record = dict[str, Any]


@dataclass(slots=True)
class Kept:
    """A record as the model has it."""

    record: Record
    digest: str | None
    age_from_ns: int
    """From here its age counts: its own time, or when it was stored, if that was earlier."""


@dataclass
class Model:
    """What a store must hold."""

    records: dict[str, Kept] = field(default_factory=dict)
    evicted: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Bodies that were damaged, and that no repair found elsewhere."""

    def insert(self, records: Iterable[Record], now_ns: int) -> None:
        """Take records; one that is there already changes nothing, a new one brings its body back."""
        for record in records:
            if record["id"] in self.records:
                continue
            digest = blake3(record["body"].encode()).hexdigest() if "body" in record else None
            self.records[record["id"]] = Kept(record, digest, min(record["timestamp"] * NS_PER_MS, now_ns))
            self.evicted.discard(digest)
            self.lost.discard(digest)

    def expired(self, cutoff_ns: int) -> set[str]:
        """Return the ids that expire: turns whose newest record is older, whole, and records without a turn."""
        newest: dict[str, int] = {}
        for kept in self.records.values():
            turn = kept.record.get("turnId")
            if turn is not None:
                newest[turn] = max(newest.get(turn, 0), kept.age_from_ns)
        return {
            name
            for name, kept in self.records.items()
            if newest.get(kept.record.get("turnId"), kept.age_from_ns) < cutoff_ns
        }

    def remove(self, ids: Iterable[str]) -> None:
        """Take records away, and what is known of bodies that nothing names any more."""
        for name in list(ids):
            del self.records[name]
        self.evicted &= self.named()
        self.lost &= self.named()

    @property
    def present(self) -> set[str]:
        """Digests of the bodies that must be there."""
        return self.named() - self.evicted - self.lost

    def named(self) -> set[str]:
        """Return the digests that records name."""
        return {kept.digest for kept in self.records.values() if kept.digest is not None}

    def newest_use_ns(self, digest: str) -> int:
        """Return when a body was used last."""
        return max(kept.age_from_ns for kept in self.records.values() if kept.digest == digest)

    def turns(self) -> list[str]:
        """Return the turns that records belong to, in order."""
        return sorted({kept.record["turnId"] for kept in self.records.values() if "turnId" in kept.record})
