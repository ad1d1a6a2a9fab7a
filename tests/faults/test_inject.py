"""The short form of injected system calls, and proof that the campaign would notice."""

import os
import shutil

import pytest

from tests.faults import inject

WITHOUT_STRACE = "no call can be made to fail: strace is not installed"


@pytest.mark.skipif(shutil.which("strace") is None, reason=WITHOUT_STRACE)
def test_a_call_that_fails_breaks_no_promise():
    report = inject.run(40, seed=1)
    assert report.tries == 40
    assert report.violations == []


def test_a_sample_has_each_call_with_each_fault_before_any_twice():
    calls = {"write": {1, 2, 3}, "fsync": {1, 2}}
    every = list(inject.tries({"life": calls, "rebuild": calls}))
    sample = inject.choose(list(every), 16, seed=1)
    assert len({(attempt.call, attempt.fault, attempt.story) for attempt in sample}) == 16
    assert len(every) == 2 * (5 * 3 + 3 * 3 + len(inject.FILE_LIMITS))
    assert inject.choose(list(every), 0, seed=1) == every


@pytest.mark.parametrize(("part", "written"), [("one byte", 1), ("half", 4), ("all but one", 7)])
def test_a_short_write_writes_a_part(tmp_path, part, written):
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    write = inject.short_writes(2, part)
    assert [write(fd, b"12345678") for _ in range(3)] == [8, written, 8]
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"12345678" + b"12345678"[:written] + b"12345678"
