"""The pin and the request for a snapshot, also on a disk that fails."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from tracestore import StoreUnavailable
from tracestore.layout import StoreLayout
from tracestore.maintenance.pin import Removing, SnapshotRequest, pinned


@pytest.fixture
def layout(tmp_path):
    layout = StoreLayout(tmp_path)
    layout.format.write_bytes(b"{}")
    return layout


def fail(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_lock_that_fails_is_an_error_of_ours_and_leaves_nothing_open(layout, monkeypatch):
    open_before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StoreUnavailable, match="cannot lock the store"), Removing(layout).allowed():
        raise AssertionError("it was allowed")
    if open_before:
        assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_request_that_cannot_be_cleared_away_spoils_no_snapshot(layout, monkeypatch):
    layout.snapshot_request.touch()
    request = SnapshotRequest(layout)
    assert request.is_waiting()
    monkeypatch.setattr(Path, "unlink", fail)
    with request.answering():
        assert not request.is_waiting()


def test_a_request_that_cannot_be_looked_at_is_none(layout, monkeypatch):
    monkeypatch.setattr(Path, "exists", fail)
    assert not SnapshotRequest(layout).is_waiting()


def test_a_request_that_nobody_hears_is_taken_back(store):
    layout = StoreLayout(store.path)
    assert not SnapshotRequest(layout).ask(0.05)
    assert not layout.snapshot_request.exists()


def test_a_request_made_while_another_is_answered_waits_for_an_answer_of_its_own(store):
    layout = StoreLayout(store.path)
    request = SnapshotRequest(layout)
    layout.snapshot_request.touch()
    with request.answering():
        layout.snapshot_request.touch()
    assert request.is_waiting()


def test_a_backup_waits_for_a_removal_that_runs(store, said):
    layout = StoreLayout(store.path)
    is_pinned = threading.Event()

    def pin():
        with pinned(layout, said.append):
            is_pinned.set()

    with Removing(layout).allowed() as is_allowed:
        thread = threading.Thread(target=pin)
        thread.start()
        assert not is_pinned.wait(0.1)
        assert is_allowed
    thread.join(10)
    assert is_pinned.is_set()
    assert said == ["waiting for a prune or a snapshot to end"]


def test_removals_of_one_process_do_not_hold_up_one_another(store, said):
    removing = Removing(StoreLayout(store.path))
    with removing.allowed() as first, removing.allowed() as second:
        assert first
        assert second
    with pinned(StoreLayout(store.path), said.append), removing.allowed() as third:
        assert not third
