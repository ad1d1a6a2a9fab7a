"""Nothing acknowledged is lost by kill -9, wherever it strikes; short form."""

from tests.faults import kill

SHORT = 100


def test_kill_9_loses_nothing_that_was_acknowledged():
    report = kill.run(SHORT, seed=1)
    assert report.violations == []
    assert report.tries > SHORT / 2
