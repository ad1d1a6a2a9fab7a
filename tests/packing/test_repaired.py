"""Packs that were merged away hold the only good copies once what they were merged into turns out damaged."""


import pytest

from blobs import Digest
from tests.faults import workload
from tracestore import RetentionPolicy, TraceStore

BODIES = 20


@pytest.fixture
def store(tmp_path):
    """A store of which two packs were merged, and then, by a repair, the third set aside that they became."""
    with workload.scaled_down(packed_from=4), TraceStore(tmp_path / "store") as store:
        for first in (0, BODIES // 2):
            store.insert_records(record(number) for number in range(first, first + BODIES // 2))
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
        yield store


def test_what_a_damaged_pack_replaced_is_kept_after_that_pack_is_gone(store):
    store.pack(grace_ms=0)
    assert bodies_of(store) == BODIES


def test_forgetting_one_of_its_bodies_keeps_the_others(store):
    (digest,) = store.sql("SELECT digest FROM bodies LIMIT 1").rows[0]
    store.forget(digest=digest)
    assert bodies_of(store) == BODIES - 1
    store.prune(RetentionPolicy(max_age="30000d"))
    store.pack(grace_ms=0)
    assert bodies_of(store) == BODIES - 1
    assert list(store._blobs.salvage(["packs", "objects"], {Digest.parse(digest)})) == []


def bodies_of(store):
    assert store.verify(data=True).is_clean
    return sum(store.get_body(digest) is not None for (digest,) in store.sql("SELECT digest FROM bodies").rows)


def record(number):
    about = {"kind": "log", "timestamp": workload.BASE_MS, "extensionId": "app", "level": "info", "msg": "m"}
    return about | {"body": f"body {number} " * 50}


def packs(home):
    return list((home / "store" / "blobs" / "packs").glob("*.pack"))
