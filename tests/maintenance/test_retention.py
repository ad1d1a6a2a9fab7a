"""The policy and the choice of what to evict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobs import Place
from tracestore import DEFAULT_RETENTION, InputInvalid, RetentionPolicy
from tracestore.maintenance.retention import BodyUse, Remaining, plan_evictions


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


def loose(name, size_bytes):
    return BodyUse(name, [Place(name, size_bytes, 1)])


def evicted(sizes, cap):
    bodies = [loose(chr(97 + n).encode(), size) for n, size in enumerate(sizes)]
    return [digest.decode() for digest in plan_evictions(bodies, Remaining(sum(sizes)), cap)]


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
            yield loose(b"%d" % n, 10)

    assert len(plan_evictions(bodies(), Remaining(10_000), 9_970)) == 3
    assert len(read) == 3


def test_bodies_that_are_compressed_together_go_together():
    frame, other = Place("frame", 1_000, 2), Place("other", 1_000, 2)
    bodies = [BodyUse(b"a", [frame]), BodyUse(b"b", [other]), BodyUse(b"c", [frame]), BodyUse(b"d", [other])]
    assert plan_evictions(bodies, Remaining(2_000), 1_500) == [b"a", b"c"]
    assert plan_evictions(bodies, Remaining(2_000), 999) == [b"a", b"b", b"c", b"d"]
    assert plan_evictions(bodies, Remaining(2_000), 2_000) == []


def test_what_goes_anyway_counts_before_anything_is_evicted():
    frame = Place("frame", 1_000, 3)
    remaining = Remaining(1_500)
    remaining.take([frame])
    remaining.take([frame])
    assert plan_evictions([BodyUse(b"c", [frame]), loose(b"d", 500)], remaining, 600) == [b"c"]


def test_a_body_that_is_nowhere_is_not_evicted():
    assert plan_evictions([BodyUse(b"a", []), loose(b"b", 10)], Remaining(10), 0) == [b"b"]
