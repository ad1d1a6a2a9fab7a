"""The format of a pack is a contract, and damage to any byte of it is told from what was written."""

import struct

import pytest

from blobs import BlobCorrupt, BlobError, BlobStore, Digest
from blobs.packs import check, dead, frame
from blobs.packs import format as pack_format
from blobs.packs.format import FrameSeat, Index, key_of

BODIES = [b"", b"one", b"one and two", b"one and two and three"]
NAME = Digest.of(b"a pack")


def bodies_by_digest(bodies):
    return {Digest.of(body): body for body in bodies}


def start_of_table(content):
    return struct.unpack("<Q", content[-56:-48])[0]


@pytest.fixture
def small(kit, local, reopened):
    """A directory with one pack of two frames."""
    store = local
    with store._tier.writing(frame.LEVEL) as begun:
        for some in (BODIES[:2], BODIES[2:]):
            begun.add([(Digest.of(body), body) for body in some])
        staged = begun.finish()
    store.publish(staged)
    store.close()
    (path,) = kit.files(".pack")
    return path


def test_a_tail_is_these_bytes():
    """Another release reads what this one wrote."""
    seats = [FrameSeat(16, 100, 300, 0, 2), FrameSeat(116, 50, 80, 2, 1)]
    tail = pack_format.encode_tail(9, seats, [0x1112131415161718, 3, 2**64 - 1], 166, 368)
    assert tail.hex() == (
        "1000000000000000" "2c010000" "00000000"
        "7400000000000000" "50000000" "02000000"
        "0300000000000000" "1817161514131211" "ffffffffffffffff"
        "01000000" "00000000" "02000000"
        "09000000" "02000000" "03000000" "a600000000000000" "7001000000000000"
        "368157d0cc1b127a041626e12e93e41d" "d49951cf2491a5a0995c9c62ec2ca2f3" "74737061636b310a"
    )  # fmt: skip


def test_the_note_of_the_dead_is_these_bytes():
    noted = dead.Dead(11)
    noted.add([0, 9])
    assert noted.encode(NAME).hex() == "747364656164310a" "0102" "7f1ae889b3c20f0dc4eb4d75212aa91e"


def test_a_pack_begins_with_its_kind_and_is_named_by_its_content(small):
    content = small.read_bytes()
    assert content.startswith(b"tspack1\n")
    assert content.endswith(b"tspack1\n")
    assert small.name == f"{Digest.of(content)}.pack"
    start, raw_bytes, first = struct.unpack_from("<QII", content, start_of_table(content))
    assert (start, raw_bytes, first) == (16, 4 + 4 * 2 + 3, 0)
    assert content[start : start + 4] == frame.MAGIC


def test_what_was_written_is_read(small, kit, root):
    with BlobStore(root, create=False) as store:
        assert {store.get(digest) for digest in store} == set(BODIES)
        kit.holds(store, bodies_by_digest(BODIES))
        assert list(store.verify(data=True)) == []


def look_at(root, content):
    """Return the bodies that a store still gives, and what verify says of it."""
    with BlobStore(root, create=False) as store:
        found = {}
        for body in BODIES:
            try:
                found[body] = store.get(Digest.of(body))
            except BlobError:
                continue
        list(store.compare(()))
        return found, [finding.kind for finding in store.verify(data=True)], list(store.verify())


def test_a_change_of_any_byte_is_found_and_gives_no_wrong_body(small, kit, root):
    whole = small.read_bytes()
    lost = 0
    for at in range(len(whole)):
        kit.flip(small, at, 0xFF if at % 3 == 0 else 1 << at % 8)
        found, kinds, _ = look_at(root, whole)
        kit.overwrite(small, whole)
        assert all(body == wanted for wanted, body in found.items()), at
        assert kinds, f"byte {at} was changed and nobody noticed"
        assert set(kinds) <= {"corrupt", "flipped"}
        if kinds == ["flipped"]:
            assert len(found) == len(BODIES), f"byte {at}: flipped says that every body is whole"
        lost += len(found) < len(BODIES)
    assert 50 < lost < len(whole)


def test_a_change_of_the_index_is_found_without_reading_frames(small, kit, root):
    whole = small.read_bytes()
    table_start = start_of_table(whole)
    for at in range(table_start, len(whole)):
        kit.flip(small, at)
        _, _, quick = look_at(root, whole)
        kit.overwrite(small, whole)
        assert [finding.kind for finding in quick] == ["corrupt"], at


def test_every_truncation_is_found_and_gives_no_wrong_body(small, kit, root):
    whole = small.read_bytes()
    for size in range(len(whole)):
        kit.overwrite(small, whole[:size])
        found, kinds, _ = look_at(root, whole)
        assert (found, kinds) == ({}, ["corrupt"]), size
    kit.overwrite(small, whole + b"\0")
    assert look_at(root, whole)[:2] == ({}, ["corrupt"])


def test_a_tail_without_frames_is_no_pack():
    tail = pack_format.encode_tail(9, [], [], 16, 0)
    footer = pack_format.decode_footer(tail[-pack_format.FOOTER_BYTES :], 16 + len(tail), "here")
    with pytest.raises(BlobCorrupt, match="one that does not add up"):
        pack_format.decode_table(b"", footer, "here")


def test_bodies_come_back_from_whatever_is_left_of_a_pack(small):
    """Without table, index and footer; without the beginning; and from the frames beside a damaged one."""
    whole = small.read_bytes()
    table_start = start_of_table(whole)
    assert list(check.bodies(whole)) == BODIES
    assert list(check.bodies(whole[:table_start])) == BODIES
    assert list(check.bodies(bytes(100) + whole[12:])) == BODIES
    second = whole.index(frame.MAGIC, 20)
    assert list(check.bodies(whole[:second] + whole[second + 4 :])) == BODIES[:2]
    assert list(check.bodies(bytes(20) + whole[20:])) == BODIES[2:]
    for end in range(table_start):
        left = list(check.bodies(whole[:end]))
        assert left == BODIES[: len(left)], end
        assert len(left) >= (2 if end >= second else 0)


def test_keys_ascend_with_digests_and_name_all_bodies_that_share_them():
    keys = [7, 3, 7, 2**64 - 1]
    tail = pack_format.encode_tail(9, [FrameSeat(16, 4, 9, 0, 4)], keys, 20, 0)
    index = Index(memoryview(tail[16 : -pack_format.FOOTER_BYTES]), 4)
    assert sorted(index.find(7)) == [0, 2]
    assert [list(index.find(key)) for key in (3, 2**64 - 1, 0, 5)] == [[1], [3], [], []]
    assert list(index.entries()) == [(3, 1), (7, 0), (7, 2), (2**64 - 1, 3)]
    assert index.keys_by_ordinal() == keys
    digests = sorted(Digest.of(b"%d" % n) for n in range(50))
    assert [key_of(digest) for digest in digests] == sorted(key_of(digest) for digest in digests)


def test_an_ordinal_that_cannot_be_is_passed_over():
    tail = pack_format.encode_tail(9, [FrameSeat(16, 4, 9, 0, 2)], [1, 2], 20, 0)
    at = len(tail) - pack_format.FOOTER_BYTES - 8
    damaged = tail[:at] + struct.pack("<II", 0, 9) + tail[at + 8 :]
    index = Index(memoryview(damaged[16 : -pack_format.FOOTER_BYTES]), 2)
    assert [list(index.find(1)), list(index.find(2))] == [[0], []]
    assert list(index.entries()) == [(1, 0)]


def test_a_note_of_the_dead_is_read_back_and_counts_for_none_where_it_is_damaged():
    noted = dead.Dead(300)
    noted.add([0, 7, 8, 299, 299])
    assert len(noted) == 4
    content = noted.encode(NAME)
    assert len(content) == dead.file_bytes(300)
    again = dead.decode(content, NAME, 300)
    assert [ordinal for ordinal in range(300) if ordinal in again] == [0, 7, 8, 299]
    again.remove(7)
    assert [ordinal for ordinal in range(300) if ordinal in again] == [0, 8, 299]
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 4
        assert len(dead.decode(bytes(damaged), NAME, 300)) == 0
        assert len(dead.decode(content[:at], NAME, 300)) == 0
    assert len(dead.decode(content, Digest.of(b"another pack"), 300)) == 0
    assert len(dead.decode(content + b"\0", NAME, 300)) == 0
