"""Group commit: what is resolved is durable, what failed is known, and the next group goes on."""

import errno
import os
import threading
from concurrent.futures import CancelledError, wait

import pytest

from tracestore.errors import StoreUnavailable
from tracestore.journal import disk
from tracestore.serve import appending as module
from tracestore.serve.appending import Appending, Behind

SECONDS = 20
"""Longer than any of this takes; a test that waits so long has failed."""


def clock_ms():
    return 1_700_000_000_000


@pytest.fixture
def start(tmp_path):
    """`start()` makes an Appending on this test's directory; all are closed at the end."""
    started = []

    def start_one(**options):
        started.append(Appending(tmp_path, clock_ms, **options))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


class SlowSync:
    """A sync that waits until it is let go; counts how often it was called."""

    def __init__(self, real):
        self._real = real
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.calls = 0

    def __call__(self, fd, path):
        self.calls += 1
        self.entered.set()
        assert self.let_go.wait(SECONDS)
        self._real(fd, path)


@pytest.fixture
def slow_sync(monkeypatch):
    slow = SlowSync(disk.sync_written)
    monkeypatch.setattr(disk, "sync_written", slow)
    yield slow
    slow.let_go.set()


def refuse_with(code):
    def refuse(fd, path):
        raise StoreUnavailable(code, os.strerror(code), path)

    return refuse


def segments(directory):
    return [path.read_bytes().splitlines() for path in sorted(directory.iterdir())]


def test_a_resolved_future_means_that_its_lines_are_synced(start, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "sync_written", lambda fd, path: synced.append(os.fstat(fd).st_size))
    appending = start()
    appending.submit([b"one", b"two"]).result(SECONDS)
    assert synced == [8]
    assert segments(tmp_path) == [[b"one", b"two"]]
    assert (appending.appended_lines, appending.appended_bytes, appending.syncs) == (2, 8, 1)
    assert appending.waiting_bytes == 0


def test_what_comes_while_a_sync_runs_is_one_group_with_one_sync(start, slow_sync, tmp_path):
    appending = start()
    first = appending.submit([b"first"])
    assert slow_sync.entered.wait(SECONDS)
    others = [appending.submit([b"line %d" % number]) for number in range(50)]
    assert not wait([first, *others], timeout=0).done
    slow_sync.let_go.set()
    for future in (first, *others):
        future.result(SECONDS)
    assert slow_sync.calls == appending.syncs == 2
    assert segments(tmp_path) == [[b"first", *(b"line %d" % number for number in range(50))]]


def test_a_group_has_a_size_so_that_nobody_waits_for_all_others(start, slow_sync, monkeypatch):
    monkeypatch.setattr(module, "GROUP_BYTES", 20)
    appending = start()
    appending.submit([b"first"])
    assert slow_sync.entered.wait(SECONDS)
    futures = [appending.submit([b"123456789"]) for _ in range(5)]
    slow_sync.let_go.set()
    assert not wait(futures, SECONDS).not_done
    assert slow_sync.calls == 1 + 3


def test_many_threads_lose_no_line_and_double_none(start, tmp_path):
    appending = start()

    def send(name):
        for number in range(100):
            appending.submit([b"%d-%d" % (name, number)]).result(SECONDS)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lines,) = segments(tmp_path)
    assert sorted(lines) == sorted(b"%d-%d" % (name, number) for name in range(8) for number in range(100))
    assert appending.appended_lines == 800
    assert appending.syncs <= 800


def test_a_failed_sync_fails_its_group_alone_and_the_next_begins_a_segment(start, tmp_path, monkeypatch):
    appending = start()
    appending.submit([b"before"]).result(SECONDS)
    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_written", refuse_with(errno.EIO))
        with pytest.raises(StoreUnavailable) as caught:
            appending.submit([b"lost"]).result(SECONDS)
    assert caught.value.errno == errno.EIO
    appending.submit([b"lost"]).result(SECONDS)
    assert segments(tmp_path) == [[b"before", b"lost"], [b"lost"]]
    assert (appending.appended_lines, appending.waiting_bytes) == (2, 0)


def test_a_full_disk_fails_the_append_and_leaves_nothing_behind(start, tmp_path, monkeypatch):
    appending = start()
    appending.submit([b"before"]).result(SECONDS)
    real_write = disk.write_all

    def fill(fd, data):
        real_write(fd, data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(disk, "write_all", fill)
        with pytest.raises(StoreUnavailable, match="free some space") as caught:
            appending.submit([b"too much"]).result(SECONDS)
    assert caught.value.errno == errno.ENOSPC
    appending.submit([b"after"]).result(SECONDS)
    assert segments(tmp_path) == [[b"before", b"after"]]


def test_too_much_that_waits_is_refused_at_once_and_taken_later(start, slow_sync):
    appending = start(limit_bytes=20)
    first = appending.submit([b"x" * 12])
    assert slow_sync.entered.wait(SECONDS)
    with pytest.raises(Behind, match="at most 20 bytes in line, found 13"):
        appending.submit([b"x" * 12])
    slow_sync.let_go.set()
    first.result(SECONDS)
    appending.submit([b"x" * 12]).result(SECONDS)
    assert appending.appended_lines == 2


def test_one_submission_over_the_limit_goes_when_nothing_else_waits(start):
    appending = start(limit_bytes=20)
    appending.submit([b"x" * 100]).result(SECONDS)
    assert appending.appended_bytes == 101


def test_nothing_to_append_resolves_without_a_file(start, tmp_path):
    appending = start()
    appending.submit([]).result(SECONDS)
    assert segments(tmp_path) == []
    assert appending.syncs == 0


def test_who_went_away_before_the_append_leaves_no_line(start, slow_sync, tmp_path):
    appending = start()
    first = appending.submit([b"first"])
    assert slow_sync.entered.wait(SECONDS)
    gone, stayed = appending.submit([b"gone"]), appending.submit([b"stayed"])
    assert gone.cancel()
    slow_sync.let_go.set()
    first.result(SECONDS)
    stayed.result(SECONDS)
    with pytest.raises(CancelledError):
        gone.result(SECONDS)
    assert segments(tmp_path) == [[b"first", b"stayed"]]


def test_close_drains_and_then_refuses(start, slow_sync, tmp_path):
    appending = start()
    appending.submit([b"first"])
    assert slow_sync.entered.wait(SECONDS)
    waiting = appending.submit([b"waiting"])
    closing = threading.Thread(target=appending.close)
    closing.start()
    slow_sync.let_go.set()
    closing.join(SECONDS)
    waiting.result(0)
    with pytest.raises(Behind, match="shuts down"):
        appending.submit([b"late"])
    appending.close()
    assert segments(tmp_path) == [[b"first", b"waiting"]]


def test_an_error_nobody_thought_of_reaches_who_waits(start, monkeypatch):
    appending = start()
    with monkeypatch.context() as patched:
        patched.setattr(disk, "write_all", lambda fd, data: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            appending.submit([b"one"]).result(SECONDS)
    appending.submit([b"two"]).result(SECONDS)
    assert appending.appended_lines == 1
