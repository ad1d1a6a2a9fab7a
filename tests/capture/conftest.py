"""Recorders on a journal of their own, what stands in it, and what a collector makes of it."""

import itertools
import json
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from tests.conftest import NOW_MS, REPOSITORY
from tracestore.capture import Clock, Recorder


class Journal:
    """A journal directory, and a look into it from outside."""

    def __init__(self, path):
        self.path = path

    def segments(self):
        """The segments in the order in which they were started."""
        return sorted(self.path.glob("[0-9]*.ndjson"), key=lambda path: (path.stat().st_mtime_ns, path.name))

    def records(self):
        """Every whole line; each has to be one record."""
        lines = [line for path in self.segments() for line in path.read_bytes().split(b"\n")[:-1]]
        return [json.loads(line) for line in lines]

    def messages(self):
        """What the logs say, but for those of dropped records."""
        return [record["msg"] for record in self.records() if "dropped" not in record.get("attributes", {})]

    def told_drops(self):
        """How many records were dropped, by what the journal says."""
        return sum(record.get("attributes", {}).get("dropped", 0) for record in self.records())


def ticking(start_ns=0):
    """Nanoseconds of a clock on which each look of this thread takes one millisecond, and one of another none."""
    looks = itertools.count()
    mine = threading.get_ident()
    return lambda: start_ns + (next(looks) if threading.get_ident() == mine else 0) * 1_000_000


class Program:
    """A process that runs some lines of Python with a `recorder` of a journal."""

    def __init__(self, journal, code, options):
        lines = f"from tracestore.capture import Recorder\nrecorder = Recorder({str(journal.path)!r}, {options})\n"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", lines + textwrap.dedent(code)],
            cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def said(self, line):
        """Wait until it prints a line."""
        assert self.process.stdout.readline() == f"{line}\n"

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=20)

    def ended(self):
        """Wait for its end; returns what it printed, its exit code and its errors."""
        out, err = self.process.communicate(timeout=30)
        return out, self.process.returncode, err


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "store" / "journal")


@pytest.fixture
def new_id():
    """Ids that count: the first of 8 bytes is 0000000000000001."""
    numbers = itertools.count(1)
    return lambda size_bytes: f"{next(numbers):0{2 * size_bytes}x}"


@pytest.fixture
def recorder_of():
    """`recorder_of(path, …)` makes recorders that are closed at the end."""
    made = []

    def make(path, **options):
        made.append(Recorder(path, **({"extension_id": "app"} | options)))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


@pytest.fixture
def recorder(recorder_of, journal, new_id):
    """A recorder whose times and ids are the same in every run."""
    clock = Clock(now_ns=ticking(NOW_MS * 1_000_000), elapsed_ns=ticking())
    return recorder_of(journal.path, clock=clock, new_id=new_id)


@pytest.fixture
def collected(store, journal, collecting):
    """`collected(recorder)` flushes, collects the journal and gives the store."""
    follower = collecting(store, journal.path)

    def collect(recorder=None):
        assert recorder is None or recorder.flush()
        follower.drain()
        store._settle()
        return store

    return collect


@pytest.fixture
def program(journal):
    """`program(code)` starts a process with a `recorder`; none outlives the test."""
    started = []

    def start(code, options="extension_id='app'"):
        started.append(Program(journal, code, options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait(20)
        for pipe in (one.process.stdin, one.process.stdout, one.process.stderr):
            pipe.close()


@pytest.fixture
def until():
    """`until(condition)` waits until something is true, and fails where it does not become so."""

    def wait(condition, seconds=20):
        deadline_s = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.005)

    return wait
