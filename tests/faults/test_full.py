"""The short form of full, frozen and locked disks and of clocks that jump."""

import pytest

from tests.faults import full


@pytest.mark.parametrize("kind", full.KINDS)
def test_a_store_outlives_it_and_goes_on(kind):
    if why := full.missing().get(kind):
        pytest.skip(why)
    report = full.run(3, seed=5, kinds=[kind])
    assert report.tries == 3
    assert report.violations == []
