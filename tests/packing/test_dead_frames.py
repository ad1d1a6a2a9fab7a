"""Frames that lost their last body by age come back before any body has to go for its size."""

import random

from blobs.packs import frame
from tests.faults import workload
from tracestore import RetentionPolicy, TraceStore

BLOCK_BYTES = 4096


def test_space_of_a_dead_frame_is_returned_before_a_body_is_evicted(tmp_path, monkeypatch):
    path = tmp_path / "store"
    with workload.scaled_down(), TraceStore(path, now_ns=lambda: workload.BASE_MS * workload.NS_PER_MS) as store:
        monkeypatch.setattr(frame, "FEWEST_BODIES", 1)  # each body here fills a frame by itself
        store.insert_records(record(number) for number in range(10))
        store.pack(grace_ms=workload.AT_ONCE_MS)
        store.prune(RetentionPolicy(max_age="7d"))  # too little of the pack is dead for a copy
        cap_bytes = pack_bytes(path) - BLOCK_BYTES
        assert store.prune(RetentionPolicy(max_total_body_bytes=cap_bytes)).bodies_evicted == 0
        assert pack_bytes(path) <= cap_bytes
        assert store.sql("SELECT state, count(*) FROM bodies GROUP BY ALL").rows == [("present", 8)]


def record(number):
    at_ms = workload.BASE_MS - (8 if number < 2 else 1) * workload.DAY_MS + number
    about = {"kind": "log", "timestamp": at_ms, "extensionId": "app", "level": "info", "msg": "m"}
    return about | {"body": random.Random(number).randbytes(6_500).hex()}


def pack_bytes(path):
    return sum(pack.stat().st_blocks * 512 for pack in (path / "blobs" / "packs").glob("*.pack"))
