"""Repair mends what verify finds, from wherever a body still is, and never makes it worse."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from blobs import BlobStore, codec, layout
from tests.maintenance.patient import D1, D2, D3, ONE, THREE, TWO
from tracestore import InputInvalid, RetentionPolicy, StoreBroken, StoreUnavailable, TraceStore


def actions(report) -> list[tuple[str, str]]:
    return [(mend.action, mend.subject) for mend in report.mends]


def test_there_is_nothing_to_do_for_a_whole_store(patient):
    report = patient.repair()
    assert (report.mends, report.remaining, report.lost, report.log) == ((), (), 0, None)
    assert report.is_whole
    assert not (patient.root / "repairs").exists()


def test_a_body_that_nobody_has_is_lost_and_its_record_stays(patient):
    patient.damage(D1)
    patient.path(D2).unlink()
    report = patient.repair()
    assert actions(report) == [
        ("set aside", layout.blob_path(D1)),
        *sorted([("mark lost", str(D1)), ("mark lost", str(D2))]),
    ]
    assert (report.lost, report.remaining, report.is_whole) == (2, (), False)
    first, _, second = patient.store.get_turn("t")
    assert (first.body_state, second.body_state, first.body_size_bytes) == ("lost", "lost", len(ONE))
    assert patient.kinds() == []
    assert patient.store.verify().lost == 2


def test_a_dry_run_says_the_same_and_changes_nothing(patient):
    patient.damage(D1)
    patient.path(D2).unlink()
    (patient.blobs / "notes").write_text("mine")
    patient.path(D3).chmod(0o644)
    before = {path: path.lstat().st_mtime_ns for path in patient.root.rglob("*")}
    ledger = patient.ledger()
    planned = patient.repair(apply=False)
    assert {path: path.lstat().st_mtime_ns for path in patient.root.rglob("*")} == before
    assert patient.ledger() == ledger
    done = patient.repair()
    assert actions(planned) == actions(done)
    assert (planned.lost, planned.remaining, planned.log) == (done.lost, done.remaining, None)


def test_a_dry_run_works_on_a_store_that_is_only_read(patient):
    patient.damage(D1)
    patient.store.close()
    patient.store = TraceStore(patient.root, create=False, read_only=True)
    assert ("mark lost", str(D1)) in actions(patient.repair(apply=False))


@pytest.mark.parametrize("shape", ["store", "blobs", "copy without FORMAT of the store"])
def test_a_body_comes_from_a_donor(patient, tmp_path, shape):
    donor = tmp_path / "donor"
    shutil.copytree(patient.root if shape == "store" else patient.blobs, donor)
    if shape.startswith("copy"):
        (tmp_path / "outer").mkdir()
        donor = donor.rename(tmp_path / "outer" / "blobs").parent
    patient.damage(D1)
    patient.path(D2).unlink()
    report = patient.repair(donor=donor)
    assert report.is_whole
    assert [record.body for record in patient.store.get_turn("t")] == [ONE, None, TWO]
    assert patient.kinds() == []


def test_a_damaged_body_of_a_donor_is_not_taken(patient, tmp_path):
    shutil.copytree(patient.blobs, tmp_path / "donor")
    patient.path(D1).unlink()
    damaged = tmp_path / "donor" / layout.blob_path(D1)
    damaged.chmod(0o600)
    damaged.write_bytes(codec.encode(b"something else"))
    report = patient.repair(donor=tmp_path / "donor")
    assert report.lost == 1
    assert not [mend for mend in report.mends if mend.action == "put back"]


def test_a_donor_that_is_none_is_refused_before_anything_is_done(patient, tmp_path):
    patient.damage(D1)
    with pytest.raises(InputInvalid, match=r"--from\): wanted a backup"):
        patient.repair(donor=tmp_path)
    with pytest.raises(InputInvalid, match=r"--journal\): wanted a file"):
        patient.repair(journals=[tmp_path / "none.ndjson"])
    assert patient.kinds() == ["corrupt"]
    assert not (patient.blobs / "quarantine").exists()


@pytest.mark.parametrize("where", ["given", "own"])
def test_a_body_comes_from_a_journal(patient, tmp_path, make, where):
    journal = patient.root / "journal" / "kept.ndjson" if where == "own" else tmp_path / "kept.ndjson"
    journal.write_bytes(
        b'{"torn\n' + make.line(make.log(msg="other", body="of no use")) + make.line(make.log(msg="x", body=ONE))
    )
    patient.damage(D1)
    report = patient.repair(journals=[journal] if where == "given" else [])
    assert report.is_whole
    assert "kept.ndjson at byte" in next(mend.detail for mend in report.mends if mend.action == "put back")
    assert patient.store.get_body(D1) == ONE.encode()


def test_two_swapped_files_find_their_seats_again(patient):
    one, two = patient.path(D1).read_bytes(), patient.path(D2).read_bytes()
    patient.write(D1, two)
    patient.write(D2, one)
    report = patient.repair()
    assert report.is_whole
    assert [action for action, _ in actions(report)] == ["set aside"] * 2 + ["put back"] * 2
    assert [record.body for record in patient.store.get_turn("t")] == [ONE, None, TWO]


def test_a_file_in_the_wrong_place_is_put_into_the_right_one(patient):
    elsewhere = patient.path(D1).parent.with_name("00")
    elsewhere.mkdir(exist_ok=True)
    patient.path(D1).rename(elsewhere / f"{D1}.gz")
    (patient.path(D2).parent).rename(patient.blobs / "objects" / "was-moved")
    assert patient.repair().is_whole
    assert [record.body for record in patient.store.get_turn("t")] == [ONE, None, TWO]
    assert patient.kinds() == []


def test_a_good_file_in_quarantine_is_taken_back(patient):
    patient.store._blobs.quarantine(D1)
    report = patient.repair()
    assert actions(report) == [("put back", str(D1))]
    assert patient.store.get_body(D1) == ONE.encode()
    assert (patient.blobs / "quarantine" / f"{D1}.gz").exists(), "nothing is deleted"


def test_flipped_bits_that_harm_nothing_are_renewed(patient):
    stored = bytearray(patient.path(D1).read_bytes())
    stored[4] ^= 1  # the time in the header
    patient.write(D1, bytes(stored))
    assert patient.kinds() == ["flipped"]
    report = patient.repair()
    assert actions(report) == [("set aside", layout.blob_path(D1)), ("put back", str(D1))]
    assert patient.kinds() == []


def test_strangers_and_links_go_to_quarantine_and_are_not_followed(patient, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine")
    content = patient.path(D1).read_bytes()
    patient.path(D1).unlink()
    (tmp_path / "outside" / "blob").write_bytes(content)
    patient.path(D1).symlink_to(tmp_path / "outside" / "blob")
    (patient.blobs / "packs").symlink_to(tmp_path / "outside")
    (patient.blobs / "stage").rmdir()
    (patient.blobs / "stage").symlink_to(tmp_path / "outside")
    os.mkfifo(patient.path(D2).with_name("pipe"))
    report = patient.repair()
    assert report.lost == 1, "a link is no body, whatever it leads to"
    assert patient.kinds() == []
    assert sorted(os.listdir(tmp_path / "outside")) == ["blob", "mine"]
    assert {path.name for path in (patient.blobs / "quarantine").iterdir()} == {f"{D1}.gz", "packs", "stage", "pipe"}


def test_a_quarantine_that_is_a_link_is_told_and_nothing_is_done(patient, tmp_path):
    (patient.blobs / "quarantine").symlink_to(tmp_path)
    patient.damage(D1)
    with pytest.raises(StoreBroken, match="by hand"):
        patient.repair()
    assert patient.kinds() == ["corrupt", "symlink"]


def test_the_ledger_is_made_to_say_what_is(patient):
    patient.change("DELETE FROM raw.bodies WHERE digest = ?", bytes(D1))
    patient.change("UPDATE raw.bodies SET stored_bytes = 5, size_bytes = 7 WHERE digest = ?", bytes(D2))
    patient.change("INSERT INTO raw.bodies SELECT * FROM raw.bodies WHERE digest = ?", bytes(D3))
    patient.change("UPDATE raw.records SET body_size_bytes = 1 WHERE body_digest = ?", bytes(D3))
    report = patient.repair()
    assert sorted(actions(report)) == sorted(("correct", str(digest)) for digest in (D1, D2, D3))
    sizes = {digest: (len(body), patient.path(digest).stat().st_size, "present")
             for digest, body in ((D1, ONE), (D2, TWO), (D3, THREE))}  # fmt: skip
    assert patient.ledger() == {digest: [row] for digest, row in sizes.items()}
    assert patient.kinds() == []
    assert report.is_whole


def test_a_body_the_ledger_does_not_know_and_nobody_has_is_listed_as_lost(patient):
    patient.change("DELETE FROM raw.bodies WHERE digest = ?", bytes(D1))
    patient.path(D1).unlink()
    assert patient.repair().lost == 1
    assert patient.ledger()[D1] == [(len(ONE), 0, "lost")]


def test_what_was_lost_is_found_when_it_is_back(patient, tmp_path):
    shutil.copytree(patient.blobs, tmp_path / "donor")
    stored = patient.path(D2).read_bytes()
    patient.path(D1).unlink()
    patient.path(D2).unlink()
    assert patient.repair().lost == 2
    patient.write(D2, stored)  # as an rsync from a backup does
    assert patient.kinds() == ["returned"]
    report = patient.repair(donor=tmp_path / "donor")
    assert report.is_whole
    assert {rows[0][2] for rows in patient.ledger().values()} == {"present"}


def test_what_was_evicted_is_neither_looked_for_nor_lost(patient, tmp_path):
    shutil.copytree(patient.blobs, tmp_path / "donor")
    patient.store.prune(RetentionPolicy(max_total_body_bytes=0))
    patient.change("INSERT INTO raw.bodies SELECT * FROM raw.bodies WHERE digest = ?", bytes(D1))
    report = patient.repair(donor=tmp_path / "donor")
    assert actions(report) == [("correct", str(D1))]
    assert {rows[0][2] for rows in patient.ledger().values()} == {"evicted"}
    assert list(patient.store._blobs) == []


def test_an_orphan_is_left_to_prune_and_a_damaged_one_is_set_aside(patient):
    good, bad = patient.store._blobs.put_many([b"good orphan", b"bad orphan"])
    patient.damage(bad)
    report = patient.repair()
    assert actions(report) == [("set aside", layout.blob_path(bad))]
    assert report.is_whole
    assert patient.kinds() == ["orphan"]
    assert patient.store._blobs.get(good) == b"good orphan"


def test_a_file_that_cannot_be_read_stays_until_a_replacement_is_in_hand(patient, tmp_path, monkeypatch):
    from blobs import BlobsUnavailable
    from blobs.backends import LocalBackend

    shutil.copytree(patient.blobs, tmp_path / "donor")
    read, home = LocalBackend.read, patient.store._blobs._backend

    def failing(self, digest, limit_bytes, fresh=False):
        if self is home and digest == D1 and patient.path(D1).stat().st_ino == inode:
            raise BlobsUnavailable(5, "Input/output error")
        return read(self, digest, limit_bytes, fresh)

    inode = patient.path(D1).stat().st_ino
    monkeypatch.setattr(LocalBackend, "read", failing)
    monkeypatch.setattr(LocalBackend, "read_file", lambda *_: (_ for _ in ()).throw(BlobsUnavailable(5, "I/O")))
    for _ in range(2):
        report = patient.repair()
        assert actions(report) == []
        assert [finding.kind for finding in report.remaining] == ["unreadable"]
        assert (report.lost, report.is_whole) == (0, False)
        assert patient.path(D1).exists()
    report = patient.repair(donor=tmp_path / "donor")
    assert actions(report) == [("set aside", layout.blob_path(D1)), ("put back", str(D1))]
    assert report.is_whole
    assert patient.store.get_body(D1) == ONE.encode()


def test_a_damaged_snapshot_is_found_kept_and_renewed(patient):
    path = patient.store.snapshot()
    (part,) = path.glob("records-*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    assert patient.kinds() == ["snapshot"]
    assert patient.verify().is_clean, "a flipped bit takes reading"
    assert [finding.kind for finding in patient.repair().remaining] == ["snapshot"]
    planned = patient.repair(apply=False, take_snapshot=patient.store.snapshot)
    report = patient.repair(take_snapshot=patient.store.snapshot)
    assert actions(planned) == actions(report) == [("renew", f"snapshots/{path.name}")]
    assert report.is_whole
    assert patient.kinds() == []
    assert (path.with_name(f"{path.name}.damaged") / part.name).read_bytes() == content


def test_a_damaged_snapshot_stays_where_no_new_one_can_be_taken(patient):
    path = patient.store.snapshot()
    (path / "MANIFEST.json").write_text("{}")

    def refuse():
        raise StoreUnavailable(28, "No space left on device")

    with pytest.raises(StoreUnavailable):
        patient.repair(take_snapshot=refuse)
    assert path.is_dir()
    assert patient.kinds() == ["snapshot"]


@pytest.mark.parametrize("damage", ["no manifest", "bad manifest", "no file", "cut"])
def test_a_snapshot_that_lacks_something_is_found_without_reading_it(patient, damage):
    path = patient.store.snapshot()
    manifest, (part,) = path / "MANIFEST.json", path.glob("records-*.parquet")
    if damage == "bad manifest":
        manifest.write_text("{}")
    elif damage == "cut":
        os.truncate(part, 10)
    else:
        (manifest if damage == "no manifest" else part).unlink()
    (finding,) = patient.verify().findings
    assert (finding.kind, finding.subject) == ("snapshot", f"snapshots/{path.name}")


def test_modes_that_let_others_read_are_taken_back(patient):
    patient.path(D1).chmod(0o644)
    report = patient.repair()
    assert actions(report) == [("protect", str(D1))]
    assert stat.S_IMODE(patient.path(D1).stat().st_mode) == 0o400


def test_every_action_is_in_the_undo_log_before_it_is_done(patient, tmp_path):
    patient.damage(D1)
    patient.path(D2).unlink()
    (patient.blobs / "notes").write_text("mine")
    patient.path(D3).chmod(0o640)
    shutil.copytree(patient.blobs, tmp_path / "donor")
    (tmp_path / "donor" / layout.blob_path(D1)).unlink()
    BlobStore(tmp_path / "donor").put(ONE.encode())
    report = patient.repair(donor=tmp_path / "donor")
    log = Path(report.log)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert log.parent == patient.root / "repairs"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (log, log.parent)] == [0o600, 0o700]
    assert entries[-1] == {"action": "done"}
    assert {"action": "set aside", "path": "notes", "to": "quarantine/notes"} in entries
    (put,) = (entry for entry in entries if entry["action"] == "put back")
    assert (put["digest"], put["size_bytes"]) == (str(D1), len(ONE))
    (lost,) = (entry for entry in entries if entry["action"] == "correct")
    assert (lost["digest"], lost["before"][0]["state"], lost["after"]["state"]) == (str(D2), "present", "lost")
    assert [entry["path"] for entry in entries if entry["action"] == "protect"] == [layout.blob_path(D3)]


def test_a_store_in_memory_is_repaired_too(memory_store, make):
    memory_store.insert_records([make.log(body="a body")])
    assert memory_store.verify(data=True).is_clean
    (digest,) = memory_store._blobs
    memory_store._blobs.quarantine(digest)
    assert actions(memory_store.repair(apply=True)) == [("put back", str(digest))]
    assert memory_store.get_body(digest) == b"a body"


def test_a_body_that_was_marked_lost_is_taken_when_it_is_sent_again(patient, make):
    patient.path(D1).unlink()
    writing = patient.store._writing("repair")
    assert patient.repair(bodies_went=writing.bodies_went).lost == 1
    patient.store.insert_records([make.log(msg="again", body=ONE)])
    assert patient.ledger()[D1][0][2] == "present"
    assert patient.kinds() == []
    assert patient.store.get_body(D1) == ONE.encode()
