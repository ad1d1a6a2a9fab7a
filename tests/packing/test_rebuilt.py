"""A rebuilt database knows nothing of bodies that expired before, though a pack that waits still holds them."""

import errno
import random

from tests.faults import workload
from tracestore import RetentionPolicy, TraceStore


def test_a_body_that_expired_is_no_longer_in_the_ledger_while_its_pack_waits(tmp_path):
    path = tmp_path / "store"
    with workload.scaled_down(packed_from=4), opened(path) as store:
        store.insert_records(record(number) for number in range(12))
        store.snapshot()
        store.prune(RetentionPolicy(max_age="7d"))  # after the snapshot, so that a rebuild repeats it
        assert store.sql("SELECT count(*) FROM bodies").rows == [(6,)]
        assert len(list((path / "blobs" / "packs").glob("*.pack"))) == 2
    (path / "records.duckdb").unlink()
    with opened(path) as store:
        assert store.sql("SELECT count(*) FROM bodies").rows == [(6,)]
        store.prune(RetentionPolicy(max_age="7d"))
        store.pack(grace_ms=workload.AT_ONCE_MS)
        assert store.verify(data=True).is_clean


def test_a_disk_that_fails_for_a_moment_while_packs_are_opened_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "store"
    with workload.scaled_down(packed_from=4), opened(path) as store:
        store.insert_records(record(number) for number in range(12))
        store.snapshot()
    (path / "records.duckdb").unlink()

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("blobs.packs.directory.Pack", fail)
        opened(path).close()
    with opened(path) as store:
        assert store.sql("SELECT DISTINCT state FROM bodies").rows == [("present",)]
        assert store.verify(data=True).findings == ()


def opened(path):
    return TraceStore(path, now_ns=lambda: workload.BASE_MS * workload.NS_PER_MS)


def record(number):
    at_ms = workload.BASE_MS - (8 if number % 2 else 1) * workload.DAY_MS
    about = {"kind": "log", "timestamp": at_ms, "extensionId": "app", "level": "info", "msg": "m"}
    return about | {"body": random.Random(number).randbytes(400).hex()}
