"""Packs that were merged away hold the only good copies once what they were merged into turns out damaged."""

from tests.faults import workload
from tracestore import TraceStore


def test_what_a_damaged_pack_replaced_is_kept_after_that_pack_is_gone(tmp_path):
    with workload.scaled_down(packed_from=4), TraceStore(tmp_path / "store") as store:
        for first in (0, 10):
            store.insert_records(record(number) for number in range(first, first + 10))
            store.stats()  # a batch for itself, and so a pack
        before = set(packs(tmp_path))
        store.pack()  # merged; what was replaced waits
        (merged,) = set(packs(tmp_path)) - before
        merged.chmod(0o600)
        with merged.open("r+b") as file:
            file.seek(20)
            file.write(b"another8")
        store.repair(apply=True)
        assert merged not in packs(tmp_path)
        store.pack(grace_ms=0)
        assert [store.get_body(digest) for (digest,) in store.sql("SELECT digest FROM bodies").rows].count(None) == 0
        assert store.verify(data=True).is_clean


def record(number):
    about = {"kind": "log", "timestamp": workload.BASE_MS, "extensionId": "app", "level": "info", "msg": "m"}
    return about | {"body": f"body {number} " * 50}


def packs(home):
    return list((home / "store" / "blobs" / "packs").glob("*.pack"))
