"""Processes that may have few files, or only small ones, and those whose threads are of another kind."""

import importlib.util

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
