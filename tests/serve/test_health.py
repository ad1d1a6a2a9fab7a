"""What a run of the collector did, whether it is ready, and the same for a monitor."""

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tracestore.collector.events import Collected, Idle, Packed, PackFailed, Pruned, PruneFailed, Torn
from tracestore.errors import PruneRefused, StoreUnavailable
from tracestore.maintenance.summary import PackReport, PruneSummary
from tracestore.serve import health
from tracestore.serve.health import READY_FREE_BYTES, READY_LAG_BYTES, Status, free_bytes

START_S = 1_772_413_967.075
GB = 1 << 30


class Seconds:
    """Says the time that it was told last."""

    def __init__(self):
        self.now = START_S

    def __call__(self):
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
def asking(store, api, seconds):
    return api(store, now_s=seconds, free=lambda path: GB)


def collected(inserted=0, duplicates=0, rejected=0, waiting_bytes=0):
    totals = inserted, duplicates, rejected
    return Collected(*totals, 100, *totals, waiting_bytes)


def test_health_says_what_the_collector_did(asking, seconds):
    seconds.now += 2.5
    asking.status(collected(5, 2, 1, waiting_bytes=70))
    asking.lag_bytes = 70
    seconds.now += 60
    answer = asking.get("/v1/health")
    assert answer.status_code == 200
    found = answer.json()
    assert found["collected"] == {
        "inserted": 5, "duplicates": 2, "rejected": 1, "last_at": "2026-03-02T01:12:49.575Z",
    }  # fmt: skip
    assert (found["uptime_s"], found["started_at"]) == (62.5, "2026-03-02T01:12:47.075Z")
    assert (found["lag_bytes"], found["disk_free_bytes"]) == (70, GB)
    assert (found["last_prune"], found["last_pack"]) == (None, None)
    assert found["received"]["accepted"] == {"traces": 0, "logs": 0, "metrics": 0}
    assert found["pid"] > 0


def test_the_lag_is_what_the_last_look_left(seconds):
    status = Status(now_s=seconds)
    status(collected(1, waiting_bytes=500))
    assert status.lag_bytes() == 500
    status(collected(2, waiting_bytes=20))
    assert status.lag_bytes() == 20
    status(Idle())
    assert status.lag_bytes() == 0


def test_unfinished_lines_count_until_the_next_batch(asking):
    for event in (Torn("a", 10), Torn("b", 5), Torn("a", 12)):
        asking.status(event)
    assert asking.get("/v1/health").json()["torn_bytes"] == 17
    asking.status(collected(1))
    assert asking.get("/v1/health").json()["torn_bytes"] == 0


def test_health_says_how_the_last_prune_and_the_last_packing_ended(asking, seconds):
    asking.status(Pruned(PruneSummary(records_deleted=3)))
    asking.status(Packed(PackReport(bodies=7)))
    found = asking.get("/v1/health").json()
    assert (found["last_prune"]["records_deleted"], found["last_pack"]["bodies"]) == (3, 7)
    assert found["last_prune"]["at"] == "2026-03-02T01:12:47.075Z"
    seconds.now += 1
    asking.status(PruneFailed(PruneRefused("half of it would go")))
    asking.status(PackFailed(StoreUnavailable(28, "No space left on device")))
    found = asking.get("/v1/health").json()
    failed = {"at": "2026-03-02T01:12:48.075Z", "error": "PruneRefused", "message": "half of it would go"}
    assert found["last_prune"] == failed
    assert found["last_pack"]["message"] == "No space left on device"


def test_health_answers_when_the_disk_does_not(store, api):
    def refuse(path):
        raise OSError(5, "Input/output error")

    asking = api(store, free=refuse)
    asking.status(Idle())
    assert asking.get("/v1/health").json()["disk_free_bytes"] is None
    assert asking.get("/v1/ready").json()["reasons"] == ["the disk does not say how much is free"]
    assert "disk_free" not in asking.get("/metrics").text


def test_a_clock_set_back_makes_no_negative_uptime(seconds):
    status = Status(now_s=seconds)
    seconds.now -= 100
    assert status.uptime_s == 0


def test_it_is_ready_when_the_collector_has_looked_once(asking):
    answer = asking.get("/v1/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"ready": False, "reasons": ["the collector has not looked at the journal yet"]}
    asking.status(Idle())
    answer = asking.get("/v1/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


def test_a_first_batch_is_a_look(asking):
    asking.status(Torn("a", 1))
    assert asking.get("/v1/ready").status_code == 503
    asking.status(collected(1))
    assert asking.get("/v1/ready").status_code == 200


@pytest.mark.parametrize(
    ("lag_bytes", "free", "reason"),
    [(READY_LAG_BYTES - 1, READY_FREE_BYTES + 1, None), (READY_LAG_BYTES, GB, "1.0G behind"),
     (0, READY_FREE_BYTES, "64.0M free")],
)  # fmt: skip
def test_far_behind_and_a_full_disk_are_not_ready(store, api, lag_bytes, free, reason):
    asking = api(store, free=lambda path: free)
    asking.status(Idle())
    asking.lag_bytes = lag_bytes
    answer = asking.get("/v1/ready")
    assert answer.status_code == (503 if reason else 200)
    assert [reason] == [reason for said in answer.json()["reasons"] if reason in said] or reason is None


def test_a_disk_that_hangs_does_not_hang_health(store, api, monkeypatch):
    monkeypatch.setattr(health, "DISK_WITHIN_S", 0.01)
    come_back = threading.Event()
    asking = api(store, free=lambda path: come_back.wait(20) and GB)

    async def ask_twice():
        try:
            return [await asking._request("GET", path) for path in ("/v1/health", "/v1/ready")]
        finally:
            come_back.set()  # the loop waits for its threads

    alive, ready = asyncio.run(ask_twice())
    assert (alive.status_code, alive.json()["disk_free_bytes"]) == (200, None)
    assert "the disk does not say how much is free" in ready.json()["reasons"]


def test_slow_answers_do_not_make_the_disk_look_as_if_it_hung(store, api):
    asking = api(store, free=lambda path: GB)
    is_over = threading.Event()

    async def ask_beside_slow_answers():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        slow = loop.run_in_executor(None, is_over.wait, 20)
        try:
            return await asking._request("GET", "/v1/health")
        finally:
            is_over.set()
            await slow

    assert asyncio.run(ask_beside_slow_answers()).json()["disk_free_bytes"] == GB


def test_free_space_is_what_an_owner_may_write(tmp_path):
    assert 0 < free_bytes(tmp_path) < 1 << 60


SAMPLE = re.compile(r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?P<labels>\{[a-z]+="[a-z]+"\})? (?P<value>-?[0-9.e+]+)')


def parsed(text):
    """Read the text format strictly: HELP, TYPE, then samples of that family; each family once."""
    assert text.endswith("\n")
    samples, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in types
            assert line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == name
            types[name] = line.split(" ")[3]
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match["name"] == name
            assert name in types
            key = match["name"] + (match["labels"] or "")
            assert key not in samples
            samples[key] = float(match["value"])
    assert set(types.values()) <= {"counter", "gauge"}
    assert all(name.endswith("_total") == (type_ == "counter") for name, type_ in types.items())
    return samples


def test_metrics_are_in_the_format_of_prometheus(store, make, asking):
    store.insert_records(make.turn("t", request="abc", response="de"))
    asking.status(collected(5, 2, 1))
    asking.status(Pruned(PruneSummary(records_deleted=3, bodies_deleted=4, bodies_evicted=1, bytes_reclaimed=4096)))
    asking.status(Pruned(PruneSummary(records_deleted=1, bytes_reclaimed=-10)))
    asking.status(PruneFailed(PruneRefused("no")))
    asking.lag_bytes = 9
    asking.app.state.received.accepted["traces"] += 11
    asking.app.state.received.rejected["logs"] += 1
    answer = asking.get("/metrics")
    assert answer.headers.get_list("content-type") == ["text/plain; version=0.0.4; charset=utf-8"]
    found = parsed(answer.text)
    expected = {
        'tracestore_records_total{result="inserted"}': 5, 'tracestore_records_total{result="duplicate"}': 2,
        'tracestore_records_total{result="rejected"}': 1, "tracestore_lag_bytes": 9, "tracestore_torn_bytes": 0,
        'tracestore_prunes_total{result="done"}': 2, 'tracestore_prunes_total{result="failed"}': 1,
        "tracestore_pruned_records_total": 4, 'tracestore_pruned_bodies_total{reason="expired"}': 3,
        'tracestore_pruned_bodies_total{reason="evicted"}': 1, "tracestore_pruned_bytes": 4086,
        'tracestore_otlp_accepted_total{signal="traces"}': 11, 'tracestore_otlp_accepted_total{signal="logs"}': 0,
        'tracestore_otlp_rejected_total{signal="logs"}': 1, "tracestore_records": 3, "tracestore_body_bytes": 5,
        "tracestore_disk_free_bytes": GB, "tracestore_start_time_seconds": START_S,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["tracestore_blob_bytes"] > 0
    assert found["tracestore_database_bytes"] > 0


def test_counting_the_store_is_not_repeated_within_ten_seconds(store, make, now_ms, asking, seconds):
    def records():
        return parsed(asking.get("/metrics").text)["tracestore_records"]

    assert records() == 0
    store.insert_records([make.log(now_ms)])
    seconds.now += 9.9
    assert records() == 0
    seconds.now += 0.2
    assert records() == 1
    store.insert_records([make.log(now_ms + 1)])
    seconds.now -= 3600  # a clock that was set back does not keep old figures for an hour
    assert records() == 2


def test_a_store_that_cannot_be_counted_leaves_the_other_metrics(store, asking, monkeypatch):
    def refuse():
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(store, "stats", refuse)
    found = parsed(asking.get("/metrics").text)
    assert "tracestore_records" not in found
    assert found["tracestore_lag_bytes"] == 0
