"""Values in JSON and back."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracestore.remote.values import from_json, to_json

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.decimals(allow_nan=False), st.dates(), st.datetimes(), st.times(), st.timedeltas(), st.uuids(),
    st.datetimes(timezones=st.just(UTC)), st.characters(categories=["Cs"]),
)  # fmt: skip
KEYS = st.one_of(st.text(), st.integers(), st.dates(), st.sampled_from(["$decimal", "$dict", "$", "$bytes"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


def sent(value):
    return from_json(json.loads(json.dumps(to_json(value))))


@given(VALUES)
def test_what_arrives_is_what_was_sent_and_of_its_type(value):
    assert repr(sent(value)) == repr(value).replace(", fold=1", "")  # a time of the store has none


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1.20"), 2**100, float("inf"), date(2026, 3, 2), datetime(2026, 3, 2, 1, 2, 3, 4), time(1, 2, 3, 4),
        timedelta(days=-1, microseconds=5), UUID(int=7), b"\x00\xff", (1, (2,)), {1: "a"}, {"$decimal": "1"}, "\udcff",
    ],
    ids=repr,
)  # fmt: skip
def test_each_type_of_sql_comes_back(value):
    assert sent(value) == value
    assert type(sent(value)) is type(value)


def test_what_is_not_a_number_comes_back():
    assert repr(sent([float("nan")])) == "[nan]"


def test_a_type_that_nobody_knows_becomes_text():
    assert sent(frozenset()) == "frozenset()"
