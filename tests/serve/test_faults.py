"""What `serve` does on a disk that fills up, and on one whose syncs fail: it waits, and goes on; 200 stays true."""

import errno
import os
import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults import disks, full
from tracestore import StoreUnavailable, TraceStore
from tracestore.collector import CollectFailed, Collector, Idle
from tracestore.serve.health import Status

pytest.importorskip("opentelemetry.proto")
serving = pytest.importorskip("benchmarks.serving")


class Waits:
    """Collects in a thread until it is over; the disk is tried again at once, by a clock of its own."""

    def __init__(self, store):
        self.status, self.events, self.now_s = Status(), [], 0.0
        self._stop, self._seen = threading.Event(), threading.Condition()
        self._collector = Collector(
            store, str(store.path / "journal"), self._note, waits_for_disk=True, clock=self._next_second
        )
        self._thread = threading.Thread(target=self._collector.run, args=(self._stop,))

    def _next_second(self):
        self.now_s += 1
        return self.now_s

    def _note(self, event):
        self.status(event)
        with self._seen:
            self.events.append(event)
            self._seen.notify_all()

    def until(self, holds):
        with self._seen:
            assert self._seen.wait_for(holds, 20), self.events

    def has(self, kind):
        return any(isinstance(event, kind) for event in self.events)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(20)
        self._collector.close()
        assert not self._thread.is_alive()


def refusing_commit(monkeypatch, store, is_full, *, is_on_disk):
    """Let commits fail while the disk is full: before DuckDB has written, or when nobody knows that it has."""
    real = type(store._database)._sync_name_of_log

    def refused(database):
        if is_full.is_set():
            raise StoreUnavailable(errno.ENOSPC, "No space left on device", str(database.path))
        real(database)

    if is_on_disk:
        monkeypatch.setattr(type(store._database), "_sync_name_of_log", refused)
    else:
        monkeypatch.setattr("blobs.durable.write_all", lambda fd, data: _write(fd, data, is_full))


def _write(fd, data, is_full):
    if is_full.is_set():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.write(fd, data)


@pytest.mark.parametrize("is_on_disk", [True, False], ids=["a commit in doubt", "a body refused"])
def test_a_collector_that_waits_goes_on_when_the_disk_takes_it_again(store, make, monkeypatch, is_on_disk):
    is_full = threading.Event()
    is_full.set()
    refusing_commit(monkeypatch, store, is_full, is_on_disk=is_on_disk)
    own = store.path / "journal" / "app.ndjson"
    own.write_bytes(make.lines(20, body="x" * 500) + b"no record\n")
    with Waits(store) as waiting:
        waiting.until(lambda: waiting.has(CollectFailed))
        assert "the collector cannot go on" in waiting.status.not_ready(0, 10**9)[1]
        assert waiting.status.lag_bytes() == own.stat().st_size
        is_full.clear()
        waiting.until(lambda: waiting.has(Idle))
        assert waiting.status.not_ready(0, 10**9) == []
    assert store.sql("SELECT count(*) FROM records").rows == [(20,)]
    assert store.stats()["rejected"] == 1
    assert len((store.path / "journal" / "rejected.ndjson").read_bytes().splitlines()) == 1
    store.insert_lines([make.lines(1, 100).strip()])
    assert store.sql("SELECT count(*) FROM records").rows == [(21,)]
    assert store.verify(data=True).findings == ()


def test_one_that_does_not_wait_ends(store, make, monkeypatch):
    is_full = threading.Event()
    is_full.set()
    refusing_commit(monkeypatch, store, is_full, is_on_disk=True)
    (store.path / "journal" / "app.ndjson").write_bytes(make.lines(3))
    collector = Collector(store, str(store.path / "journal"), lambda event: None)
    with closing(collector), pytest.raises(StoreUnavailable):
        collector.run(threading.Event())


def test_readers_go_on_behind_a_commit_in_doubt(store, make, monkeypatch):
    is_full = threading.Event()
    refusing_commit(monkeypatch, store, is_full, is_on_disk=True)
    store.insert_lines(make.lines(2).splitlines())
    assert store.sql("SELECT count(*) FROM records").rows == [(2,)]
    is_full.set()
    store.insert_lines(make.lines(2, 10).splitlines())
    with pytest.raises(StoreUnavailable, match="No space"):
        store.stats()
    is_full.clear()
    with pytest.raises(StoreUnavailable, match="earlier commit failed"):
        store.stats()
    store.reopen()
    assert store.sql("SELECT count(*), count(DISTINCT seq) FROM records").rows == [(4, 4)]


def test_nothing_is_taken_while_the_collector_cannot_go_on(receiving):
    """Else the journal would take every byte that gets free, and the collector, which could free more, none."""
    receiving.status(CollectFailed(StoreUnavailable(errno.ENOSPC, "No space left on device", "/store"), 10))
    answer = receiving.post(serving.traces(range(2), "x"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    receiving.status(Idle())
    assert receiving.post(serving.traces(range(2), "x")).status_code == 200


def test_a_journal_that_was_removed_takes_nothing_until_its_directory_is_back(receiving):
    assert receiving.post(serving.traces([1], "x")).status_code == 200
    shutil.rmtree(receiving.journal)
    assert [receiving.post(serving.traces([number], "x")).status_code for number in (2, 3)] == [503, 503]
    receiving.journal.mkdir()
    assert receiving.post(serving.traces([2], "x")).status_code == 200
    assert len(receiving.lines()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk needs root, to mount a tmpfs")
def test_a_server_outlives_a_full_disk(tmp_path):
    """In a process of its own: the mount is gone with it, whatever happens."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            _fill_and_free(tmp_path)
            code = 0
        except BaseException as error:
            (tmp_path / "failed").write_text(repr(error))
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, (tmp_path / "failed").read_text()


def _fill_and_free(tmp_path: Path) -> None:
    with disks.workshop() as root:
        disk = root / "disk"
        disk.mkdir()
        disks._check(full._libc.mount(b"tmpfs", bytes(disk), b"tmpfs", 0, b"size=12m,mode=700"), disk)
        server = serving.Serving(disk / "store")
        connection = server.connect()
        acknowledged, number = set(), 0
        try:
            while serving.post(connection, serving.traces([number], os.urandom(30_000).hex())) == 200:
                acknowledged.add(serving.span_id(number))
                number += 1
            full.remount(disk, full.ENOUGH)
            statuses = {serving.post(connection, serving.traces([number], "x"))}
            deadline = time.monotonic() + 30
            while 200 not in statuses and time.monotonic() < deadline:
                statuses.add(serving.post(connection, serving.traces([number], "x")))
            assert statuses in ({200}, {200, 503})
            connection.close()
            server.stop()
        except BaseException:
            server.kill()
            raise
        with TraceStore(disk / "store") as store:
            rows = store.sql("SELECT DISTINCT span_id FROM records").rows
            assert store.verify(data=True).findings == ()
        stored = {bytes.fromhex(span) for (span,) in rows}
        assert acknowledged
        assert acknowledged <= stored
        disks.unmount(disk)
