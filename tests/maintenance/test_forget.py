"""Forget: what must not be kept leaves every place that the store reaches, and it says what it cannot reach."""

import gzip
import os

import pytest

from blobs import Digest
from tracestore import InputInvalid, TraceStore


def files_with(store, text):
    """The files under a store that hold a text, blobs decompressed."""
    found = []
    for path in store.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            if text.encode() in content:
                found.append(path.relative_to(store.path).parts[0])
    return sorted(set(found))


@pytest.fixture
def secret():
    """A text that no compression changes."""
    return os.urandom(60).hex()


@pytest.fixture
def leaked(open_store, make, secret):
    """A store with a secret in a body and in a message of the turn "leak", beside another turn."""
    store = open_store(keep_journal=True)
    store.insert_records(make.turn("leak", request=f"key={secret}", response="said by both"))
    store.insert_records([make.log(msg=f"the key is {secret}", turnId="leak", conversationId="c-leak")])
    store.insert_records(make.turn("other", request="harmless", response="said by both"))
    store.snapshot()
    assert {"blobs", "journal"} <= set(files_with(store, secret))
    return store


def test_a_turn_leaves_every_place(leaked, secret):
    report = leaked.forget(turn_id="leak")
    assert (report.records, report.bodies, report.shared_bodies, report.segments) == (4, 1, 1, 1)
    assert report.left == ("backups and copies made before",)
    assert files_with(leaked, secret) == []
    assert leaked.get_turn("leak") == []
    assert [record.body for record in leaked.get_turn("other")] == ["harmless", None, "said by both"]
    assert leaked.verify(data=True).findings == ()


def test_it_does_not_rise_again_in_a_rebuild(leaked, secret, open_store):
    leaked.forget(conversation_id="c-leak")
    leaked.insert_records([])
    leaked.close()
    (leaked.path / "records.duckdb").unlink()
    again = open_store()
    assert again.get_turn("leak") == []
    assert len(again.get_turn("other")) == 3
    assert files_with(again, secret) == []


def test_a_digest_leaves_its_records(leaked, secret, make):
    digest = Digest.of(f"key={secret}".encode())
    report = leaked.forget(digest=str(digest))
    assert (report.records, report.bodies) == (0, 1)
    assert leaked.get_body(str(digest)) is None
    records = leaked.get_turn("leak")
    assert records[0].body_state == "evicted"
    assert "journal" not in files_with(leaked, f"key={secret}")


def test_what_is_quarantined_goes_too(leaked, secret):
    digest = Digest.of(f"key={secret}".encode())
    leaked._blobs.quarantine(digest)
    assert files_with(leaked, secret)
    assert leaked.forget(turn_id="leak").copies == 1
    assert files_with(leaked, secret) == []


def test_a_journal_of_another_program_is_named_and_not_touched(store, make, tmp_path, collecting, secret):
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.line(make.log(msg=secret, turnId="leak")) + b'no record of "leak"\n')
    collecting(store, journal).drain()
    left = store.forget(turn_id="leak").left
    assert f"{journal} (a journal that another program wrote, or still writes)" in left
    assert any("rejected.ndjson" in place for place in left)
    assert secret in journal.read_text()


def test_nothing_of_it_erases_nothing(leaked):
    before = leaked.stats()["records"]
    report = leaked.forget(turn_id="another")
    assert (report.records, report.bodies) == (0, 0)
    assert leaked.stats()["records"] == before


def test_after_it_the_store_takes_records_as_before(leaked, make, secret):
    leaked.forget(turn_id="leak")
    assert leaked.insert_records(make.turn("leak", request=f"key={secret}")).inserted == 3
    assert leaked.get_turn("leak")[0].body == f"key={secret}"


def test_exactly_one_thing_is_forgotten_at_a_time(memory_store):
    for wrong in ({}, {"turn_id": "a", "conversation_id": "b"}, {"digest": "no digest"}):
        with pytest.raises(InputInvalid):
            memory_store.forget(**wrong)


def test_a_store_in_memory_forgets(memory_store, make):
    memory_store.insert_records(make.turn("t", request="text"))
    assert memory_store.forget(turn_id="t").records == 3
    assert memory_store.get_turn("t") == []


def test_a_damaged_database_that_was_set_aside_is_named(leaked):
    leaked.close()
    with TraceStore.rebuild(leaked.path) as store:
        assert any(".damaged-" in place for place in store.forget(turn_id="leak").left)
