"""What the benchmarks compare with does the work that it is timed for."""

import json
from itertools import groupby

import pytest

from benchmarks.baselines import duckdb_rows, lines, ndjson_zstd, seed_sqlite, sqlite_text
from benchmarks.corpora.tool_agent import DAY_MS, ToolAgent
from benchmarks.workloads.prune import middle_ms
from tracestore.formats.seed_sqlite import read_seed_records

RECORDS = 600
BASELINES = (duckdb_rows, ndjson_zstd, seed_sqlite, sqlite_text)


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "journal.ndjson"
    return ToolAgent(records=RECORDS, body_share=1.0, days=4).write(path)


@pytest.fixture(scope="module")
def records(journal):
    return [json.loads(line) for line in journal.read_text().splitlines()]


@pytest.fixture
def store(journal, tmp_path, baseline, monkeypatch):
    monkeypatch.setattr(lines, "BATCH_LINES", 70)
    baseline.collect(journal, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(params=BASELINES, ids=lambda module: module.__name__.rpartition(".")[2])
def baseline(request):
    return request.param


def test_every_record_and_every_body_is_kept(baseline, store, records):
    with baseline.opened(store) as reading:
        assert baseline.count_records(reading) == RECORDS
        found = [baseline.body(reading, key) for key in baseline.body_keys(reading)]
    assert found == [record["body"] for record in records if "body" in record]
    assert len(found) > 150


@pytest.mark.parametrize(("column", "key"), [("turn_id", "turnId"), ("conversation_id", "conversationId")])
def test_the_bodies_of_a_turn_come_in_order_of_time(baseline, store, records, column, key):
    with_body = sorted((record for record in records if "body" in record), key=lambda record: record[key])
    with baseline.opened(store) as reading:
        for value, of_value in groupby(with_body, lambda record: record[key]):
            wanted = [record["body"] for record in sorted(of_value, key=lambda record: record["timestamp"])]
            assert list(baseline.bodies_of(reading, column, value)) == wanted


def test_prune_deletes_what_is_older_and_nothing_else(baseline, store, records):
    middle_ms = records[RECORDS // 2]["timestamp"]
    midnight_ms = middle_ms - middle_ms % DAY_MS
    kept = [record for record in records if record["timestamp"] >= midnight_ms]
    assert 0 < len(kept) < RECORDS
    baseline.prune(store, midnight_ms)
    with baseline.opened(store) as reading:
        assert baseline.count_records(reading) == len(kept)
        found = [baseline.body(reading, key) for key in baseline.body_keys(reading)]
    assert found == [record["body"] for record in kept if "body" in record]


@pytest.mark.parametrize("baseline", [seed_sqlite])
def test_the_seed_as_it_is_here_is_a_seed_that_we_can_import(store, records):
    found = sorted(json.dumps(record, sort_keys=True) for record in read_seed_records(store / "records.sqlite"))
    assert found == sorted(json.dumps(record, sort_keys=True) for record in records)


@pytest.mark.parametrize("baseline", [seed_sqlite])
def test_the_seed_keeps_a_record_and_a_body_once(baseline, journal, records, tmp_path):
    again = next(record for record in records if "body" in record) | {"timestamp": records[-1]["timestamp"] + 1}
    twice = tmp_path / "twice.ndjson"
    twice.write_text(journal.read_text() * 2 + json.dumps(again) + "\n")
    baseline.collect(twice, tmp_path / "twice")
    with baseline.opened(tmp_path / "twice") as reading:
        assert baseline.count_records(reading) == RECORDS + 1
        ((bodies,),) = reading.execute("SELECT count(*) FROM bodies").fetchall()
    assert bodies == len({record["body"] for record in records if "body" in record})


@pytest.mark.parametrize(("baseline", "gives_back"), [(sqlite_text, True), (seed_sqlite, False)])
def test_plain_sqlite_gives_its_space_back_and_the_seed_does_not(baseline, gives_back, store, records):
    path = store / "records.sqlite"
    before_bytes = path.stat().st_size
    baseline.prune(store, records[RECORDS // 2]["timestamp"])
    assert (path.stat().st_size < before_bytes * 0.7) == gives_back


@pytest.mark.parametrize("baseline", [sqlite_text])
def test_what_is_pruned_as_half_is_half_of_the_bytes(store, records):
    cutoff_ms = middle_ms(store)
    older = sum(len(record.get("body", "")) for record in records if record["timestamp"] < cutoff_ms)
    assert older / sum(len(record.get("body", "")) for record in records) == pytest.approx(0.5, abs=0.02)
