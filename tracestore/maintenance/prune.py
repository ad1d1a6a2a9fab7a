"""Prune: expire rows, evict bodies, sweep blobs.

Plan, then apply; a dry run is the plan alone. The order of destruction leaves only garbage behind
a crash, never a row that names a missing body:

    expire  1 delete turns past their age, whole, in one transaction
    evict   2 choose bodies over the byte cap, least recently used first; their rows stay
    secure  3 take a snapshot where one is due; 1 and 2 were noted before they happen, for a rebuild
    sweep   4 for each chunk of dead blobs, under the lock that every writer holds: look again who
              is named, change the ledger, then unlink, or give up in a pack
    return  5 remove what was replaced an hour ago; over the cap, everything that was
            6 compact the database file once enough of it is dead

The cap counts the files of bodies as `du` does, packs and what waits for removal included. Bodies in a pack
give their bytes back a frame at a time, so that they are evicted.

While a backup copies the store, 2, 4 and 5 wait for the next prune: what it copies must not go.

A policy deletes only where it was given: opening or reading a store never prunes.
"""

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from itertools import count

from blobs import BlobStore, Deleted, Digest, SweepPlan, SweepSummary
from tracestore.database import compaction
from tracestore.database.connection import Database
from tracestore.database.retention import Retention, Survivors
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.errors import PruneRefused, StoreUnavailable
from tracestore.maintenance.recovery import Recovery
from tracestore.maintenance.retention import GRACE_MS, BodyUse, Remaining, RetentionPolicy, plan_evictions
from tracestore.maintenance.summary import PruneSummary
from tracestore.record import NS_PER_MS

Confirm = Callable[[Sequence[Digest]], Collection[Digest]]
Progress = Callable[[int, int], None]
_BLOCK_BYTES = 4096
"""Files take whole blocks: a pack without some of its frames may give back this much less than they took."""


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune would do, and what it was worked out from."""

    policy: RetentionPolicy
    survivors: Survivors
    newest_seq: int
    """The last row that the plan knows: newer ones are looked at before a body goes."""
    expired_records: int
    evicted: frozenset[bytes]
    is_over_cap: bool
    """Whether bodies take more bytes than they may: then nothing that was replaced waits."""
    unnamed_bodies: int
    """Bodies that the ledger has as present and that no surviving record names."""
    sweep: SweepPlan

    @property
    def summary(self) -> PruneSummary:
        """Say what applying this plan now would do."""
        return PruneSummary(
            records_deleted=self.expired_records,
            bodies_deleted=self.sweep.dead_count,
            bytes_reclaimed=self.sweep.dead_bytes,
            bodies_evicted=len(self.evicted),
            dry_run=True,
        )


class Pruner:
    """Prunes one store; the caller is its only writer, readers and the collector's thread may run."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        bodies_went: Callable[[int], None],
        now_ns: Callable[[], int],
        recovery: Recovery | None = None,
    ) -> None:
        """``bodies_went`` is told, under the lock, that bodies are about to go, and how many stay in the ledger."""
        self._recovery = recovery
        self._database = database
        self._blobs = blobs
        self._retention = Retention(database)
        self._bodies_went = bodies_went
        self._now_ns = now_ns

    def plan(self, policy: RetentionPolicy, now_ms: int) -> PrunePlan:
        """Work out what should go; changes nothing."""
        plan = self._plan(policy, now_ms)
        if not self._refusals(plan):
            return plan
        with self._blobs.lock:  # a writer may have stood between its blobs and their rows: look again without one
            return self._plan(policy, now_ms)

    def _plan(self, policy: RetentionPolicy, now_ms: int) -> PrunePlan:
        cutoff_ns = None if policy.max_age_ms is None else max(0, now_ms - policy.max_age_ms) * NS_PER_MS
        survivors = Survivors(cutoff_ns)
        newest_seq = self._retention.newest_seq()
        expired = 0 if cutoff_ns is None else self._retention.count_expired(cutoff_ns)
        first = self._compare(survivors, frozenset())
        evicted, is_over_cap = self._evictions(policy, survivors, first[0])
        sweep, unnamed = self._compare(survivors, evicted) if evicted else first
        return PrunePlan(policy, survivors, newest_seq, expired, evicted, is_over_cap, unnamed, sweep)

    def _compare(self, survivors: Survivors, evicted: frozenset[bytes]) -> tuple[SweepPlan, int]:
        """Return what a sweep would do, and how many bodies are present that no survivor names."""
        unnamed = count()
        retired = heapq.merge(
            (digest for digest, _ in zip(self._retention.retired_digests(survivors), unnamed, strict=False)),
            self._retention.gone_digests(),
            sorted(evicted),
        )
        live = (digest for digest in self._retention.live_digests(survivors) if digest not in evicted)
        with blob_errors_translated():
            return self._blobs.plan(live, retired), next(unnamed)

    def apply(self, plan: PrunePlan, *, force: bool = False, on_progress: Progress | None = None) -> PruneSummary:
        """Do what the plan says, as far as it still holds; returns what really happened."""
        self._check(plan, force)
        file_bytes = self._database.file_bytes  # a checkpoint lets the file grow, and shrinks it where its end is free
        cutoff_ns = plan.survivors.cutoff_ns
        records = 0 if cutoff_ns is None or not plan.expired_records else self._expire(cutoff_ns)
        self._secure()
        evicted: set[bytes] = set()

        def confirm(chunk: Sequence[Digest]) -> Collection[Digest]:
            # What this plan evicts has names by nature: only a new one spares it. Anything else is spared by any
            # name, unless the ledger has it as evicted: that is left over from a crash.
            named = self._retention.named_since([d for d in chunk if d in plan.evicted], plan.newest_seq)
            others = self._retention.named_since([d for d in chunk if d not in plan.evicted], 0)
            named |= others - self._retention.evicted_among(list(others))
            gone = [digest for digest in chunk if digest not in named]
            evicted_now = sorted(plan.evicted.intersection(gone))
            self._bodies_went(len(evicted_now))
            self._evict(evicted_now)
            self._retention.forget_bodies([digest for digest in gone if digest not in plan.evicted])
            evicted.update(evicted_now)
            return gone

        with self._recovery.removing_allowed() if self._recovery else nullcontext(True) as is_allowed:
            swept = self._sweep(plan, confirm, force, on_progress) if is_allowed else SweepSummary()
            released = self._release(plan) if is_allowed else Deleted()
        if records:
            self._retention.forget_gone_bodies()
        if records or evicted:
            policy = plan.policy
            self._retention.record_prune(policy.max_age_ms, policy.max_total_body_bytes, records, len(evicted))
        self._compact()
        database_bytes = max(0, file_bytes - self._database.file_bytes)
        return PruneSummary(
            records_deleted=records,
            bodies_deleted=swept.blobs_deleted,
            bytes_reclaimed=swept.bytes_reclaimed + swept.leftover_bytes + released.bytes_reclaimed + database_bytes,
            bytes_pending=self._pending_bytes(),
            bodies_evicted=len(evicted),
            files_deleted=swept.files_deleted + swept.leftovers_deleted + released.blobs,
            database_bytes_reclaimed=database_bytes,
            sweep_postponed=not is_allowed and plan.sweep.dead_count > 0,
        )

    def _expire(self, cutoff_ns: int) -> int:
        if self._recovery is None:
            return self._retention.expire(cutoff_ns)
        # No writer commits between: the note says how far the journal had become rows when these went.
        with self._blobs.lock, self._recovery.removal(expired_before_ns=cutoff_ns):
            return self._retention.expire(cutoff_ns)

    def _evict(self, digests: Sequence[bytes]) -> None:
        if digests:
            with self._recovery.removal(evicted=digests) if self._recovery else nullcontext():
                self._retention.mark_evicted(digests)

    def _secure(self) -> None:
        """Put a due snapshot between what expired and the sweep."""
        if self._recovery:
            with suppress(StoreUnavailable):  # the earlier one and its notes still stand; a full disk needs the sweep
                self._recovery.take_if_due()

    def _sweep(self, plan: PrunePlan, confirm: Confirm, force: bool, on_progress: Progress | None) -> SweepSummary:
        """Delete the bodies."""
        with blob_errors_translated():
            return self._blobs.apply(plan.sweep, confirm, force, on_progress, at_once=plan.is_over_cap)

    def _release(self, plan: PrunePlan) -> Deleted:
        """Remove what was replaced."""
        with blob_errors_translated():
            return self._blobs.release(math.inf if plan.is_over_cap else (self._now_ns() - GRACE_MS * NS_PER_MS) / 1e9)

    def _pending_bytes(self) -> int:
        """Count what was replaced and is still there."""
        with blob_errors_translated():
            return self._blobs.waiting().allocated_bytes

    def _evictions(
        self, policy: RetentionPolicy, survivors: Survivors, sweep: SweepPlan
    ) -> tuple[frozenset[bytes], bool]:
        """Return the bodies that have to go, and whether there is too much on disk."""
        cap_bytes = policy.max_total_body_bytes
        if cap_bytes is None:
            return frozenset(), False
        with blob_errors_translated():
            tiers = self._blobs.tiers()
            total_bytes = tiers.loose_bytes + tiers.pack_bytes
            if total_bytes <= cap_bytes:
                return frozenset(), False
            places = self._blobs.places()
            rounded_bytes = tiers.packs * _BLOCK_BYTES
            remaining = Remaining(total_bytes + rounded_bytes - self._pending_bytes() - places.dead_bytes)
            for digest in sweep.dead:
                remaining.take(places.of(digest))
            with closing(self._retention.body_uses(survivors)) as uses:  # read only as far as bodies have to go
                bodies = (BodyUse(digest, places.of(Digest(digest))) for digest in uses)
                return frozenset(plan_evictions(bodies, remaining, cap_bytes)), True

    def _check(self, plan: PrunePlan, force: bool) -> None:
        """Fail closed before the first deletion: rows must not go when their bodies cannot follow."""
        reasons = self._refusals(plan)
        if reasons and not force:
            raise PruneRefused(
                f"prune refused: {'; '.join(reasons)}. Run tracestore verify to see what is wrong,"
                " or prune with --force"
            )

    def _refusals(self, plan: PrunePlan) -> list[str]:
        reasons = list(plan.sweep.refusals)
        nothing_named = not plan.sweep.live_count and not plan.expired_records and not plan.evicted
        if plan.unnamed_bodies and nothing_named and not self._retention.has_expired_before():
            reasons.append(f"no record names any of {plan.sweep.total_count} stored bodies, and no prune removed one")
        return reasons

    def _compact(self) -> None:
        """Give dead space of the database back once there is enough."""
        if self._database.checkpoint() and compaction.measure(self._database).is_worth_compacting:
            compaction.compact(self._database)
