"""What goes wrong in the application in the midst of recording: nothing is lost by it, and nothing stands still."""

import gc
import logging
import threading
from contextlib import suppress

import pytest

from tracestore.capture import Clock, JournalHandler, Recorder
from tracestore.journal import disk


def journal_threads():
    return [thread for thread in threading.enumerate() if thread.name == "tracestore-journal"]


@pytest.mark.parametrize("options", [{}, {"is_direct": True}])
def test_recorders_that_are_forgotten_leave_no_thread_behind_and_lose_nothing(options, journal, until):
    before = journal_threads()

    for number in range(50):
        Recorder(journal.path, extension_id="app", **options).child().info(str(number))
    gc.collect()
    until(lambda: journal_threads() == before)
    assert sorted(map(int, journal.messages())) == list(range(50))


def test_closing_while_others_begin_anew_leaves_one_thread(recorder_of, journal, until):
    before = len(journal_threads())
    recorder = recorder_of(journal.path)
    made = [0] * 4

    def work(thread):
        for _ in range(400):
            recorder.info("m")
            recorder.close()
            made[thread] += 1

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.close()
    until(lambda: len(journal_threads()) == before)
    assert len(journal.messages()) == sum(made)


@pytest.mark.parametrize("options", [{}, {"is_direct": True}])
def test_an_object_that_records_as_it_is_collected_in_the_midst_of_an_append_loses_nothing(
    options, recorder_of, journal, monkeypatch
):
    recorder = recorder_of(journal.path, **options)
    write_all, collected = disk.write_all, []

    def write(fd, data):
        write_all(fd, data)
        if len(collected) < 100:
            collected.append(f"collected {len(collected)}")
            recorder.info(collected[-1])  # as __del__ may in any thread and at any moment

    monkeypatch.setattr(disk, "write_all", write)
    plain = [f"plain {number}" for number in range(100)]
    for msg in plain:
        recorder.info(msg)
        assert recorder.flush()
    assert recorder.flush()
    assert len(collected) == 100
    assert sorted(journal.messages()) == sorted(plain + collected)


def test_a_clock_that_fails_while_drops_are_told_stops_no_recording(recorder_of, journal, until):
    failing = []

    def now_ns():
        if failing and threading.current_thread() in journal_threads():
            raise OSError("no time")
        return 1_700_000_000_000_000_000

    recorder = recorder_of(journal.path, clock=Clock(now_ns=now_ns))
    assert recorder.flush()
    recorder.info("first")
    assert recorder.flush()
    failing.append(True)
    recorder.funnel.drop("invalid")
    recorder.info("second")
    assert not recorder.flush(0.2)
    failing.clear()
    recorder.info("third")
    assert recorder.flush()
    assert journal.messages() == ["first", "second", "third"]
    assert journal.told_drops() == 1


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_thread_that_cannot_begin_begins_later(error, recorder_of, journal, monkeypatch):
    recorder = recorder_of(journal.path)

    def start(_thread):
        raise error

    monkeypatch.setattr(threading.Thread, "start", start)
    with suppress(KeyboardInterrupt):
        recorder.info("first")
    monkeypatch.undo()
    recorder.info("second")
    assert recorder.flush()
    assert journal.messages() == ["first", "second"]
    assert recorder.dropped == {}


@pytest.mark.parametrize("options", ["fsync='none'", "is_direct=True"])
def test_a_caller_at_the_limit_of_recursion_is_counted_right(options, program, journal):
    ended = program(
        """
        import sys
        sys.setrecursionlimit(300)
        made = 0
        def work():
            global made
            made += 1
            recorder.info(str(made))
        def deeper():
            work()
            deeper()
        for _ in range(50):
            try:
                deeper()
            except RecursionError:
                pass
        sys.setrecursionlimit(1000)
        assert recorder.flush()
        print(sum(recorder.dropped.values()), made)
    """,
        f"extension_id='app', {options}",
    ).ended()
    assert ended[1] == 0, ended
    dropped, made = map(int, ended[0].split())
    assert len(journal.messages()) + dropped <= made
    assert journal.told_drops() == dropped


@pytest.mark.parametrize("options", ["fsync='periodic'", "is_direct=True", "is_direct=True, fsync='always'"])
def test_an_interrupt_in_the_midst_of_recording_stops_nothing(options, program, journal):
    ended = program(
        """
        import signal
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        interrupts = number = 0
        while interrupts < 2000:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
                for _ in range(100_000):  # Python swallows an interrupt within a `__del__`
                    recorder.info(str(number))
                    number += 1
            except KeyboardInterrupt:
                interrupts += 1
        recorder.info("last")
        assert recorder.flush(10)
        print(number)
        """,
        f"extension_id='app', {options}",
    ).ended()
    assert ended[1:] == (0, ""), ended
    messages = journal.messages()
    assert messages[-1] == "last"
    assert set(map(str, range(int(ended[0])))) <= set(messages)


@pytest.mark.parametrize(
    "unusual", [{"exc_info": True}, {"exc_info": (1, 2, 3)}, {"levelno": "INFO"}, {"levelno": None}]
)
def test_a_log_message_that_logging_would_not_make_is_dropped_and_counted(unusual, recorder):
    handler = JournalHandler(recorder)
    handler.handle(logging.makeLogRecord({"name": "library", "levelno": logging.ERROR, **unusual}))
    assert recorder.dropped == {"invalid": 1}


EMPTIES = """
class Emptying:
    def __init__(self, held):
        self.held = held
    def __str__(self):
        self.held.clear()
        self.rubbish = [object() for _ in range(1000)]  # where what was held has been
        return "emptied"
for size in (3, 100, 10_000):
    many = []
    many += [{"deep": Emptying(many)}, *({"n": str(number)} for number in range(size))]
    recorder.info("list", body=many)
    named = {}
    named |= {"a": Emptying(named)} | {str(number): f"value {number}" for number in range(size)}
    recorder.info("mapping", body=[named])
    held = []
    held += [Emptying(held), *(str(number) for number in range(size))]
    recorder.info("attribute", held=held)
assert recorder.flush()
"""


def test_an_object_that_empties_what_holds_it_as_it_is_written_crashes_nothing(program, journal):
    assert program(EMPTIES).ended()[1:] == (0, "")
    records = [record for record in journal.records() if record["msg"] in ("list", "mapping", "attribute")]
    assert len(records) == 9
