"""Defects of the seed system in ids and bodies, absent here: see `tests/pipeline/test_seed_defects.py`."""

import hashlib
from decimal import Decimal

import pytest

from blobs import Digest
from tracestore import RecordInvalid
from tracestore.ingest import row_of
from tracestore.record import line_of


def fnv1a_64(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


# --- ids


def test_ids_crafted_collision_keeps_both_records(memory_store, make):
    """ids: 64-bit FNV collides on crafted text and the second record is dropped.

    From a state of zero, FNV-1a stays at zero over any run of zeros: these three texts have one hash.
    """
    zero = bytes.fromhex("d56bb95342870836")
    assert fnv1a_64(zero) == fnv1a_64(zero + b"\0") == fnv1a_64(zero + b"\0\0") == 0
    texts = [(zero + b"\0" * n).decode("latin-1") for n in (0, 1, 2)]
    memory_store.insert_records([make.log(msg=text, turnId="t") for text in texts])
    assert [record.msg for record in memory_store.get_turn("t")] == texts


def test_ids_two_identical_events_in_one_millisecond_stay_two_when_their_producer_names_them(memory_store, make):
    """ids: two real identical events in one ms collapse."""
    assert memory_store.insert_records([make.log(id="a"), make.log(id="b")]).inserted == 2
    assert memory_store.insert_records([make.log(id="a"), make.log(id="b")]).duplicates == 2


def test_ids_two_identical_events_in_different_nanoseconds_stay_two(memory_store, make, now_ms):
    """ids: two real identical events in one ms collapse."""
    times = [now_ms + Decimal("0.000001"), now_ms + Decimal("0.000002"), now_ms + Decimal("0.5")]
    assert memory_store.insert_records([make.log(time) for time in times]).inserted == 3


def test_ids_an_absent_field_and_a_null_one_are_the_same(memory_store, make):
    """ids: the id differs for a field set to undefined."""
    assert memory_store.insert_records([make.log(), make.log(turnId=None, attributes=None)]).duplicates == 1


def test_ids_the_hash_is_the_hash_it_says_it_is():
    """ids: the "SHA-256" is not SHA-256. Ours is BLAKE3, with the published test vector of the empty input."""
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert str(Digest.of(b"")) == empty
    assert str(Digest.of(b"")) != hashlib.sha256(b"").hexdigest()


def test_ids_have_more_than_64_bits(make):
    """ids: 64 bits are too few for millions of records."""
    assert len(row_of(line_of(make.log())).record_id) == 16


# --- bodies


def test_bodies_with_lone_surrogates_stay_themselves_and_apart(memory_store, make):
    """bodies: lone surrogates become U+FFFD and two bodies share a hash."""
    bodies = ["\ud800", "\udfff", "\ufffd", "a\ud83d"]
    memory_store.insert_records([make.log(msg=str(n), turnId="t", body=body) for n, body in enumerate(bodies)])
    turn = memory_store.get_turn("t")
    assert [record.body for record in turn] == bodies
    assert len({record.body_digest for record in turn}) == 4


def test_bodies_keep_a_leading_byte_order_mark(memory_store, make):
    """bodies: a leading U+FEFF is lost."""
    memory_store.insert_records([make.log(turnId="t", body="\ufeffmark")])
    (record,) = memory_store.get_turn("t")
    assert record.body == "\ufeffmark"
    assert memory_store.get_body(record.record_id) == b"\xef\xbb\xbfmark"


@pytest.mark.parametrize("body", [{"a": 1}, ["a"], 5, True])
def test_bodies_that_are_no_text_are_refused_not_made_text(memory_store, make, body):
    """bodies: a non-string body becomes `[object Object]`."""
    with pytest.raises(RecordInvalid, match="body: wanted str"):
        memory_store.insert_records([make.log(body=body)])
