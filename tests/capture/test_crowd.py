"""Many processes of many threads that record at once and are killed, while a collector reads."""

import itertools
import json
import random
import threading

import pytest

WRITER = """
import threading
def work(thread):
    for number in range(1_000_000):
        recorder.info(f"{PROCESS} {thread} {number}", text="x" * (number % 300))
        if number % 50 == 49 and recorder.flush():
            with printing:
                print(PROCESS, thread, number, flush=True)
printing = threading.Lock()
threads = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(THREADS)]
for thread in threads: thread.start()
input()
"""


@pytest.mark.parametrize("options", ["fsync='none'", "fsync='periodic'", "is_direct=True"])
def test_what_was_flushed_before_a_kill_is_collected_exactly_once(options, program, journal, store, collecting):
    rng = random.Random(options)
    writers = [
        program(WRITER.replace("PROCESS", str(number)).replace("THREADS", "8"), f"extension_id='app', {options}")
        for number in range(4)
    ]
    promised = [[] for _ in writers]
    reading = [
        threading.Thread(target=said.extend, args=(one.process.stdout,))
        for one, said in zip(writers, promised, strict=True)
    ]
    for thread in reading:
        thread.start()
    due = [rng.randrange(5, 100) for _ in writers]

    def is_done():
        for one, said, least in zip(writers, promised, due, strict=True):
            if one.process.poll() is None and len(said) >= least:
                one.process.kill()
        return all(one.process.poll() is not None for one in writers)

    follower = collecting(store, journal.path)
    follower.run_until(is_done, 60)
    for thread in reading:
        thread.join(20)
    collecting(store, journal.path).drain()
    store._settle()
    last = {}
    for line in itertools.chain(*promised):
        if line.endswith("\n"):
            process, thread, number = map(int, line.split())
            last[process, thread] = number
    assert len({process for process, _ in last}) == len(writers)
    flushed = {f"{process} {thread} {number}" for (process, thread), end in last.items() for number in range(end + 1)}
    stored = [msg for (msg,) in store.sql("SELECT msg FROM records").rows]
    assert len(set(stored)) == len(stored)
    assert flushed <= set(stored)
    segments = journal.segments()
    assert len({path.name.split("-")[1] for path in segments}) == len(writers)
    for path in segments:
        *whole, _torn = path.read_bytes().split(b"\n")
        assert all(json.loads(line)["kind"] == "log" for line in whole)
