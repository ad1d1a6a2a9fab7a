"""Whatever part of its last writes a disk keeps, nothing that was promised is lost; short form."""

import os

import pytest

from tests.faults import blockdevice, blocklog, disks
from tests.faults.blockdevice import Flush, Mark, Write

KINDS = tuple(kind for kind in disks.FILE_SYSTEMS if disks.missing(kind) is None)
WHY = blockdevice.missing() or (None if KINDS else disks.missing(disks.FILE_SYSTEMS[0]))

SHORT = 25
"""States of each file system."""


@pytest.mark.skipif(WHY is not None, reason=str(WHY))
@pytest.mark.parametrize("kind", KINDS)
def test_no_state_that_a_cut_may_leave_on_a_disk_breaks_a_promise(kind):
    report = blocklog.run(SHORT, seed=1, kinds=[kind])
    assert report.violations == []
    assert report.tries == SHORT


@pytest.mark.skipif(WHY is not None, reason=str(WHY))
def test_a_recording_has_the_writes_the_flushes_and_the_marks_in_their_order():
    """A file that was synced before a mark is in the writes before a flush before that mark."""
    kind = KINDS[0]
    with disks.workshop() as shop:
        disks.format_image(shop / "image", kind)
        with blockdevice.recording(shop / "image", shop / "log", shop / "served") as served:
            disk = disks.Disk(served.disk, kind)
            disk.mount(shop / "mounted")
            _write_and_sync(shop / "mounted" / "file", b"what was promised" * 300)
            _write_and_sync(served.marks, b"promised")
            disks.unmount(shop / "mounted")
            disk.close()
        log = blockdevice.read_log(shop / "log")
    promise = log.index(Mark(b"promised"))
    flushed = max(place for place in range(promise) if isinstance(log[place], Flush))
    assert any(b"what was promised" in entry.data for entry in log[:flushed] if isinstance(entry, Write))


def _write_and_sync(path, content):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, content)
    os.fsync(fd)
    os.close(fd)
