"""The short form of the fuzzed journals, and proof that the campaign would notice."""

import random

import pytest

from tests.faults import fuzz
from tracestore import TraceStore


def test_every_mutated_line_is_a_row_or_a_rejected_line():
    report = fuzz.run(8_000, seed=3)
    assert report.tries >= 8_000
    assert report.violations == []


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """A store with a collected journal."""
    home = tmp_path_factory.mktemp("fuzz")
    journal = fuzz.Journal(home / "app.ndjson", random.Random(5), 300)
    with TraceStore(home / "store") as store:
        fuzz.collect(store, journal)
        assert list(fuzz.compare(store, journal)) == []
        yield store, journal


@pytest.mark.parametrize(
    ("tampering", "noticed"),
    [
        ("DELETE FROM raw.records WHERE seq = 7", "neither a row nor a rejected line"),
        ("INSERT INTO raw.records SELECT * FROM raw.records WHERE seq = 7", "one record is 2 rows"),
        ("UPDATE raw.records SET extension_id = 'other' WHERE seq = 7", "rows that no accepted line explains"),
        ("UPDATE raw.rejected SET lines = lines + 1", "the store counts"),
    ],
)
def test_the_campaign_notices_what_is_lost_or_made_up(collected, tampering, noticed):
    store, journal = collected
    with store._database.writing() as cursor:
        cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM raw.records")
        cursor.execute("CREATE TEMP TABLE counted AS SELECT * FROM raw.rejected")
        cursor.execute(tampering)
    try:
        assert any(noticed in violation for violation in fuzz.compare(store, journal))
    finally:
        with store._database.writing() as cursor:
            for table, copy in (("records", "kept"), ("rejected", "counted")):
                cursor.execute(f"DELETE FROM raw.{table}")
                cursor.execute(f"INSERT INTO raw.{table} SELECT * FROM {copy}")
                cursor.execute(f"DROP TABLE {copy}")
