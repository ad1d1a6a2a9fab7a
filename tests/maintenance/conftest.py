import pytest

from tests.maintenance.patient import ONE, THREE, TWO, Patient
from tracestore.layout import StoreLayout
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.restore import restore
from tracestore.maintenance.rsync import Place


@pytest.fixture
def patient(tmp_path, make):
    patient = Patient(tmp_path / "store")
    patient.store.insert_records(make.turn("t", request=ONE, response=TWO))
    patient.store.insert_records([make.log(msg="third", body=THREE)])
    patient.forget_journal()
    yield patient
    patient.store.close()


@pytest.fixture
def said():
    return []


@pytest.fixture
def back(store, tmp_path, said):
    """`back()` backs the open store up, as the process that has it open would."""

    def run(target=None, take_snapshot=store.snapshot, **options):
        place = Place.parse(str(target or tmp_path / "backup"))
        return back_up(StoreLayout(store.path), place, take_snapshot, **({"tell": said.append, "wait_s": 0} | options))

    return run


@pytest.fixture
def restored(open_store, tmp_path):
    """`restored()` restores into a directory of its own and opens it."""
    count = 0

    def run(source=None):
        nonlocal count
        count += 1
        restore(Place.parse(str(source or tmp_path / "backup")), StoreLayout(tmp_path / f"restored-{count}"))
        journal, away = tmp_path / "store" / "journal", tmp_path / "away"
        journal.rename(away)  # what is restored beside the store must not read on in that one's journal
        try:
            return open_store(f"restored-{count}")
        finally:
            away.rename(journal)

    return run
