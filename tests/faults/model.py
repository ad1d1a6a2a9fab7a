"""Any sequence of operations leaves what a plain dict would hold, crashes among them.

Hypothesis draws sequences of inserts, resent records, packing and unpacking, prunes by random policies,
reopenings, crashes at named steps, damage and repair, lost databases, backups and restores. After every
step the store must equal the model (`expected`).
"""

import copy
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from blobs import codec
from tests.faults import acks, steps, workload
from tests.faults.deaths import PACKED_FROM, insert_and_die, pack_and_die, prune_and_die
from tests.faults.expected import NS_PER_MS, Model, Record
from tests.faults.report import Report
from tests.faults.zygote import Zygote
from tracestore import RetentionPolicy, StoreBroken, TraceStore
from tracestore.layout import StoreLayout
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.restore import restore
from tracestore.maintenance.retention import GRACE_MS
from tracestore.maintenance.rsync import Place

NOW_MS = 1_772_413_967_000
DAY_MS = 86_400_000
BLOCK_BYTES = 4_096
SIZES = (400, 401, 900, 3_000, 3_001, 5_000, 6_000)
BODIES = [b"", b"a", b"hello, hello" * 9, *(random.Random(n).randbytes(n).hex().encode() for n in SIZES)]
STEPS_TO_DIE_AT = (
    "journal append", "journal append sync", "blobs staged", "blob rename", "blobs published", "rows committed",
    "rows expired", "bodies marked evicted", "bodies forgotten", "sweep deletes", "shard swept", "checkpoint", "swap",
    "database published", "pack frame written", "pack finished", "packs required", "pack published", "bodies given up",
    "dead noted", "pack removed", "pack rewritten", "replaced released",
)  # fmt: skip
PACK_STEPS_TO_DIE_AT = (*STEPS_TO_DIE_AT[2:5], "shard swept", *STEPS_TO_DIE_AT[-9:], "copies proved", "unpacked")
GRACES_MS = (workload.AT_ONCE_MS, GRACE_MS)
STEPS = 25


def run(count: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    """Play so many sequences; the first that fails is told in its shortest form."""
    report = Report("model", seed)

    class Counted(StoreMachine):
        def teardown(self) -> None:
            super().teardown()
            report.tries += 1
            if report.tries % 100 == 0:
                say(str(report))

    with Zygote() as zygote:
        Counted.zygote = zygote
        try:
            run_state_machine_as_test(hypothesis.seed(seed)(Counted), settings=settings_of(count))
        except Exception as error:
            report.violations.append("\n".join([*getattr(error, "__notes__", ()), f"{type(error).__name__}: {error}"]))
    return report


def settings_of(count: int) -> settings:
    """Return what Hypothesis needs to know: steps take milliseconds, some seconds."""
    return settings(
        max_examples=count, stateful_step_count=STEPS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=False, phases=[Phase.generate],
    )  # fmt: skip


class StoreMachine(RuleBasedStateMachine):
    """A store beside its model."""

    zygote: Zygote

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tracestore-model-", dir=_memory()))
        self.stack = ExitStack()
        self.stack.enter_context(workload.scaled_down(PACKED_FROM))
        self.model = Model()
        self.now_ms = NOW_MS
        self.count = 0
        self.backed_up: Model | None = None
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.store.close()
            shutil.rmtree(self.home)
            self.stack.close()

    @rule(data=some.data(), count=some.integers(1, 6))
    def insert(self, data: Any, count: int) -> None:
        records = self.new_records(data, count)
        self.store.insert_records(records)
        self.model.insert(records, self.now_ns())

    @rule(data=some.data())
    def send_again(self, data: Any) -> None:
        if self.model.records:
            names = data.draw(some.lists(some.sampled_from(sorted(self.model.records)), max_size=4))
            assert self.store.insert_records([self.model.records[name].record for name in names]) is not None

    @rule(days=some.integers(0, 12))
    def prune_by_age(self, days: int) -> None:
        self.store.prune(RetentionPolicy(max_age=days * DAY_MS), force=True)
        self.model.remove(self.model.expired(self.now_ns() - days * DAY_MS * NS_PER_MS))

    @rule(cap=some.integers(0, 6).map(lambda blocks: blocks * BLOCK_BYTES))
    def prune_by_size(self, cap: int) -> None:
        before_bytes, before = self.disk_bytes(), self.model.present
        packed = {digest for digest in before if not self.path_of(digest).exists()}
        self.store.prune(RetentionPolicy(max_total_body_bytes=cap), force=True)
        self.check_evictions(before, packed, cap)
        assert before_bytes > cap or self.bodies_in("evicted") == self.model.evicted, "nothing had to go"

    @rule(grace_ms=some.sampled_from(GRACES_MS))
    def pack(self, grace_ms: int) -> None:
        self.store.pack(grace_ms=grace_ms)
        if grace_ms == workload.AT_ONCE_MS:
            assert not any(self.path_of(digest).exists() for digest in self.model.present), "a body is loose still"

    @rule(grace_ms=some.sampled_from(GRACES_MS))
    def unpack(self, grace_ms: int) -> None:
        self.store.unpack(grace_ms=grace_ms)
        assert all(self.path_of(digest).exists() for digest in self.model.present), "a body is packed still"
        if grace_ms == workload.AT_ONCE_MS:
            assert self.packs() == [], "a pack is there still"

    @rule(
        grace_ms=some.sampled_from(GRACES_MS), unpacks=some.booleans(), nth=some.integers(1, 3),
        step=some.sampled_from(PACK_STEPS_TO_DIE_AT), when=some.sampled_from(["before", "after"]),
    )  # fmt: skip
    def crash_while_packing(self, grace_ms: int, unpacks: bool, step: str, when: steps.When, nth: int) -> None:
        self.crash(pack_and_die, grace_ms, unpacks, self.now_ns(), step, when, nth)

    @rule(days=some.integers(0, 5))
    def let_time_pass(self, days: int) -> None:
        self.store.stats()  # makes rows of what was inserted, by the old time
        self.now_ms += days * DAY_MS

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def take_a_snapshot(self) -> None:
        self.store.snapshot()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule(data=some.data(), step=some.sampled_from(STEPS_TO_DIE_AT), when=some.sampled_from(["before", "after"]))
    def crash_while_inserting(self, data: Any, step: str, when: steps.When) -> None:
        batches = [self.new_records(data, data.draw(some.integers(1, 4))) for _ in range(2)]
        nth = data.draw(some.integers(1, 3))
        acknowledged = self.crash(insert_and_die, batches, self.now_ns(), step, when, nth)
        sent = [record for batch in batches for record in batch]
        there = self.ids()
        promised = {record["id"] for batch in batches[:acknowledged] for record in batch}
        assert there >= promised, f"acknowledged and lost: {promised - there}"
        self.model.insert([record for record in sent if record["id"] in there], self.now_ns())

    @rule(
        days=some.integers(0, 12), cap=some.integers(0, 4), nth=some.integers(1, 2),
        step=some.sampled_from(STEPS_TO_DIE_AT), when=some.sampled_from(["before", "after"]),
    )  # fmt: skip
    def crash_while_pruning(self, days: int, cap: int, step: str, when: steps.When, nth: int) -> None:
        limits = (days * DAY_MS, cap * BLOCK_BYTES)
        acknowledged = self.crash(prune_and_die, *limits, self.now_ns(), step, when, nth)
        expired = self.model.expired(self.now_ns() - days * DAY_MS * NS_PER_MS)
        if not (expired and expired <= self.ids()) or acknowledged:
            self.model.remove(expired)
        if acknowledged:
            self.check_evictions(self.model.present, self.model.present, limits[1])
        else:
            self.model.evicted |= self.bodies_in("evicted")  # those it got to

    @rule(data=some.data(), damage=some.sampled_from(["flip", "cut", "remove"]), donor=some.booleans())
    def damage_and_repair(self, data: Any, damage: str, donor: bool) -> None:
        """Damage a file of bodies; with a copy of all it is well again, without one they may be lost, never wrong."""
        self.store.stats()
        damageable = [path for digest in self.model.present if (path := self.path_of(digest)).exists()] + self.packs()
        if not damageable:
            return
        donated = self.home / "copy"
        shutil.copytree(self.home / "store" / "blobs", donated, dirs_exist_ok=True)
        self.store.close()  # a pack that is open is mapped: cut short, it would end this process
        self.damage(data.draw(some.sampled_from(sorted(damageable))), damage, data)
        self.open()
        present = self.model.present
        told = any(not finding.harmless for finding in self.store.verify(data=True).findings)
        assert told or (damage == "remove" and all(map(self.is_whole, present)))
        self.store.repair(apply=True, donor=donated if donor else None)
        if not donor:
            self.model.lost |= self.bodies_in("lost") & present
        shutil.rmtree(donated)

    @rule()
    def lose_the_database(self) -> None:
        self.store.close()
        for name in ("records.duckdb", "records.duckdb.wal"):
            (self.home / "store" / name).unlink(missing_ok=True)
        self.open()

    @rule(data=some.data())
    def tear_the_database(self, data: Any) -> None:
        self.store.close()
        path = self.home / "store" / "records.duckdb"
        if data.draw(some.booleans()):
            overwrite(path, bytes(12_288) + path.read_bytes()[12_288:])
            with pytest.raises(StoreBroken):
                self.open()
        self.store = TraceStore.rebuild(self.home / "store", now_ns=self.now_ns)

    @rule()
    def back_up(self) -> None:
        target = Place.local(self.home / "backup")
        back_up(StoreLayout(self.store.path), target, self.store.snapshot, tell=lambda text: None)
        self.backed_up = copy.deepcopy(self.model)

    @rule()
    def restore(self) -> None:
        if self.backed_up is None:
            return
        self.store.close()
        shutil.rmtree(self.store.path)
        restore(Place.local(self.home / "backup"), StoreLayout(self.store.path))
        self.model = copy.deepcopy(self.backed_up)
        self.open()
        # A backup keeps the bodies of all backups before it, so that some that were gone are there again.
        self.model.evicted &= self.bodies_in("evicted")
        self.model.lost &= self.bodies_in("lost")

    @rule(data=some.data())
    def forget_a_turn(self, data: Any) -> None:
        if turns := self.model.turns():
            turn = data.draw(some.sampled_from(turns))
            self.store.forget(turn_id=turn)
            records = self.model.records.items()
            self.model.remove([name for name, kept in records if kept.record.get("turnId") == turn])

    @rule(data=some.data())
    def forget_a_body(self, data: Any) -> None:
        if named := sorted(self.model.named()):
            digest = data.draw(some.sampled_from(named))
            self.store.forget(digest=digest)
            assert self.store.get_body(digest) is None
            self.model.evicted.add(digest)
            self.model.lost.discard(digest)

    @invariant()
    def the_store_is_the_model(self) -> None:
        if not hasattr(self, "home"):
            return
        rows = {row["producer_id"]: row for row in self.rows()}
        missing, surplus = self.model.records.keys() - rows.keys(), rows.keys() - self.model.records.keys()
        assert not missing | surplus, f"missing rows {sorted(missing)}, surplus rows {sorted(surplus)}"
        for name, row in rows.items():
            kept = self.model.records[name]
            assert (row["msg"], row["turn_id"]) == (kept.record["msg"], kept.record.get("turnId"))
            assert row["body_digest"] == kept.digest
        for state, wanted in (("evicted", self.model.evicted), ("lost", self.model.lost)):
            assert self.bodies_in(state) == wanted, f"{state}: {self.bodies_in(state)}, wanted {wanted}"
        for digest in self.model.named():
            found = self.store.get_body(digest)
            # A crash or a rebuild may leave the file of an evicted body; the next prune takes it.
            assert found == self.body_of(digest) or (found is None and digest not in self.model.present), digest
        damages = [finding for finding in self.store.verify(data=True).findings if not finding.harmless]
        assert not damages, damages

    def damage(self, path: Path, how: str, data: Any) -> None:
        whole = path.read_bytes()
        if how == "remove":
            path.unlink()
        elif how == "cut":
            overwrite(path, whole[: data.draw(some.integers(0, len(whole) - 1))])
        else:
            bit = data.draw(some.integers(0, 8 * len(whole) - 1))
            overwrite(path, whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])

    def open(self) -> None:
        self.store = TraceStore(self.home / "store", now_ns=self.now_ns)

    def crash(self, do: Callable[..., None], *args: Any) -> int:
        """Let a child do something and die; return how many promises it gave. The store is open again afterwards."""
        self.store.close()
        promises = self.home / "acks"
        promises.unlink(missing_ok=True)
        outcome = self.zygote.run(do, self.home, *args)
        assert outcome.was_killed, outcome
        self.open()
        return len(acks.read(promises))

    def is_whole(self, digest: str) -> bool:
        """Tell whether a body is had; it may be refused, but never be another one."""
        with suppress(StoreBroken):
            found = self.store.get_body(digest)
            assert found in (self.body_of(digest), None)
            return found is not None
        return False

    def check_evictions(self, before: set[str], packed: set[str], cap: int) -> None:
        """Check that what went had to go: what was used longest ago, and in a pack whole frames."""
        gone = self.bodies_in("evicted") - self.model.evicted
        left_bytes = self.disk_bytes()
        assert gone <= before, f"gone, but not there before: {gone - before}"
        assert left_bytes <= cap, f"{left_bytes} bytes are left, the cap is {cap}"
        order = sorted(before, key=lambda digest: (self.model.newest_use_ns(digest), digest))
        last = max((place for place, digest in enumerate(order) if digest in gone), default=-1)
        assert set(order[: last + 1]) - gone <= packed, "not the bodies used longest ago"
        if gone and not packed:
            last_bytes = -(-len(codec.encode(self.body_of(order[last]))) // BLOCK_BYTES) * BLOCK_BYTES
            assert left_bytes + last_bytes > cap, "more bodies went than had to"
        self.model.evicted |= gone

    def new_records(self, data: Any, count: int) -> list[Record]:
        records = []
        for _ in range(count):
            self.count += 1
            about = {"id": f"r{self.count}", "msg": f"message {self.count}", "kind": "log", "level": "info"}
            age_days = data.draw(some.integers(0, 12))
            about |= {"timestamp": self.now_ms - age_days * DAY_MS, "extensionId": "app"}
            turn = data.draw(some.sampled_from([None, "t1", "t2", "t3", "t4"]))
            body = [None, *BODIES][data.draw(some.integers(0, len(BODIES)))]
            about |= {"turnId": turn} if turn is not None else {}
            records.append(about | ({"body": body.decode()} if body is not None else {}))
        return records

    def now_ns(self) -> int:
        return self.now_ms * NS_PER_MS

    def rows(self) -> Iterator[dict[str, Any]]:
        return self.store.sql("SELECT producer_id, msg, turn_id, body_digest FROM records").dicts()

    def ids(self) -> set[str]:
        return {row["producer_id"] for row in self.rows()}

    def bodies_in(self, state: str) -> set[str]:
        """Return the digests in a state; those that no record names any more leave the ledger sooner or later."""
        rows = self.store.sql(f"SELECT digest FROM bodies WHERE state = '{state}'").rows
        return {digest for (digest,) in rows} & self.model.named()

    def body_of(self, digest: str) -> bytes:
        return next(body for body in BODIES if blake3(body).hexdigest() == digest)

    def path_of(self, digest: str) -> Path:
        return self.home / "store" / "blobs" / "objects" / digest[:2] / f"{digest}.gz"

    def packs(self) -> list[Path]:
        return sorted((self.home / "store" / "blobs" / "packs").glob("*.pack"))

    def disk_bytes(self) -> int:
        """Return what the files of bodies take, as `du` counts them."""
        self.store.stats()  # makes rows, and files, of what was inserted
        loose = (self.home / "store" / "blobs" / "objects").glob("??/*.gz")
        return sum(path.stat().st_blocks * 512 for path in (*loose, *self.packs()))


def overwrite(path: Path, content: bytes) -> None:
    """Change a file in its place, as damage does, and keep its mode."""
    mode = path.stat().st_mode & 0o777
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(mode)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
