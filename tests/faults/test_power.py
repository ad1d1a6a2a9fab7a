"""Power cuts on real file systems lose nothing that was promised; short form."""

import pytest

from tests.faults import disks, power

KINDS = tuple(kind for kind in disks.FILE_SYSTEMS if disks.missing(kind) is None)
WHY = None if KINDS else disks.missing(disks.FILE_SYSTEMS[0])
pytestmark = pytest.mark.skipif(not KINDS, reason=str(WHY))

SHORT = 12
"""A life and its next two on each machine: two file systems, on one disk and on three."""


def test_a_power_cut_loses_nothing_that_was_promised():
    report = power.run(SHORT, seed=1, kinds=KINDS)
    assert report.violations == []
    assert report.tries == SHORT


def test_a_store_that_syncs_no_file_of_a_blob_is_caught():
    assert power.run(5 * SHORT, seed=1, kinds=KINDS, without="blob file sync").violations
