"""Processes: forked, spawned, killed, ended in every way; each writes a segment of its own."""

import json

import pytest

ENDINGS = {
    "by itself": ("", 0),
    "sys.exit": ("import sys; sys.exit(3)", 3),
    "an uncaught exception": ("raise ValueError('lost')", 1),
    "an interrupt": ("raise KeyboardInterrupt", -2),
    "a signal whose handler exits": (
        "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(4));"
        "os.kill(os.getpid(), signal.SIGTERM); input()", 4,
    ),
    "a stopped event loop": ("import asyncio; asyncio.run(asyncio.sleep(0))", 0),
}  # fmt: skip


@pytest.mark.parametrize(("code", "exit_code"), ENDINGS.values(), ids=ENDINGS.keys())
def test_a_process_that_ends_in_an_orderly_way_loses_nothing(code, exit_code, program, journal):
    ended = program(f"for number in range(500):\n    recorder.info(str(number))\n{code}").ended()
    assert ended[1] == exit_code, ended
    assert journal.messages() == [str(number) for number in range(500)]


@pytest.mark.parametrize("before", ["", "recorder.info('first')\n"])
@pytest.mark.parametrize("registers", ["later", "sooner"])
def test_what_is_recorded_as_the_process_ends_is_written(before, registers, program, journal):
    register = "import atexit; atexit.register(lambda: [recorder.info(str(number)) for number in range(50)])"
    if registers == "sooner":  # than capture, whose own turn at the end then comes first
        code = f"""
import atexit
def last():
    for number in range(50):
        recorder.info(str(number))
atexit.register(last)
for name in [name for name in sys.modules if name.startswith("tracestore.capture")]:
    del sys.modules[name]
from tracestore.capture import Recorder
recorder = Recorder({str(journal.path)!r}, extension_id="app")
"""
        code = "import sys\n" + code + before
    else:
        code = before + register
    ended = program(code).ended()
    assert ended[1:] == (0, ""), ended
    first = ["first"] if before else []
    assert journal.messages() == first + [str(number) for number in range(50)]


def test_os_exit_loses_at_most_what_is_queued(program, journal):
    ended = program("""
        import os
        recorder.info("flushed")
        assert recorder.flush()
        for number in range(100):
            recorder.info(str(number))
        os._exit(5)
    """).ended()
    assert ended[1] == 5
    messages = journal.messages()
    assert messages == ["flushed", *map(str, range(len(messages) - 1))]


def test_a_forked_child_writes_a_segment_of_its_own_and_the_parents_lines_are_written_once(program, journal):
    ended = program("""
        import os, threading
        stop = threading.Event()
        def work():
            while not stop.is_set():
                recorder.info("of a thread")
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads: thread.start()
        for number in range(40):
            recorder.info(f"parent {number}")
            pid = os.fork()
            if pid == 0:
                recorder.info(f"child {number}")
                assert recorder.dropped == {}
                os._exit(0 if recorder.flush() else 7)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
    """).ended()
    assert ended[1:] == (0, ""), ended
    by_segment = {path: [json.loads(line) for line in path.read_bytes().splitlines()] for path in journal.segments()}
    told = {path: [record["msg"] for record in records] for path, records in by_segment.items()}
    children = [messages for messages in told.values() if messages[0].startswith("child")]
    parent = [msg for messages in told.values() if not messages[0].startswith("child") for msg in messages]
    assert sorted(children) == sorted([f"child {number}"] for number in range(40))
    assert [msg for msg in parent if msg.startswith("parent")] == [f"parent {number}" for number in range(40)]
    ids = [record["id"] for records in by_segment.values() for record in records]
    assert len(set(ids)) == len(ids)


def test_a_forked_child_that_ends_by_itself_writes_what_it_queued(program, journal):
    ended = program("""
        import os, sys
        recorder.info("parent")
        if os.fork() == 0:
            recorder.info("child")
            sys.exit(0)
        os.wait()
    """).ended()
    assert ended[1:] == (0, ""), ended
    assert sorted(journal.messages()) == ["child", "parent"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_write_what_they_queued(method, journal, tmp_path, python):
    (tmp_path / "app.py").write_text(f"""
import multiprocessing
from tracestore.capture import Recorder

recorder = Recorder({str(journal.path)!r}, extension_id="app")

def work(number):
    recorder.info(f"child {{number}}")

if __name__ == "__main__":
    recorder.info("parent")
    context = multiprocessing.get_context({method!r})
    processes = [context.Process(target=work, args=(number,)) for number in range(3)]
    for process in processes: process.start()
    for process in processes: process.join()
    with context.Pool(2) as pool:
        pool.map(work, range(3, 9))
        pool.close()
        pool.join()
""")
    python("-W", "ignore::DeprecationWarning", tmp_path / "app.py")
    assert sorted(journal.messages()) == [*(f"child {number}" for number in range(9)), "parent"]


@pytest.mark.parametrize("options", ["", "is_direct=True", "queue_bytes=3000"])
def test_a_signal_handler_may_record_whatever_its_thread_is_doing(options, program, journal):
    ended = program(
        """
        import signal
        seen = 0
        def handle(*_):
            global seen
            seen += 1
            recorder.info("signal")
            if seen < 1000:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        number = 0
        while seen < 1000:
            recorder.info("plain")
            number += 1
            if not number % 500:
                assert recorder.flush()
        assert recorder.flush()
        print(seen, number, sum(recorder.dropped.values()))
        """,
        f"extension_id='app', {options}",
    ).ended()
    assert ended[1] == 0, ended
    seen, number, dropped = map(int, ended[0].split())
    assert journal.told_drops() == dropped
    assert len(journal.messages()) == seen + number - dropped
    if not options.startswith("queue"):
        assert journal.messages().count("signal") == seen


def test_the_first_record_in_a_thread_pool_at_the_end_is_written(program, journal):
    ended = program("""
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(4)
        for number in range(200):
            pool.submit(recorder.info, str(number))
    """).ended()
    assert ended[1:] == (0, ""), ended
    assert sorted(map(int, journal.messages())) == list(range(200))
