"""The collector packs by itself, beside everything else, and never in the way of anything."""

import threading

import pytest

from blobs import BlobStore
from tracestore import RetentionPolicy, StoreUnavailable
from tracestore.collector import Collected, Packed, PackFailed, Pruned, background, collector
from tracestore.maintenance import packing


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Much is soon enough to be packed, at every look, however young."""
    monkeypatch.setattr(packing, "LOOSE_BLOBS", 10)
    monkeypatch.setattr(background, "SETTLED_MS", 0)
    monkeypatch.setattr(collector, "PACK_EVERY_S", 0.0)


@pytest.fixture
def journal(tmp_path, make, talk):
    path = tmp_path / "app.ndjson"
    path.write_bytes(b"".join(map(make.line, talk.records("a", 20))))
    return path


def more(journal, make, talk, name, turns=12):
    with journal.open("ab") as file:
        file.write(b"".join(map(make.line, talk.records(name, turns))))


def test_above_the_threshold_it_packs_while_it_collects(store, journal, make, talk, collecting, disk):
    running = collecting(store, journal)
    running.run_until(lambda: running.of(Packed))
    assert running.of(Packed)[0].report.bodies == 20
    more(journal, make, talk, "b")
    running.run_until(lambda: len(running.of(Packed)) > 1)
    assert talk.held(store) == talk.bodies
    assert store.verify(data=True).findings == ()


@pytest.mark.parametrize("bodies", [9, 10])
def test_below_it_nothing_is_packed(store, journal, make, talk, collecting, disk, bodies):
    journal.write_bytes(b"".join(map(make.line, talk.records("b", bodies))))
    collecting(store, journal).drain()
    assert not store.pack_is_due()
    more(journal, make, talk, "c", 11 - bodies)
    collecting(store, journal).drain()
    assert store.pack_is_due()


def test_what_waits_for_removal_does_not_count_again(store, journal, talk, collecting, disk):
    collecting(store, journal).drain()
    store.pack()
    assert len(disk.loose) == 20
    assert not store.pack_is_due()


def test_packs_that_wait_for_removal_do_not_hide_loose_bodies(store, talk, disk):
    for name in ("b", "c"):
        store.insert_records(talk.records(name, 30, size=1))
        assert store.stats()["loose_blobs"] == 0
    store.pack()
    assert len(disk.packs) == 3  # two of them wait
    store.insert_records(talk.records("d", 11))
    assert store.stats()["loose_blobs"] == 11
    assert store.pack_is_due()


def test_many_bytes_or_many_small_packs_are_enough_too(store, journal, talk, collecting, monkeypatch):
    monkeypatch.setattr(packing, "LOOSE_BLOBS", 1000)
    collecting(store, journal).drain()
    assert not store.pack_is_due()
    monkeypatch.setattr(packing, "LOOSE_BYTES", 1000)
    assert store.pack_is_due()
    store.pack(grace_ms=0)
    monkeypatch.setattr(packing, "SMALL_PACKS", 1)
    for name in ("b", "c"):
        store.insert_records(talk.records(name, 30, size=1))
    assert store.pack_is_due()
    store.pack(grace_ms=0)
    assert not store.pack_is_due()


def test_bodies_that_just_came_in_stay_loose_beside_the_collector(store, journal, collecting, disk, monkeypatch):
    monkeypatch.setattr(background, "SETTLED_MS", 60_000)
    running = collecting(store, journal)
    running.run_until(lambda: running.of(Packed))
    assert running.of(Packed)[0].report.bodies == 0
    assert (len(disk.loose), disk.packs) == (20, [])


def test_a_prune_stops_packing_and_packing_goes_on_after_it(store, journal, talk, collecting, monkeypatch):
    began, told = threading.Event(), []
    whole = type(store).pack

    def slow(opened, **options):
        if not began.is_set():
            began.set()
            while not options["is_stopped"]():
                threading.Event().wait(0.005)
            told.append("stopped")
        return whole(opened, **options)

    monkeypatch.setattr(type(store), "pack", slow)
    running = collecting(store, journal, policy=RetentionPolicy(max_age="7d"), prune_every_s=0.2)
    running.run_until(lambda: [one for one in running.of(Packed) if one.report.bodies])
    assert told == ["stopped"]
    kinds = [type(event) for event in running.events]
    stopped = kinds.index(Packed)
    assert not running.events[stopped].report.is_complete
    assert Pruned in kinds[:stopped]
    assert talk.held(store) == talk.bodies


def test_a_failure_is_reported_and_tried_again(store, journal, talk, collecting, monkeypatch):
    from blobs.packs import writer

    failures = iter([True])
    whole = writer.durable.sync_file

    def full(fd):
        if next(failures, False):
            raise OSError(28, "No space left on device")
        whole(fd)

    collecting(store, journal).drain()
    monkeypatch.setattr(writer.durable, "sync_file", full)
    running = collecting(store, journal)
    running.run_until(lambda: running.of(Packed))
    (failed,) = running.of(PackFailed)
    assert isinstance(failed.error, StoreUnavailable)
    assert failed.error.errno == 28
    assert running.of(Packed)[0].report.bodies == 20
    assert [path.suffix for path in (store.path / "blobs" / "packs").iterdir()] == [".pack"]
    assert talk.held(store) == talk.bodies


def test_a_stop_ends_packing_before_the_last_report(store, journal, talk, collecting, monkeypatch):
    """What is reported at the end of a run is complete: nothing comes after it when the collector is closed."""
    began = threading.Event()
    whole = type(store).pack

    def slow(opened, **options):
        began.set()
        while not options["is_stopped"]():
            threading.Event().wait(0.005)
        return whole(opened, **options)

    monkeypatch.setattr(type(store), "pack", slow)
    running = collecting(store, journal)
    running.run_until(began.is_set)
    (packed,) = running.of(Packed)
    assert not packed.report.is_complete
    before = len(running.events)
    running.close()
    assert len(running.events) == before


def test_it_collects_while_it_packs(store, journal, make, talk, collecting, monkeypatch):
    began, go_on = threading.Event(), threading.Event()
    whole = BlobStore.pack

    def slow(blobs, *arguments, **options):
        began.set()
        assert go_on.wait(20)
        return whole(blobs, *arguments, **options)

    monkeypatch.setattr(BlobStore, "pack", slow)
    running = collecting(store, journal)

    def is_collected_meanwhile():
        if began.is_set() and len(running.of(Collected)) == 1:
            more(journal, make, talk, "b")
        if len(running.of(Collected)) < 2:
            return False
        go_on.set()
        return bool(running.of(Packed))

    running.run_until(is_collected_meanwhile)
    assert [event.inserted for event in running.of(Collected)][:2] == [20, 12]
    kinds = [type(event) for event in running.events]
    assert kinds.index(Packed) > [n for n, kind in enumerate(kinds) if kind is Collected][1]
    assert talk.held(store).items() >= talk.bodies.items()


def test_a_single_run_packs_at_its_end_where_there_is_enough(store, journal, talk, collecting, disk):
    one = collecting(store, journal).drain()
    one.collector.pack_now()
    assert [event.report.bodies for event in one.of(Packed)] == [20]
    again = collecting(store, journal).drain()
    again.collector.pack_now()
    assert again.of(Packed) == []


def test_a_store_marked_no_pack_is_left_alone(open_store, journal, talk, collecting, disk):
    store = open_store(no_pack=True)
    running = collecting(store, journal)
    seen = []
    running.run_until(lambda: (running.of(Collected) and len(seen) > 3) or seen.append(1))
    running.collector.pack_now()
    assert running.of(Packed) == []
    assert (len(disk.loose), disk.packs) == (20, [])


def test_packing_pauses_for_a_prune(store, journal, talk, collecting):
    """Packing that another process asked for would hold the collector up for as long as it takes."""
    collecting(store, journal).drain()
    packing_begun, prune_waits, pruned = threading.Event(), threading.Event(), threading.Event()
    reports, seen = [], []

    def hold_on(done, planned):
        if packing_begun.is_set():
            seen.append(pruned.wait(10))
        packing_begun.set()
        prune_waits.wait(20)

    def pack():
        reports.append(store.pack(on_progress=hold_on))

    def prune():
        store.prune(RetentionPolicy(max_age="100d"))
        pruned.set()

    packs = threading.Thread(target=pack)
    packs.start()
    assert packing_begun.wait(20)
    prunes = threading.Thread(target=prune)
    prunes.start()
    while not store._local_upkeep._waiting_prunes:
        prunes.join(0.001)
    prune_waits.set()
    packs.join(20)
    assert pruned.wait(20)
    prunes.join()
    assert reports[0].is_complete
    assert reports[0].merged_packs == 1  # what it had packed before
    assert talk.held(store) == talk.bodies
    assert all(seen)  # it went on after the prune alone


def test_packing_that_waits_for_another_ends_when_it_is_told_to(store, journal, collecting):
    collecting(store, journal).drain()
    reports = []
    with store._blobs.packing:
        waiting = threading.Thread(target=lambda: reports.append(store.pack(is_stopped=lambda: True)))
        waiting.start()
        waiting.join(20)
        assert [report.is_complete for report in reports] == [False]
