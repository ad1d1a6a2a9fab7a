"""The policy and the choice of what to evict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracestore import DEFAULT_RETENTION, InputInvalid, RetentionPolicy
from tracestore.maintenance.retention import BodyUse, disk_bytes, plan_evictions


@pytest.mark.parametrize(
    ("given_values", "held"),
    [
        ({"max_age": "7d", "max_total_body_bytes": "256MiB"}, (604_800_000, 268_435_456)),
        ({"max_age": 1500, "max_total_body_bytes": 10}, (1500, 10)),
        ({"max_age": "1h30m"}, (5_400_000, None)),
        ({"max_total_body_bytes": "4GB"}, (None, 4_000_000_000)),
        ({"max_age": 0, "max_total_body_bytes": 0}, (0, 0)),
        ({"max_age": None, "max_total_body_bytes": None}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_a_policy_holds_milliseconds_and_bytes(given_values, held):
    policy = RetentionPolicy(**given_values)
    assert (policy.max_age_ms, policy.max_total_body_bytes) == held
    assert policy.is_empty is (held == (None, None))


@pytest.mark.parametrize("name", ["max_age", "max_total_body_bytes"])
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -1, "-1d", "", "7 parsecs", "d7", "1d1d", True, [], b"7d", 2**63, "nan"]
)
def test_a_senseless_limit_is_refused_by_name(name, value):
    """Seed defect `prune`: NaN, null and negative limits wipe the store or are ignored."""
    with pytest.raises(InputInvalid, match=rf"^{name}: wanted "):
        RetentionPolicy(**{name: value})


def test_the_default_is_a_week_and_256_mebibytes():
    assert (DEFAULT_RETENTION.max_age_ms, DEFAULT_RETENTION.max_total_body_bytes) == (7 * 86_400_000, 256 * 2**20)


def evicted(sizes, cap):
    bodies = [BodyUse(bytes([97 + n]), size, n * 1000) for n, size in enumerate(sizes)]
    return [body.digest.decode() for body in plan_evictions(bodies, sum(sizes), cap)]


@pytest.mark.parametrize(
    ("sizes", "cap", "wanted"),
    [
        ([300, 300, 300], 500, ["a", "b"]),
        ([200, 200, 200], 300, ["a", "b"]),
        ([300, 300, 300], 900, []),
        ([300, 300, 300], 899, ["a"]),
        ([300, 300, 300], 0, ["a", "b", "c"]),
        ([], 0, []),
        ([], 10, []),
    ],
)
def test_the_longest_unused_bodies_go_until_the_rest_fits(sizes, cap, wanted):
    assert evicted(sizes, cap) == wanted


@given(st.lists(st.integers(1, 10_000), max_size=50), st.integers(0, 100_000))
def test_what_stays_fits_and_no_body_too_many_goes(sizes, cap):
    gone = evicted(sizes, cap)
    assert gone == [chr(97 + n) for n in range(len(gone))]
    assert sum(sizes[len(gone) :]) <= cap
    assert not gone or sum(sizes[len(gone) - 1 :]) > cap


def test_no_more_bodies_are_read_than_go():
    read = []

    def bodies():
        for n in range(1000):
            read.append(n)
            yield BodyUse(b"", 10, n)

    assert len(plan_evictions(bodies(), 10_000, 9_970)) == 3
    assert len(read) == 3


@pytest.mark.parametrize(("stored", "on_disk"), [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)])
def test_a_file_takes_whole_blocks(stored, on_disk):
    assert disk_bytes(stored) == on_disk
