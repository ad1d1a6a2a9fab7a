"""A pin on a disk that fails: errors of ours, or none where nothing depends on it."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from tracestore import StoreUnavailable
from tracestore.layout import StoreLayout
from tracestore.maintenance.pin import Removing, SnapshotRequest


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
