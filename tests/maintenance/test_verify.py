"""Verify finds each kind of damage, says what it is, and changes nothing."""

import gzip
import os

import pytest

from blobs import Digest
from tracestore import InputInvalid, RetentionPolicy
from tracestore.maintenance.verify import subset_of, verify_store


@pytest.fixture
def full(store, make):
    store.insert_records(make.turn("t", request="a body of some length " * 20, response="another body"))
    return store


@pytest.fixture
def blob(full, tmp_path):
    """`blob("text")` is the file of a body, writable."""

    def find(body):
        (path,) = (tmp_path / "store" / "blobs" / "objects").rglob(f"{Digest.of(body.encode())}.gz")
        path.chmod(0o644)
        return path

    return find


def change(store, sql, *values):
    with store._database.writing() as cursor:
        cursor.execute(sql, values)


def found(store, data=False):
    return [(finding.kind, finding.subject) for finding in store.verify(data=data).findings]


ANOTHER = str(Digest.of(b"another body"))


def test_a_whole_store_is_clean_and_is_counted(full):
    report = full.verify(data=True)
    assert report.is_clean
    assert (report.records, report.bodies, report.blobs, report.findings) == (3, 2, 2, ())
    assert report.with_data


def test_a_missing_blob_is_found(full, blob):
    blob("another body").unlink()
    assert found(full) == [("missing", ANOTHER)]
    assert not full.verify().is_clean
    assert full.get_turn("t")[2].body_state == "lost"


def test_a_changed_blob_is_found_only_by_reading_it(full, blob):
    path = blob("another body")
    stored = bytearray(path.read_bytes())
    stored[-10] ^= 1
    path.write_bytes(stored)
    path.chmod(0o400)
    assert found(full) == []
    assert found(full, data=True) == [("corrupt", ANOTHER)]
    assert full.get_turn("t")[2].body_state == "lost"


def test_a_valid_blob_of_another_body_is_corrupt(full, blob):
    path = blob("another body")
    size = path.stat().st_size
    path.write_bytes(gzip.compress(b"a stranger", mtime=0).ljust(size, b"\0")[:size])
    path.chmod(0o400)
    assert found(full, data=True) == [("corrupt", ANOTHER)]


@pytest.mark.parametrize("size_bytes", [0, 5, 25])
def test_a_cut_blob_is_found_by_its_size(full, blob, size_bytes):
    path = blob("another body")
    os.truncate(path, size_bytes)
    path.chmod(0o400)
    assert found(full) == [("size" if size_bytes == 25 else "corrupt", ANOTHER)], "one finding for one damage"
    assert found(full, data=True) == [("corrupt", ANOTHER)]


def test_zeros_in_the_place_of_a_blob_are_found(full, blob):
    path = blob("another body")
    path.write_bytes(bytes(path.stat().st_size))
    path.chmod(0o400)
    assert found(full, data=True) == [("corrupt", ANOTHER)]


def test_an_orphan_is_found_and_harmless(full):
    (digest,) = full._blobs.put_many([b"orphan"])
    report = full.verify(data=True)
    assert [(finding.kind, finding.subject) for finding in report.findings] == [("orphan", str(digest))]
    assert report.is_clean
    full.prune(RetentionPolicy(max_age="7d"))
    assert full.verify(data=True).findings == ()


def test_a_body_that_the_ledger_does_not_know_is_found(full):
    change(full, "DELETE FROM raw.bodies WHERE digest = ?", bytes(Digest.of(b"another body")))
    assert found(full, data=True) == [("unlisted", ANOTHER)], "no prune may remove it, so it is no orphan"
    assert not full.verify().is_clean


def test_a_ledger_row_too_many_is_found(full):
    change(full, "INSERT INTO raw.bodies SELECT * FROM raw.bodies WHERE digest = ?", bytes(Digest.of(b"another body")))
    assert found(full) == [("twice", ANOTHER)]


def test_sizes_that_contradict_one_another_are_found(full):
    digest = bytes(Digest.of(b"another body"))
    change(full, "UPDATE raw.bodies SET size_bytes = 5 WHERE digest = ?", digest)
    assert found(full) == [("size", ANOTHER)]
    change(full, "UPDATE raw.bodies SET size_bytes = 12, stored_bytes = 5 WHERE digest = ?", digest)
    assert found(full) == [("size", ANOTHER)]


def test_a_stranger_among_the_blobs_is_found(full, blob):
    path = blob("another body")
    path.chmod(0o400)
    path.with_name("notes.txt").write_text("mine")
    ((kind, subject),) = found(full)
    assert kind == "stranger"
    assert subject.endswith("notes.txt")


def test_several_damages_are_all_found(full, blob):
    blob("another body").unlink()
    full._blobs.put_many([b"orphan"])
    change(full, "UPDATE raw.records SET body_size_bytes = 5 WHERE body_size_bytes > 100")
    assert {kind for kind, _ in found(full)} == {"missing", "orphan", "size"}


def test_verify_changes_nothing(full, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "blobs").rglob("*")}
    full.verify(data=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "blobs").rglob("*")} == before


def test_a_damaged_body_is_replaced_when_it_is_sent_again(open_store, make, tmp_path):
    """Damage that changed the size heals itself at the next time the body comes in."""
    with open_store() as store:
        store.insert_records([make.log(turnId="t", body="text")])
    (path,) = (tmp_path / "store" / "blobs" / "objects").rglob("*.gz")
    path.chmod(0o644)
    os.truncate(path, 3)
    with open_store() as store:
        store.insert_records([make.log(turnId="u", msg="again", body="text")])
        assert store.get_turn("t")[0].body == "text"
        assert store.verify(data=True).findings == ()


def test_an_evicted_body_is_no_damage(full):
    full.prune(RetentionPolicy(max_total_body_bytes=0))
    assert found(full, data=True) == []


def test_a_blob_in_another_directory_is_one_finding_that_says_where_it_is(full, blob):
    path = blob("another body")
    path.chmod(0o400)
    elsewhere = path.parent.with_name("00" if path.parent.name != "00" else "01")
    elsewhere.mkdir()
    path.rename(elsewhere / path.name)
    (damage,) = full.verify(data=True).findings
    assert (damage.kind, damage.subject) == ("misplaced", ANOTHER)
    assert damage.path == f"objects/{elsewhere.name}/{path.name}"
    assert damage.path in damage.detail


def test_a_copy_elsewhere_does_not_hide_that_the_blob_has_another_size(full, blob):
    path = blob("another body")
    path.chmod(0o400)
    change(full, "UPDATE raw.bodies SET stored_bytes = 5 WHERE digest = ?", bytes(Digest.of(b"another body")))
    (path.parent / "copy").write_bytes(path.read_bytes())
    path.parent.with_name("zz").mkdir()
    assert sorted(kind for kind, _ in found(full, data=True)) == ["size", "stranger", "stranger"]


def test_two_blobs_in_each_others_place_are_two_findings(full, blob):
    one, two = blob("another body"), blob("a body of some length " * 20)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    one.chmod(0o400), two.chmod(0o400)
    assert sorted(kind for kind, _ in found(full, data=True)) == ["corrupt", "corrupt"]


def test_a_damaged_orphan_is_one_finding(full, tmp_path):
    (digest,) = full._blobs.put_many([b"orphan"])
    (path,) = (tmp_path / "store" / "blobs" / "objects").rglob(f"{digest}.gz")
    path.chmod(0o600)
    os.truncate(path, 3)
    path.chmod(0o400)
    assert found(full) == [("corrupt", str(digest))]


def test_a_lost_body_is_counted_and_is_told_when_it_is_back(full, blob):
    digest = bytes(Digest.of(b"another body"))
    change(full, "UPDATE raw.bodies SET state = 'lost' WHERE digest = ?", digest)
    blob("another body").chmod(0o400)
    report = full.verify(data=True)
    assert [(finding.kind, finding.harmless) for finding in report.findings] == [("returned", True)]
    blob("another body").unlink()
    report = full.verify(data=True)
    assert (report.findings, report.lost, report.is_clean) == ((), 1, True)


def test_every_part_of_a_store_is_read_once(full, blob):
    for body in ("another body", "a body of some length " * 20):
        path = blob(body)
        stored = bytearray(path.read_bytes())
        stored[-10] ^= 1
        path.write_bytes(stored)
        path.chmod(0o400)
    reports = [verify_store(full._database, full._blobs, data=False, subset=f"{n}/5") for n in range(1, 6)]
    assert sum(len(report.findings) for report in reports) == 2
    assert {(report.subset, report.with_data, report.blobs) for report in reports} == {
        (f"{n}/5", True, 2) for n in range(1, 6)
    }


def test_a_sample_is_named_so_that_it_can_be_read_again(full):
    report = verify_store(full._database, full._blobs, data=False, subset="12.5%", seed=0xABC)
    assert report.subset == "12.5%@0000000000000abc"
    subset, name = subset_of(report.subset, seed=7)
    assert name == report.subset
    assert subset == subset_of("12.5%", seed=0xABC)[0]
    assert subset.width == 2**61


@pytest.mark.parametrize("text", ["", "5", "0/3", "4/3", "1/0", "0%", "101%", "-1%", "5%@", "5%@xyz", "1/2/3", "n/m"])
def test_a_subset_that_is_none_is_refused(text):
    with pytest.raises(InputInvalid, match="subset: "):
        subset_of(text, seed=0)


def test_a_writer_at_work_is_not_mistaken_for_damage(full, make, monkeypatch):
    """What is published and committed while blobs are listed disagrees with an older look at the ledger."""
    listing = full._blobs._backend.list

    def insert():
        full.insert_records([make.log(msg="meanwhile", body="a body that was not listed")])
        full.stats()

    def evict():
        full.prune(RetentionPolicy(max_total_body_bytes=0))

    def listing_while(work):
        def list_and_work():
            monkeypatch.undo()
            listed = list(listing())
            work()
            yield from listed

        return list_and_work

    for work in (insert, evict):
        monkeypatch.setattr(full._blobs._backend, "list", listing_while(work))
        assert verify_store(full._database, full._blobs, data=False).findings == ()
