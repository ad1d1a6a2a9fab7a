"""The queue: nobody waits, nothing is lost silently, and what flush says is true."""

import logging
import threading

import pytest

from tracestore.capture import appender
from tracestore.journal import disk


@pytest.fixture
def stuck(monkeypatch):
    """A disk on which a write comes back when `stuck.set()` is called."""
    released = threading.Event()
    write_all = disk.write_all

    def write_slowly(fd, data):
        assert released.wait(30)
        write_all(fd, data)

    monkeypatch.setattr(disk, "write_all", write_slowly)
    yield released
    released.set()


@pytest.fixture
def syncs(monkeypatch):
    """The paths that were synced."""
    synced = []
    sync_written = disk.sync_written

    def counting(fd, path):
        synced.append(path)
        sync_written(fd, path)

    monkeypatch.setattr(disk, "sync_written", counting)
    return synced


def test_a_record_reaches_the_journal_without_a_flush(recorder, journal, until):
    recorder.info("m")
    until(lambda: journal.messages() == ["m"])


def test_records_stand_in_the_order_in_which_they_were_made(recorder, journal):
    for number in range(20_000):
        recorder.info(str(number))
    recorder.flush()
    assert journal.messages() == [str(number) for number in range(20_000)]
    assert len(journal.segments()) == 1


def test_who_flushes_and_closes_may_wait_for_ever(recorder, journal):
    recorder.info("m")
    assert recorder.flush(float("inf"))
    assert recorder.close(float("inf"))
    assert journal.messages() == ["m"]


def test_a_stuck_disk_holds_up_nobody_and_flush_gives_up_in_time(recorder, journal, stuck):
    for number in range(100):
        recorder.info(str(number))
    assert not recorder.flush(0.05)
    assert journal.messages() == []
    stuck.set()
    assert recorder.flush()
    assert len(journal.messages()) == 100


def test_a_stuck_disk_does_not_hold_up_close(recorder_of, journal, stuck):
    recorder = recorder_of(journal.path)
    recorder.info("m")
    assert not recorder.close(0.05)
    stuck.set()
    assert recorder.close()
    assert journal.messages() == ["m"]


def test_what_does_not_fit_is_counted_and_told_as_soon_as_there_is_room(recorder_of, journal, stuck, caplog):
    recorder = recorder_of(journal.path, queue_bytes=10_000)
    for number in range(1000):
        recorder.info(str(number))
    assert journal.messages() == []
    dropped = recorder.dropped["queue_full"]
    assert 800 < dropped < 1000
    stuck.set()
    assert recorder.flush()
    assert len(journal.messages()) + dropped == 1000
    assert journal.told_drops() == dropped
    recorder.info("goes on")
    assert recorder.flush()
    assert journal.messages()[-1] == "goes on"
    assert recorder.dropped == {"queue_full": dropped}
    assert [record.levelno for record in caplog.records if record.name == "tracestore.capture"] == [logging.WARNING]
    assert "the queue was full" in caplog.text


def test_threads_that_fill_the_queue_lose_exactly_what_is_told(recorder_of, journal):
    recorder = recorder_of(journal.path, queue_bytes=20_000, fsync="none")

    def work():
        for number in range(2000):
            recorder.info("m" * (number % 50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush()
    assert len(journal.messages()) + journal.told_drops() == 16_000
    assert journal.told_drops() == sum(recorder.dropped.values())


def test_one_record_larger_than_the_queue_is_taken(recorder_of, journal):
    recorder = recorder_of(journal.path, queue_bytes=100)
    recorder.info("m", body="x" * 10_000)
    recorder.flush()
    assert journal.messages() == ["m"]


def test_flush_syncs_unless_fsync_is_none(recorder_of, tmp_path, syncs):
    for fsync in ("periodic", "always"):
        recorder = recorder_of(tmp_path / fsync, fsync=fsync)
        recorder.info("m")
        assert recorder.flush()
        assert len(syncs) == 1
        assert recorder.flush()
        assert len(syncs) == 1
        syncs.clear()
    recorder = recorder_of(tmp_path / "none", fsync="none")
    recorder.info("m")
    assert recorder.flush()
    assert recorder.close()
    assert syncs == []


def test_flush_syncs_where_there_can_be_no_thread(recorder_of, journal, syncs, monkeypatch):
    recorder = recorder_of(journal.path)

    def start(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    recorder.info("m")
    assert journal.messages() == ["m"]
    assert syncs == []
    assert recorder.flush()
    assert len(syncs) == 1


def test_without_a_flush_the_journal_is_synced_a_moment_later(recorder_of, tmp_path, syncs, until, monkeypatch):
    monkeypatch.setattr(appender, "SYNC_EVERY_S", 0.05)
    recorder = recorder_of(tmp_path)
    recorder.info("m")
    until(lambda: len(syncs) == 1)


def test_with_always_each_direct_record_is_durable_when_the_call_returns(recorder_of, tmp_path, syncs):
    recorder = recorder_of(tmp_path, fsync="always", is_direct=True)
    for number in range(1, 6):
        recorder.info("m")
        assert len(syncs) == number


def test_much_is_synced_before_its_time(recorder_of, tmp_path, syncs, until, monkeypatch):
    monkeypatch.setattr(appender, "SYNC_EVERY_S", 1000.0)
    recorder = recorder_of(tmp_path)
    for _ in range(20):
        recorder.info("m", body="x" * 1_000_000)
    until(lambda: len(syncs) == 1)


def test_a_direct_record_outlives_a_kill(program, journal):
    writer = program(
        """
        import os, signal
        for number in range(1000):
            recorder.info(str(number))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        "extension_id='app', is_direct=True, fsync='none'",
    )
    assert writer.ended()[1] == -9
    assert journal.messages() == [str(number) for number in range(1000)]


def test_threads_that_write_directly_lose_nothing_either(recorder_of, journal):
    recorder = recorder_of(journal.path, is_direct=True)
    threads = [threading.Thread(target=lambda: [recorder.info("m") for _ in range(300)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush()
    assert len(journal.messages()) == 2400


def test_flush_is_true_while_others_go_on_recording(recorder, journal):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            recorder.info("m")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(3):
            recorder.info(f"flushed {number}")
            assert recorder.flush()
            assert f"flushed {number}" in journal.messages()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_closing_and_recording_at_once_loses_nothing(recorder, journal):
    stop = threading.Event()

    def close_again_and_again():
        while not stop.is_set():
            recorder.close()

    closing = threading.Thread(target=close_again_and_again)
    closing.start()
    for number in range(3000):
        recorder.info(str(number))
    stop.set()
    closing.join()
    assert recorder.flush()
    assert sorted(map(int, journal.messages())) == list(range(3000))


def test_closed_recorders_leave_no_thread_behind(recorder_of, tmp_path):
    before = threading.active_count()
    for number in range(20):
        recorder = recorder_of(tmp_path / str(number))
        recorder.info("m")
        assert recorder.close()
    assert threading.active_count() == before


def test_a_recorder_that_records_nothing_leaves_no_trace(recorder_of, tmp_path):
    before = threading.active_count()
    recorder = recorder_of(tmp_path / "journal")
    assert recorder.flush()
    assert recorder.close()
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []
