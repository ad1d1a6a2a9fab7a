"""What a plan takes for surviving is what the expiry leaves."""

from tracestore import RetentionPolicy

WEEK = {"max_age": "7d"}


def test_a_record_without_a_turn_survives_beside_an_expired_turn(store, clock, make, now_ms):
    old = now_ms - 8 * 86_400_000
    store.insert_records([make.log(old, turnId="t", body="old"), make.log(now_ms, "no turn", body="new")])
    plan = store.prune(RetentionPolicy(**WEEK), dry_run=True)
    done = store.prune(RetentionPolicy(**WEEK))
    assert (plan.records_deleted, plan.bodies_deleted) == (done.records_deleted, done.bodies_deleted) == (1, 1)


def test_the_cap_counts_the_bodies_of_records_without_a_turn(store, make, now_ms):
    old = now_ms - 8 * 86_400_000
    bodies = [make.body(number, 5_000) for number in range(4)]
    store.insert_records([make.log(old, turnId="t", body="old")])
    store.insert_records([make.log(now_ms + n, f"no turn {n}", body=body) for n, body in enumerate(bodies)])
    done = store.prune(RetentionPolicy(**WEEK, max_total_body_bytes=2 * 4096))
    assert done.bodies_evicted == 2
