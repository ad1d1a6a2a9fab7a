"""Disks that refuse: the application never notices, and what is lost is known to the exact number."""

import errno
import os
import shutil
import subprocess
import sys
from itertools import product
from typing import get_args

import pytest

from tests.conftest import REPOSITORY
from tracestore.capture.appender import Fsync
from tracestore.errors import StoreUnavailable
from tracestore.journal import disk


def failing_once(monkeypatch, name, code):
    """Have a system call of the journal fail the next time, and work again from then on."""
    real, failed = getattr(disk, name), []

    def call(*arguments):
        if not failed:
            failed.append(name)
            raise StoreUnavailable(code, os.strerror(code)) if name != "write_all" else OSError(code, os.strerror(code))
        return real(*arguments)

    monkeypatch.setattr(disk, name, call)
    return failed


CALLS = ["create_exclusive", "write_all", "sync_written", "sync_directory", "check_linked"]
MADE = [made for made in product(CALLS, get_args(Fsync)) if made != ("sync_written", "none")]


@pytest.mark.parametrize(("name", "fsync"), MADE)
def test_a_call_that_fails_once_costs_nothing(name, fsync, recorder_of, journal, collected, monkeypatch):
    recorder = recorder_of(journal.path, fsync=fsync)
    if name in ("sync_written", "check_linked"):
        recorder.info("before")
    failed = failing_once(monkeypatch, name, errno.EIO)
    recorder.info("during")
    assert recorder.flush()
    recorder.info("behind")
    store = collected(recorder)
    assert failed
    assert recorder.dropped == {}
    rows = store.sql("SELECT msg FROM records WHERE msg <> 'before' ORDER BY timestamp").rows
    assert rows == [("during",), ("behind",)]


def test_a_failed_sync_has_its_lines_appended_again_and_collected_once(recorder, journal, collected, monkeypatch):
    recorder.info("first")
    recorder.flush()
    monkeypatch.setattr(disk, "sync_written", refuse)
    for number in range(10):
        recorder.info(str(number))
    assert not recorder.flush(0.3)
    monkeypatch.undo()
    store = collected(recorder)
    assert journal.messages()[:11] == ["first", *map(str, range(10))]
    assert [path.read_bytes() for path in journal.segments()][-1].count(b"\n") == 10
    assert store.sql("SELECT count(*), count(DISTINCT msg) FROM records").fetchone() == (11, 11)


def refuse(*_arguments):
    raise StoreUnavailable(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("fsync", ["periodic", "none"])
def test_a_directory_that_was_removed_is_made_again_with_what_was_in_doubt(fsync, recorder_of, journal):
    recorder = recorder_of(journal.path, fsync=fsync)
    recorder.info("collected")
    assert recorder.flush()
    shutil.rmtree(journal.path)
    recorder.info("one")
    recorder.flush()
    recorder.info("two")
    assert recorder.flush()
    assert journal.messages() == ["one", "two"]
    assert recorder.dropped == {}


@pytest.mark.parametrize("options", [{}, {"fsync": "always"}, {"fsync": "none"}, {"is_direct": True}])
def test_beside_a_directory_that_was_put_aside_what_is_flushed_is_in_the_new_one(options, recorder_of, journal):
    recorder = recorder_of(journal.path, **options)
    recorder.info("collected")
    assert recorder.flush()
    shutil.copytree(journal.path.rename(journal.path.with_name("aside")), journal.path)
    recorder.info("two")
    assert recorder.flush()
    assert journal.messages() == ["collected", "two"]


def test_a_file_in_the_place_of_the_directory_is_warned_of_once_and_waited_out(recorder, journal, caplog):
    journal.path.parent.mkdir(parents=True)
    journal.path.touch()
    recorder.info("m")
    assert not recorder.flush(0.3)
    warned = [record.getMessage() for record in caplog.records if record.name == "tracestore.capture"]
    assert len(warned) == 1
    assert f"{journal.path} takes no lines" in warned[0]
    assert "Not a directory" in warned[0]
    journal.path.unlink()
    assert recorder.flush()
    assert journal.messages() == ["m"]


IN_A_PROCESS_OF_ITS_OWN = f"""
import os, sys, threading
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from tests.capture.conftest import Journal
from tracestore.capture import Recorder
home = Path(sys.argv[1])
journal = Journal(home / "disk" / "journal")
"""


def in_a_process_of_its_own(code, home):
    command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN + code, str(home)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


FULL = """
from tests.faults import disks, full
with disks.workshop():
    (home / "disk").mkdir()
    disks._check(full._libc.mount(b"tmpfs", bytes(home / "disk"), b"tmpfs", 0, b"size=400k,mode=700"), home)
    recorder = Recorder(journal.path, extension_id="app", queue_bytes=100_000, OPTIONS)
    made = []
    def work():
        while "disk" not in recorder.dropped or len(made) < 8000:
            recorder.info("m" * 100)
            made.append(1)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not recorder.flush(0.2)
    dropped = sum(recorder.dropped.values())
    full.remount(home / "disk", full.ENOUGH)
    assert recorder.flush()
    recorder.info("goes on")
    assert recorder.close()
    assert journal.messages()[-1] == "goes on"
    assert len(journal.messages()) - 1 + dropped == len(made), (len(journal.messages()), dropped)
    assert journal.told_drops() == dropped == sum(recorder.dropped.values())
    disks.unmount(home / "disk")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk needs root, to mount a tmpfs")
@pytest.mark.parametrize("options", ["fsync='periodic'", "fsync='always'", "is_direct=True"])
def test_a_full_disk_under_load_loses_exactly_what_is_told(options, tmp_path):
    in_a_process_of_its_own(FULL.replace("OPTIONS", options), tmp_path)


FORBIDDEN = """
from tests.faults import full
full.obey_modes()
(home / "disk").mkdir(mode=0o500)
recorder = Recorder(journal.path, extension_id="app")
recorder.info("m")
assert not recorder.flush(0.2)
(home / "disk").chmod(0o700)
assert recorder.flush()
assert journal.messages() == ["m"]
assert recorder.dropped == {}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="laying down root's right to ignore modes needs root")
def test_a_directory_that_may_not_be_written_is_waited_out(tmp_path):
    in_a_process_of_its_own(FORBIDDEN, tmp_path)
