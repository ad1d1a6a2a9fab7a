"""The campaign notices when a safety step is missing; short form."""

import pytest

from tests.faults import canaries, trace


def test_every_safety_step_that_is_taken_away_is_noticed():
    if not trace.can_trace():
        pytest.skip("strace is not here or may not trace; install it, and run as root")
    report = canaries.run()
    assert report.violations == []
    assert report.notes["caught"] == report.tries > 10
