"""Any interleaving of a writer, a rotation, a collector and its restarts, against a plain model."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

NAMES = ["app.ndjson", "app.ndjson.1", "app.ndjson.2", "app.ndjson.3"]
a_name = st.sampled_from(NAMES)


class JournalMachine(RuleBasedStateMachine):
    """The model is a dict of names and lists of lines; it shares no code with the journal.

    `due` are the lines that stood in a file at some poll. All of them are read by the next drain,
    whatever happened to their names. No line is read twice unless a file was rewritten. Nothing is
    ever read that was not written as one line.
    """

    small_collector: type
    as_directory: bool

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        path = self.directory if self.as_directory else self.directory / NAMES[0]
        self.collector = self.small_collector(path, sync=False)
        self.files: dict[str, list[bytes]] = {}
        self.torn: dict[str, bytes] = {}
        self.due: set[bytes] = set()
        self.held: set[bytes] = set()  # lines of files that this process has seen, so may hold open
        self.written: set[bytes] = set()
        self.exact = True
        self.count = 0

    def line(self, size):
        self.count += 1
        line = b"%d:" % self.count + b"x" * size
        self.written.add(line)
        return line

    def write(self, name, data):
        with (self.directory / name).open("ab") as file:
            file.write(data)

    def look(self):
        for lines in self.files.values():
            self.due.update(lines)
            self.held.update(lines)

    def forget(self, lines):
        self.due -= set(lines) - set(self.collector.lines)

    def move(self, source, target):
        os.replace(self.directory / source, self.directory / target)
        self.forget(set(self.files.get(target, [])) - self.held)
        self.files[target] = self.files.pop(source)
        self.torn.pop(target, None)
        if source in self.torn:
            self.torn[target] = self.torn.pop(source)

    @rule(name=a_name, sizes=st.lists(st.integers(0, 90) | st.integers(3_000, 6_000), min_size=1, max_size=4))
    def append(self, name, sizes):
        lines = [self.line(size) for size in sizes]
        if name in self.torn:
            first = self.torn.pop(name)
            self.write(name, first[len(first) // 2 :] + b"\n")
            self.files[name].append(first)
        self.write(name, b"".join(line + b"\n" for line in lines))
        self.files.setdefault(name, []).extend(lines)

    @rule(name=a_name, size=st.integers(4, 50))
    def tear(self, name, size):
        if name not in self.torn:
            self.torn[name] = self.line(size)
            self.write(name, self.torn[name][: len(self.torn[name]) // 2])
            self.files.setdefault(name, [])

    @precondition(lambda self: NAMES[0] in self.files)
    @rule(depth=st.integers(1, 3))
    def rotate(self, depth):
        for number in range(depth, 0, -1):
            if NAMES[number - 1] in self.files:
                self.move(NAMES[number - 1], NAMES[number])

    @rule(source=a_name, new_name=a_name)
    def rename(self, source, new_name):
        if source in self.files and new_name not in self.files:
            self.move(source, new_name)

    @rule(source=a_name, new_name=a_name)
    def copy_and_truncate(self, source, new_name):
        if source in self.files and new_name not in self.files and source not in self.torn:
            shutil.copyfile(self.directory / source, self.directory / new_name)
            os.truncate(self.directory / source, 0)
            self.files[new_name], self.files[source] = self.files[source], []
            self.held -= set(self.files[new_name])

    @rule(name=a_name, sizes=st.lists(st.integers(0, 90), max_size=5))
    def rewrite(self, name, sizes):
        if name in self.files:
            self.exact = False
            self.forget(self.files[name])
            self.torn.pop(name, None)
            os.truncate(self.directory / name, 0)
            self.files[name] = [self.line(size) for size in sizes]
            self.write(name, b"".join(line + b"\n" for line in self.files[name]))

    @rule(name=a_name, keep=st.integers(0, 6))
    def lose_tail(self, name, keep):
        if name in self.files and name not in self.torn:
            self.exact = False
            self.forget(self.files[name][keep:])
            self.files[name] = self.files[name][:keep]
            os.truncate(self.directory / name, sum(len(line) + 1 for line in self.files[name]))

    @rule(max_lines=st.integers(1, 4))
    def poll(self, max_lines):
        self.look()
        self.collector.poll_once(max_lines)
        self.check()

    @rule()
    def drain(self):
        self.look()
        self.collector.drain()
        self.check()
        assert self.due <= set(self.collector.lines)

    @rule()
    def restart(self):
        self.collector.restart()
        still_there = {line for lines in self.files.values() for line in lines}
        self.forget(self.due - still_there)
        self.held.clear()

    def check(self):
        assert set(self.collector.lines) <= self.written
        if self.exact:
            assert len(set(self.collector.lines)) == len(self.collector.lines)

    def teardown(self):
        self.drain()
        self.collector.follower.close()
        shutil.rmtree(self.directory)


@pytest.mark.parametrize("as_directory", [False, True], ids=["file", "directory"])
def test_any_interleaving_reads_every_line_and_none_twice(small_collector, as_directory):
    members = {"small_collector": small_collector, "as_directory": as_directory}
    run_state_machine_as_test(
        type("Machine", (JournalMachine,), members),
        settings=settings(
            max_examples=120,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
