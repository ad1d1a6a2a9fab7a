"""Backup and restore, and the pin that keeps both true while the store is in use."""

import json
import os
import shutil
import threading

import pytest

from tracestore import InputInvalid, RetentionPolicy, StoreBroken, StoreLocked, StoreNotFound, StoreUnavailable
from tracestore.layout import StoreLayout
from tracestore.maintenance import backup as backing_up
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.pin import Removing, pinned
from tracestore.maintenance.restore import restore
from tracestore.maintenance.rsync import Place, Rsync

WEEK = RetentionPolicy(max_age="7d")
DAY_MS = 86_400_000
RUNS = 6
"""Runs of rsync in a backup that follows another one: manifest read, blobs, removals, snapshot, journal, manifest."""


def locked():
    raise StoreLocked("held", "process 1")


def content(store):
    """Every record with its body, and what is said of bodies that are gone."""
    ids = store.sql("SELECT record_id FROM records ORDER BY ALL").rows
    return [store.get_record(str(row[0])) for row in ids]


def blob_files(root):
    return {path.name: path for path in (root / "blobs" / "objects").rglob("*.gz")}


def test_what_is_restored_is_what_was_backed_up(store, make, back, restored):
    store.insert_records([*make.turn("a", request="one", response=b"\x00two"), make.log(msg="no turn")])
    store.insert_lines([b"no record"])
    done = back()
    again = restored()
    assert done.is_fresh
    assert content(again) == content(store)
    assert again.stats()["rejected"] == 1
    assert (again.path / "journal" / "rejected.ndjson").read_bytes() == StoreLayout(store.path).rejected.read_bytes()
    assert again.verify(data=True).findings == ()


def test_a_backup_copies_only_what_is_new(store, make, back, tmp_path):
    store.insert_records([make.log(n, body=make.body(n)) for n in range(10)])
    back()
    first = {name: path.stat() for name, path in blob_files(tmp_path / "backup").items()}
    part = next((tmp_path / "backup").glob("rows-*/snapshots/*/records-00000000.parquet")).stat().st_ino
    known = len(list((tmp_path / "backup").rglob("*")))
    back()
    assert {name: path.stat() for name, path in blob_files(tmp_path / "backup").items()} == first
    assert next((tmp_path / "backup").glob("rows-*/snapshots/*/records-00000000.parquet")).stat().st_ino == part
    assert len(list((tmp_path / "backup").rglob("*"))) == known

    store.insert_records([make.log(99, body="new")])
    back()
    now = {name: path.stat() for name, path in blob_files(tmp_path / "backup").items()}
    assert len(now) == 11
    assert first.items() <= now.items()


def test_snapshots_that_differ_in_nothing_but_what_they_say_are_not_taken_for_one_another(
    store, make, back, restored, clock
):
    """Files of one size and one second: rsync, left to itself, calls them the same."""
    for n in range(4):
        store.insert_records([make.log(n, f"{n}", body=f"{n}")])
        store.snapshot()
        back(take_snapshot=locked)
        assert content(restored()) == content(store)


def test_without_a_new_snapshot_the_journal_has_what_came_since(store, make, back, restored, said):
    store.insert_records([make.log(1, "before", body="before")])
    store.snapshot()
    store.insert_records([make.log(2, "after", body="after")])
    done = back(take_snapshot=locked)
    assert not done.is_fresh
    assert "asking process 1 for a snapshot" in said
    assert any("is not in this backup" in text for text in said)
    assert content(restored()) == content(store)


def test_without_any_snapshot_the_journal_is_everything(store, make, back, restored, said):
    store.insert_records(make.turn("a", request="one"))
    done = back(take_snapshot=locked)
    assert done.backup.snapshot is None
    assert any("no snapshot yet" in text for text in said)
    assert content(restored()) == content(store)


def test_a_disk_without_room_for_a_snapshot_can_still_be_backed_up(store, make, back, restored, said):
    def full():
        raise StoreUnavailable(28, "No space left on device", "snapshots")

    store.insert_records(make.turn("a", request="one"))
    assert not back(take_snapshot=full).is_fresh
    assert any("No space left" in text for text in said)
    assert content(restored()) == content(store)


def test_what_retention_removed_since_the_snapshot_does_not_rise_again(store, make, now_ms, clock, back, restored):
    store.insert_records([make.log(now_ms - 8 * DAY_MS, "old", body="old"), make.log(now_ms, "new", body=make.body(1))])
    store.snapshot()
    store.insert_records([make.log(now_ms - 9 * DAY_MS, "older", body="older")])
    store.prune(WEEK)
    store.prune(RetentionPolicy(max_total_body_bytes=0))
    clock.forward(ms=1)
    store.insert_records([make.log(now_ms + 1, "newest", body="newest")])
    back(take_snapshot=locked)
    again = restored()
    assert content(again) == content(store)
    assert [(record.msg, record.body_state) for record in content(again)] == [("new", "evicted"), ("newest", "present")]


def test_a_collector_takes_the_snapshot_that_a_backup_asks_for(store, make, tmp_path, collecting, back, restored):
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(20))
    collector = collecting(store, journal)
    done = []
    thread = threading.Thread(target=lambda: done.append(back(take_snapshot=locked, wait_s=20)))

    def is_done():
        if store.stats()["records"] == 20 and not thread.ident:
            thread.start()
        return bool(done)

    collector.run_until(is_done)
    thread.join()
    journal.unlink()
    assert done[0].is_fresh
    assert not StoreLayout(store.path).snapshot_request.exists()
    assert content(restored()) == content(store)


def test_a_snapshot_that_fails_when_asked_for_does_not_stop_the_collector(store, make, tmp_path, collecting):
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(1))
    layout = StoreLayout(store.path)
    layout.snapshots.write_bytes(b"in the way")
    layout.snapshot_request.touch()
    collector = collecting(store, journal)
    collector.run_until(lambda: len(collector.events) > 3)
    failed = [event for event in collector.events if type(event).__name__ == "SnapshotFailed"]
    assert [type(event.error) for event in failed] == [StoreUnavailable]
    assert store.stats()["records"] == 1


def test_nothing_is_taken_away_while_pinned_and_everything_afterwards(store, make, now_ms, said):
    layout = StoreLayout(store.path)
    store.insert_records([make.log(now_ms - 8 * DAY_MS, "old", body="old"), make.log(now_ms, "new", body="new")])
    store.snapshot()
    store.insert_records([make.log(now_ms, "newer", body="newer")])
    files = [*layout.snapshots.rglob("*"), *layout.inserted.iterdir(), *blob_files(store.path).values()]
    with pinned(layout, said.append):
        summary = store.prune(RetentionPolicy(max_age="7d", max_total_body_bytes=0))
        assert (summary.records_deleted, summary.bodies_deleted, summary.sweep_postponed) == (1, 0, True)
        with pytest.raises(StoreLocked, match="found a backup"):
            store.snapshot()
        layout.snapshot_request.touch()
        store.insert_records([make.log(now_ms, "newest")])
        assert [path for path in files if not path.exists()] == []
        assert store.verify(data=True).is_clean
    summary = store.prune(RetentionPolicy(max_age="7d", max_total_body_bytes=0))
    assert (summary.bodies_deleted, summary.bodies_evicted, summary.sweep_postponed) == (3, 2, False)
    assert store.snapshot().exists()
    assert said == []


def test_an_eviction_that_was_put_off_is_not_noted_as_done(store, make, now_ms, back, restored, said):
    store.insert_records([make.log(now_ms, "one", body="one")])
    store.snapshot()
    with pinned(StoreLayout(store.path), said.append):
        store.prune(RetentionPolicy(max_total_body_bytes=0))
    back(take_snapshot=locked)
    assert content(restored()) == content(store)
    assert store.get_body(store.sql("SELECT body_digest FROM records").rows[0][0]) == b"one"


def test_the_pin_lasts_as_long_as_the_rsync_that_a_dead_backup_left(store, tmp_path, monkeypatch, said):
    """A backup that is killed leaves its rsync running: what that copies must not go."""
    layout = StoreLayout(store.path)
    script(tmp_path, monkeypatch, 'read line < "$GATE"; exit 0')
    os.mkfifo(tmp_path / "gate")
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    with pinned(layout, said.append) as fd:
        thread = threading.Thread(target=Rsync([fd]).copy, args=(Place.local("/nowhere"), Place.local("/nowhere")))
        thread.start()
        gate = os.open(tmp_path / "gate", os.O_WRONLY)
    with Removing(layout).allowed() as is_allowed:
        assert not is_allowed
    os.close(gate)
    thread.join(10)
    with Removing(layout).allowed() as is_allowed:
        assert is_allowed


@pytest.mark.parametrize("failing", range(RUNS))
def test_a_backup_cut_short_leaves_the_one_before(failing, store, make, now_ms, back, restored, tmp_path, monkeypatch):
    store.insert_records([make.log(now_ms - 8 * DAY_MS, "old", body="old"), make.log(now_ms, "new", body=make.body(1))])
    store.snapshot()
    store.insert_records([make.log(now_ms - 9 * DAY_MS, "older", body="older")])
    store.prune(WEEK)
    back(take_snapshot=locked)
    before = content(store)
    store.insert_records([make.log(now_ms + n, f"{n}", body=make.body(n)) for n in range(2, 20)])
    with monkeypatch.context() as cutting:
        cut_short(cutting, failing)
        with pytest.raises(StoreUnavailable, match="cut short"):
            back()
    assert content(restored()) == before
    back()
    assert content(restored()) == content(store)


def test_a_backup_whose_rsync_is_killed_leaves_the_one_before_and_is_carried_on(
    store, make, back, restored, tmp_path, monkeypatch
):
    store.insert_records([make.log(1, "first", body="first")])
    back()
    before = content(store)
    store.insert_records([make.log(n, f"{n}", body=make.body(n, 60_000)) for n in range(2, 40)])
    with monkeypatch.context() as killing:
        script(tmp_path, killing, f'{shutil.which("rsync")} --bwlimit=200 "$@" & sleep 0.4; kill -9 $!')
        with pytest.raises(StoreUnavailable, match="rsync ended with"):
            back()
    assert content(restored()) == before
    back()
    again = restored()
    assert content(again) == content(store)
    assert again.verify(data=True).findings == ()


def test_a_first_backup_cut_short_is_no_backup_and_is_carried_on(store, make, back, restored, monkeypatch):
    store.insert_records(make.turn("a", request="one"))
    with monkeypatch.context() as cutting:
        cut_short(cutting, 2)
        with pytest.raises(StoreUnavailable, match="cut short"):
            back()
    with pytest.raises(StoreNotFound, match="wanted a complete backup"):
        restored()
    back()
    assert content(restored()) == content(store)


def test_a_restore_cut_short_makes_no_store_and_is_carried_on(store, make, back, tmp_path, open_store, monkeypatch):
    store.insert_records(make.turn("a", request="one", response="two"))
    back()
    source, layout = Place.local(tmp_path / "backup"), StoreLayout(tmp_path / "again")
    with monkeypatch.context() as cutting:
        cut_short(cutting, 3)  # manifest and FORMAT read, bodies copied
        with pytest.raises(StoreUnavailable, match="cut short"):
            restore(source, layout)
    with pytest.raises(StoreNotFound):
        open_store("again")
    restore(source, layout)
    assert content(open_store("again")) == content(store)


def test_a_body_cut_short_here_does_not_destroy_the_good_one_there(store, make, back, open_store, tmp_path):
    store.insert_records([make.log(1, "one", body=make.body(1))])
    back()
    (damaged,) = blob_files(store.path).values()
    whole = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(whole[:-100])
    damaged.chmod(0o400)
    back()
    assert [path.read_bytes() for path in (tmp_path / "backup" / "blobs" / "quarantine").rglob("*.gz")] == [whole]
    assert not store.verify(data=True).is_clean
    assert store.repair(apply=True, donor=tmp_path / "backup").is_whole
    assert store.verify(data=True).is_clean


def test_bodies_that_are_gone_leave_the_backup_only_when_asked(store, make, now_ms, back, restored, tmp_path):
    store.insert_records([make.log(now_ms - 8 * DAY_MS, "old", body="old"), make.log(now_ms, "new", body="new")])
    back()
    store.prune(WEEK)
    back()
    again = restored()
    assert content(again) == content(store)
    assert [finding.kind for finding in again.verify(data=True).findings] == ["orphan"]
    assert len(blob_files(tmp_path / "backup")) == 2
    back(delete=True)
    assert blob_files(tmp_path / "backup").keys() == blob_files(store.path).keys()
    assert restored().verify(data=True).findings == ()


def test_a_store_is_restored_as_private_as_it_was(store, make, back, restored):
    store.insert_records(make.turn("a", request="one"))
    back()
    again = restored().path
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [again, *again.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600), (False, 0o400)}


@pytest.mark.parametrize("inside", ["store/backup", "store", "."])
def test_a_backup_and_its_store_must_lie_apart(inside, back, tmp_path):
    with pytest.raises(InputInvalid, match="apart from the store"):
        back(tmp_path / inside)


def test_a_directory_of_something_else_is_no_place_for_a_backup(back, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(InputInvalid, match=r"found 'cat.jpg' in it"):
        back(tmp_path / "photos")


def test_a_directory_of_another_stores_backups_is_no_place_for_a_backup(back, open_store, tmp_path):
    other = open_store("other")
    back()
    with pytest.raises(InputInvalid, match="found those of"):
        back_up(StoreLayout(other.path), Place.local(tmp_path / "backup"), other.snapshot, tell=print)


def test_a_restore_needs_a_directory_of_its_own(store, back, tmp_path):
    back()
    with pytest.raises(InputInvalid, match="wanted a new or empty directory"):
        restore(Place.local(tmp_path / "backup"), StoreLayout(store.path))
    with pytest.raises(InputInvalid, match="apart from the store"):
        restore(Place.local(tmp_path / "backup"), StoreLayout(tmp_path / "backup" / "here"))


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format": 2}', b'{"format": 1, "name": "../x", "snapshot": null}'])
def test_a_manifest_of_something_else_is_an_error(text, store, back, restored, tmp_path):
    back()
    (tmp_path / "backup" / backing_up.MANIFEST).write_bytes(text)
    with pytest.raises(StoreBroken, match="the manifest of a backup"):
        restored()


def test_a_place_is_a_path_or_a_host_and_a_path():
    assert Place.parse("host:x/y/").inside == "host:x/y/"
    assert not Place.parse("me@host:").is_local
    assert Place.parse("/a/b:c").is_local
    assert Place.local("we:ird").is_local
    for bad in ("", "-oProxyCommand=x:y"):
        with pytest.raises(InputInvalid):
            Place.parse(bad)


def test_what_rsync_complains_of_is_what_the_error_says(store, back, tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, "echo 'host: no route' >&2; echo 'rsync error: unexplained' >&2; exit 255")
    with pytest.raises(StoreUnavailable, match=r"rsync ended with 255: host: no route$"):
        back()


def test_a_machine_without_rsync_is_told_so(store, back, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreUnavailable, match="wanted the program rsync"):
        back()


def test_the_manifest_says_what_is_there(store, make, back, tmp_path):
    store.insert_records(make.turn("a"))
    done = back()
    found = json.loads((tmp_path / "backup" / "BACKUP.json").read_bytes())
    assert found["store"] == str(store.path)
    assert (tmp_path / "backup" / found["name"] / "snapshots" / found["snapshot"]).is_dir()
    assert found["name"] == done.backup.name


def script(tmp_path, monkeypatch, body):
    """Put a shell script in the place of rsync."""
    directory = tmp_path / "bin"
    directory.mkdir(exist_ok=True)
    (directory / "rsync").write_text(f"#!/bin/sh\n{body}\n")
    (directory / "rsync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def cut_short(monkeypatch, failing):
    """Let a step of a backup, after so many whole ones, copy some of its files and fail."""
    runs = [0]

    def counted(method):
        def run(self, *arguments, **options):
            runs[0] += 1
            if runs[0] <= failing:
                return method(self, *arguments, **options)
            if method.__name__ == "copy":
                method(self, *arguments[:2], "--exclude=*[13579bdf].gz", "--exclude=records*", *arguments[2:])
            raise StoreUnavailable("cut short")

        return run

    monkeypatch.setattr(Rsync, "copy", counted(Rsync.copy))
    monkeypatch.setattr(backing_up, "_complete", counted(backing_up._complete))


