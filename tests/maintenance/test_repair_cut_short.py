"""A repair that was cut short at any step: the next one finishes it."""

import shutil

import pytest

from blobs import BlobStore
from tests.maintenance.patient import D1, D2, D3, ONE, THREE, TWO
from tracestore.maintenance.undo import UndoLog


class Cut(Exception):
    pass


@pytest.fixture
def hurt(patient, tmp_path):
    """One of everything that repair does, and where a donor is."""
    shutil.copytree(patient.blobs, tmp_path / "donor")
    patient.damage(D1)
    patient.path(D2).unlink()
    elsewhere = patient.path(D3).parent.with_name("zz")
    elsewhere.mkdir()
    patient.path(D3).rename(elsewhere / "moved")
    (patient.blobs / "packs").symlink_to(tmp_path)
    patient.change("UPDATE raw.bodies SET size_bytes = 7 WHERE digest = ?", bytes(D2))
    return tmp_path / "donor"


@pytest.mark.parametrize("step", ["stage", "set_aside", "publish", "ledger"])
def test_a_repair_cut_short_goes_on_where_it_was(patient, hurt, monkeypatch, step):
    def cut(*_):
        raise Cut

    target = ("tracestore.maintenance.repair.put_ledger_rows",) if step == "ledger" else (BlobStore, step)
    with monkeypatch.context() as patch:
        patch.setattr(*target, cut)
        with pytest.raises(Cut):
            patient.repair(donor=hurt)
    check_that_the_next_one_finishes(patient, hurt)


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("nth", range(5))
def test_a_repair_cut_short_at_its_log_goes_on_where_it_was(patient, hurt, monkeypatch, nth, is_written):
    write, left = UndoLog.write, [nth]

    def cut(self, *entries):
        left[0] -= 1
        if left[0] >= 0 or is_written:
            write(self, *entries)
        if left[0] < 0:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(UndoLog, "write", cut)
        with pytest.raises(Cut):
            patient.repair(donor=hurt)
    check_that_the_next_one_finishes(patient, hurt)


def check_that_the_next_one_finishes(patient, donor):
    logs = [log.read_text() for log in (patient.root / "repairs").glob("*")]
    assert not [log for log in logs if '"done"' in log]
    assert patient.repair(donor=donor, now_ns=1).is_whole
    assert {finding.kind for finding in patient.store.verify(data=True).findings} <= {"leftover"}
    assert [record.body for record in patient.store.get_turn("t")] == [ONE, None, TWO]
    assert patient.store.get_body(D3) == THREE.encode()
    assert patient.repair(donor=donor).mends == ()
