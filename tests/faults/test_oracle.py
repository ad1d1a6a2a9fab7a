"""The oracle finds every kind of broken promise; each is made by hand in a store at rest."""

import json
import os
import shutil

import duckdb
import pytest

from tests.faults import acks, oracle, workload

SEED = 4


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A store that lived one cycle, with its journal and what it was promised."""
    root = tmp_path_factory.mktemp("lived")
    workload.run(f"{root}/store", f"{root}/app.ndjson", SEED, acks.appending_to(root / "acks"), cycles=2)
    return root


@pytest.fixture
def root(lived, tmp_path):
    shutil.copytree(lived, tmp_path / "copy")
    return tmp_path / "copy"


def judged(root, **changes):
    events = changes.get("events", acks.read(root / "acks"))
    return oracle.check(f"{root}/store", f"{root}/app.ndjson", SEED, events)


def alter(root, sql):
    connection = duckdb.connect(str(root / "store" / "records.duckdb"))
    connection.execute(sql)
    connection.close()


def blobs(root):
    return sorted((root / "store" / "blobs" / "objects").glob("??/*.gz"))


def test_a_store_that_kept_its_promises_passes(root):
    assert judged(root) == []
    assert judged(root) == []


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("DELETE FROM raw.records WHERE seq = (SELECT max(seq) FROM raw.records)", "is not there"),
        ("INSERT INTO raw.records SELECT * FROM raw.records WHERE msg = 'log 1'", "is there 2 times"),
        ("UPDATE raw.records SET msg = 'other' WHERE msg = 'log 1'", "msg is 'other'"),
        ("UPDATE raw.records SET timestamp = timestamp + INTERVAL 1 MICROSECOND WHERE msg = 'log 1'", "timestamp is"),
        ("UPDATE raw.records SET attributes = '{}' WHERE msg = 'log 1'", "attributes is '{}'"),
        ("UPDATE raw.records SET producer_id = 'who' WHERE msg = 'log 1'", "an id that nobody gave"),
        (f"UPDATE raw.records SET producer_id = '{SEED}-9999' WHERE msg = 'log 1'", "was never sent"),
        ("UPDATE raw.records SET body_digest = NULL WHERE body_digest IS NOT NULL", "another was sent"),
        ("DELETE FROM raw.bodies", "verify at first: unlisted"),
        ("UPDATE raw.bodies SET state = 'lost'", "its body is lost"),
    ],
)
def test_a_database_that_broke_a_promise_is_found(root, sql, found):
    alter(root, sql)
    assert found in oracle.describe(judged(root), limit=1000)


def test_a_missing_a_damaged_and_a_swapped_body_are_found(root):
    for damage in (os.unlink, truncate, swap(blobs(root)[1])):
        copy = root.with_name(f"damaged-{damage.__name__}")
        shutil.copytree(root, copy)
        damage(copy / blobs(root)[0].relative_to(root))
        found = oracle.describe(judged(copy), limit=1000)
        assert "verify at first" in found
        assert "its body is " in found


def test_an_expired_record_that_rose_again_is_found(root):
    events = acks.read(root / "acks")
    cutoff = next(event for event in events if event["op"] == "pruned" and event["cutoff_ms"])
    last = next(event for event in reversed(events) if event["op"] == "inserted")
    number = next(n for n in range(last["last"], -1, -1) if workload.is_old(n) and not workload.is_rejected(n))
    risen = {"first": number, "last": number}
    events += [{"op": "insert-begins", **risen}, {"op": "inserted", **risen}]
    events += [cutoff | {"op": "prune-begins"}, cutoff]
    with oracle.TraceStore(root / "store") as store:
        store.insert_records([workload.record(SEED, number)])
    assert f"record {number} was expired and is there" in judged(root, events=events)


def test_a_rejected_line_that_went_missing_is_found(root):
    rejected = root / "store" / "journal" / "rejected.ndjson"
    lines = rejected.read_bytes().splitlines(keepends=True)
    assert lines
    rejected.write_bytes(b"".join(lines[1:]))
    assert any("rejected lines: 1 are missing" in violation for violation in judged(root))


def test_half_a_turn_is_found():
    turn = next(turn for turn in workload.turns_of(range(40)) if workload.is_old(turn * workload.TURN))
    numbers = workload.numbers_of(turn)
    span = {"first": numbers[0], "last": numbers[-1]}
    age = {"cutoff_ms": workload.BASE_MS, "cap": None}
    events = [{"op": "insert-begins", **span}, {"op": "inserted", **span}, {"op": "prune-begins", **age}]
    promised = oracle.Promised(SEED, events)
    assert list(oracle._halves(set(numbers), promised)) == list(oracle._halves(set(), promised)) == []
    assert len(list(oracle._halves(set(numbers[:2]), promised))) == 1


def test_a_torn_promise_is_none():
    assert acks.parse(json.dumps({"op": "opened"}).encode() + b'\n{"op": "ins') == [{"op": "opened"}]


def truncate(path):
    os.chmod(path, 0o600)
    os.truncate(path, path.stat().st_size - 1)


def swap(other):
    def swap(path):
        os.replace(path, path.with_suffix(".kept"))
        shutil.copy(other, path)
        os.unlink(path.with_suffix(".kept"))

    return swap
