"""Processes that may have few files, only small ones, or little memory, and those whose threads are of another kind."""

import importlib.util
import sys

import pytest

OPTIONS = ["fsync='none'", "fsync='always'", "is_direct=True"]


@pytest.mark.parametrize("options", OPTIONS)
def test_where_files_may_not_grow_the_next_segment_goes_on(options, program, journal):
    ended = program(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        for number in range(3000):
            recorder.info(str(number), text="x" * 100)
        assert recorder.flush()
        assert recorder.dropped == {}
        """,
        f"extension_id='app', {options}",
    ).ended()
    assert ended[1] == 0, ended
    assert journal.messages() == list(map(str, range(3000)))
    assert all(0 < path.stat().st_size <= 200_000 for path in journal.segments())


@pytest.mark.parametrize("options", OPTIONS)
def test_where_no_more_files_can_be_opened_recording_goes_on_as_soon_as_they_can(options, program, journal):
    ended = program(
        """
        import os, resource
        recorder.warn("before")
        recorder.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        held = []
        try:
            while True:
                held.append(os.open("/", os.O_RDONLY))
        except OSError:
            pass
        for number in range(500):
            recorder.info(str(number))
        assert not recorder.flush(0.3)
        os.close(held.pop())
        assert not recorder.flush(0.3)  # a segment needs one, and the directory another
        os.close(held.pop())
        assert recorder.flush()
        assert recorder.dropped == {}
        """,
        f"extension_id='app', {options}",
    ).ended()
    assert ended[1] == 0, ended
    assert journal.messages() == ["before", *map(str, range(500))]
    assert len(journal.segments()) == 2


def test_where_files_are_closed_behind_its_back_nothing_is_lost(program, journal):
    ended = program("""
        import os
        for number in range(20):
            recorder.info(str(number))
            assert recorder.flush()
            os.closerange(3, 100)  # as a process that becomes a daemon does
        recorder.info("last")
        assert recorder.flush()
    """).ended()
    assert ended[1] == 0, ended
    assert set(journal.messages()) == {*map(str, range(20)), "last"}


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
@pytest.mark.parametrize("patched", ["sooner", "later"])
def test_whenever_gevent_replaces_threads_nothing_stands_still_or_is_lost(patched, journal, python, tmp_path):
    patch = "from gevent import monkey; monkey.patch_all()"
    code = f"""
{patch if patched == "sooner" else ""}
from tracestore.capture import Recorder
{patch if patched == "later" else ""}
recorder = Recorder({str(journal.path)!r}, extension_id="app")
import gevent
def work(name):
    for number in range(100):
        recorder.info(f"{{name}} {{number}}")
        gevent.sleep(0)
gevent.joinall([gevent.spawn(work, name) for name in range(10)], raise_error=True)
assert recorder.flush()
recorder.info("last")
"""
    python("-W", "ignore", "-c", code, timeout=20)
    made = ["last", *(f"{name} {number}" for name in range(10) for number in range(100))]
    assert sorted(journal.messages()) == sorted(made)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
@pytest.mark.parametrize("body", ["'x' * 3_000_000", "b'\\xff' * 3_000_000", "'\u00e9' * 1_500_000"])
def test_where_there_is_no_memory_for_a_body_the_process_goes_on(body, program, journal):
    ended = program(
        f"""
        import resource
        body = {body}
        recorder.info("before")
        assert recorder.flush()
        with open("/proc/self/statm") as said:
            used_bytes = int(said.read().split()[0]) * resource.getpagesize()
        for more_bytes in range(2_000_000, 22_000_000, 100_000):  # with less, Python itself ends badly
            resource.setrlimit(resource.RLIMIT_AS, (used_bytes + more_bytes, resource.RLIM_INFINITY))
            recorder.info("scarce", body=body)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert recorder.flush(10)
        print(sum(recorder.dropped.values()))
        """,
        "extension_id='app', queue_bytes=10_000_000",
    ).ended()
    assert ended[1] == 0, ended
    assert 0 < int(ended[0]) == 200 - journal.messages().count("scarce")
