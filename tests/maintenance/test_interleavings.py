"""Invariant I4: no prune removes a body that a committed row names, whatever a writer does meanwhile."""

import random
import threading
import time

import pytest

from tracestore import RetentionPolicy
from tracestore.maintenance.prune import Pruner

DAY_MS = 86_400_000
WEEK = RetentionPolicy(max_age="7d")
NOTHING = RetentionPolicy(max_total_body_bytes=0)


@pytest.fixture
def between(store, clock):
    """`between(policy, act)` plans, lets something happen, then applies the plan."""

    def run(policy, act):
        pruner = Pruner(store._database, store._blobs, store._writing("prune").bodies_went, time.time_ns)
        plan = pruner.plan(policy, clock.now_ms)
        act()
        return pruner.apply(plan)

    yield run
    assert store.verify(data=True).findings == ()


def test_a_dying_body_that_is_sent_again_stays(store, make, now_ms, between):
    store.insert_records(make.turn("old", now_ms - 8 * DAY_MS, request="text", response="dies"))
    summary = between(WEEK, lambda: store.insert_records([make.log(turnId="new", body="text")]))
    assert (summary.records_deleted, summary.bodies_deleted) == (3, 1)
    assert store.get_turn("new")[0].body == "text"


def test_a_body_to_be_evicted_that_is_sent_again_stays(store, make, now_ms, between):
    store.insert_records(make.turn("t", request="text", response="goes"))
    summary = between(NOTHING, lambda: store.insert_records([make.log(turnId="new", body="text")]))
    assert (summary.bodies_evicted, summary.bodies_deleted) == (1, 1)
    assert store.get_turn("t")[0].body_state == "present"
    assert store.get_turn("t")[2].body_state == "evicted"


def test_a_late_record_revives_an_expiring_turn_with_all_its_bodies(store, make, now_ms, between):
    """The turn's own rows are older than the plan and stay after all: their bodies were counted as dead."""
    store.insert_records(make.turn("old", now_ms - 8 * DAY_MS, request="text", response="too"))
    summary = between(WEEK, lambda: store.insert_records([make.log(turnId="old", msg="it goes on")]))
    assert (summary.records_deleted, summary.bodies_deleted) == (0, 0)
    assert [record.body for record in store.get_turn("old")] == ["text", None, "too", None]


def test_a_late_record_revives_only_its_own_turn(store, make, now_ms, between):
    for name in ("revived", "gone"):
        store.insert_records(make.turn(name, now_ms - 8 * DAY_MS, request=f"of {name}", response="of both"))
    summary = between(WEEK, lambda: store.insert_records([make.log(turnId="revived", msg="it goes on")]))
    assert (summary.records_deleted, summary.bodies_deleted) == (3, 1)
    assert [record.body for record in store.get_turn("revived")][:3] == ["of revived", None, "of both"]


def test_a_new_body_that_the_plan_does_not_know_stays(store, make, between):
    store.insert_records(make.turn("t", request="text"))
    between(NOTHING, lambda: store.insert_records([make.log(turnId="new", body="new")]))
    assert store.get_turn("new")[0].body == "new"


def test_an_orphan_that_gets_a_row_stays(store, make, between):
    store.insert_records(make.turn("t", request="text"))
    store._blobs.put_many([b"orphan"])
    summary = between(WEEK, lambda: store.insert_records([make.log(turnId="new", body="orphan")]))
    assert summary.bodies_deleted == 0
    assert store.get_turn("new")[0].body == "orphan"


def test_a_body_that_the_drain_remembers_is_written_again_after_it_went(store, make, now_ms, clock):
    """The drain remembers what it has seen on disk; a prune must make it look again."""
    store.insert_records([make.log(turnId="t", body="text")])
    clock.forward(days=8)
    assert store.prune(WEEK).bodies_deleted == 1
    store.insert_records([make.log(clock.now_ms, turnId="new", body="text")])
    assert store.get_turn("new")[0].body == "text"
    store.prune(NOTHING)
    store.insert_records([make.log(clock.now_ms, "again", turnId="newer", body="text")])
    assert store.get_turn("newer")[0].body == "text"
    assert store.verify(data=True).findings == ()


def test_a_writer_between_its_blobs_and_their_rows_stops_no_prune(store, make, monkeypatch):
    """The blobs of a store's first batch are on disk before their rows: that is no lost database."""
    published, planned, publish = threading.Event(), threading.Event(), store._blobs.publish

    def slow_publish(staged, *args):
        publish(staged, *args)
        published.set()
        planned.wait(0.5)

    monkeypatch.setattr(store._blobs, "publish", slow_publish)
    writer = threading.Thread(target=store.insert_records, args=([make.log(turnId="t", body="text")],))
    writer.start()
    assert published.wait(20)
    assert store.prune(WEEK).bodies_deleted == 0
    planned.set()
    writer.join(20)
    assert store.get_turn("t")[0].body == "text"


def test_a_writer_waits_while_a_chunk_is_deleted(store, make, now_ms, clock, monkeypatch):
    """The last look at the rows and the deletion are one step: a commit cannot fall between them."""
    store.insert_records([make.log(turnId="old", body="text")])
    clock.forward(days=8)
    backend, delete, order = store._blobs._backend, store._blobs._backend.delete, []
    writer = threading.Thread(
        target=lambda: (store.insert_records([make.log(clock.now_ms, turnId="new", body="text")]), order.append("in"))
    )

    def slow_delete(digests):
        writer.start()
        writer.join(0.3)
        order.append("gone")
        return delete(digests)

    monkeypatch.setattr(backend, "delete", slow_delete)
    store.prune(WEEK)
    writer.join(20)
    assert order == ["gone", "in"]
    assert store.get_turn("new")[0].body == "text"
    assert store.verify(data=True).findings == ()


class Busy:
    """Writers and a pruner on one store, each in a thread of its own."""

    def __init__(self, store, make, now_ms):
        self.store, self.make, self.now_ms = store, make, now_ms
        self.bodies = [make.body(n, 200) for n in range(30)]
        self.newest, self.errors, self.stop = {}, [], threading.Event()

    def write(self, number):
        rng = random.Random(number)
        for n in range(25):
            turn, body = f"{number}-{n}", rng.choice(self.bodies)
            at_ms = self.now_ms - rng.choice([0, 9]) * DAY_MS
            late = self.make.log(self.now_ms, f"late {turn}", turnId=f"{number}-{rng.randrange(25)}")
            self.store.insert_records([self.make.log(at_ms, turn, turnId=turn, body=body), late])
            self.newest[turn] = body

    def prune(self):
        while not self.stop.is_set():
            self.store.prune(WEEK)
            self.store.prune(RetentionPolicy(max_total_body_bytes="60KiB"))

    def thread(self, work, *args):
        def run():
            try:
                work(*args)
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def run(self):
        writers = [self.thread(self.write, number) for number in range(2)]
        pruner = self.thread(self.prune)
        for writer in writers:
            writer.join()
        self.stop.set()
        pruner.join()


def test_writers_and_prunes_at_full_speed_lose_nothing(store, make, now_ms):
    busy = Busy(store, make, now_ms)
    busy.run()
    assert busy.errors == []
    assert store.verify(data=True).findings == ()
    for turn, body in busy.newest.items():
        for record in store.get_turn(turn):
            assert record.body_state != "lost"
            assert record.body in (None, body)
