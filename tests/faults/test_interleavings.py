"""No order of writer and sweeper loses a body; short form."""

from tests.faults import interleavings

SHORT = 40


def test_no_order_of_writer_and_sweeper_loses_a_body():
    report = interleavings.run(SHORT, seed=1)
    assert report.violations == []
    assert report.tries > SHORT / 2
