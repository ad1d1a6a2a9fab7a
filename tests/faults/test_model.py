"""The short form of the state machine."""

from tests.faults import model


def test_any_sequence_of_operations_leaves_what_a_dict_would_hold():
    report = model.run(5, seed=1)
    assert report.violations == [], report.violations[0]
    assert report.tries >= 5
