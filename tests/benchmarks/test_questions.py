"""The analytic questions of the SQL workload: both sides understand them alike."""

import pytest

from benchmarks.baselines import sqlite_columns
from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.journals import collect
from benchmarks.questions import COLUMNS, JSON, VIEWS
from benchmarks.workloads.sql import _check_equal, _flat
from benchmarks.workloads.views import LARGE_TURN_SPANS, _large_turn_records
from tracestore import TraceStore


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    directory = tmp_path_factory.mktemp("questions")
    journal = ToolAgent(records=3_000, outcomes=True).write(directory / "journal.ndjson")
    sqlite_columns.collect(journal, directory / "sqlite")
    with TraceStore(directory / "ours") as store, sqlite_columns.opened(directory / "sqlite") as lite:
        collect(store, journal)
        yield store, lite


QUESTIONS = {
    f"{kind}: {name}": sql
    for kind, questions in (("columns", COLUMNS), ("views", VIEWS), ("JSON", JSON))
    for name, sql in questions.items()
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
def test_sqlite_gives_the_same_answer(both, question):
    store, lite = both
    ours, theirs = question
    found = _flat(store.sql(ours).rows)
    assert found == _flat(lite.execute(theirs).fetchall())
    assert len(found) > 1


def test_answers_tell_failures_and_cache_hits_apart(both):
    store, _ = both
    rates = [rate for _, _, rate in store.sql(COLUMNS["error rate by tool"][0]).rows]
    shares = [share for _, share in store.sql(COLUMNS["cache-hit share"][0]).rows]
    assert 0 < max(rates) < 0.5
    assert 0 < min(shares) < max(shares) < 1


def test_a_question_by_turn_uses_no_index_that_was_made_for_it(both):
    _, lite = both
    indices = lite.execute("SELECT sql FROM sqlite_schema WHERE type = 'index'").fetchall()
    assert sorted(sql.rpartition("(")[2] for (sql,) in indices) == ["timestamp)", "turn_id)"]


def test_the_baseline_keeps_every_record_once(both):
    store, lite = both
    assert lite.execute("SELECT count(*) FROM records").fetchall() == store.sql("SELECT count(*) FROM records").rows


def test_the_large_turn_is_one_tree_of_closed_spans():
    records = list(_large_turn_records())
    opened = [record for record in records if record["kind"] == "span-open"]
    assert len(opened) == LARGE_TURN_SPANS
    assert sum("parentSpanId" not in record for record in opened) == 1
    assert {record["spanId"] for record in opened} == {
        record["spanId"] for record in records if record["kind"] == "span-close"
    }


@pytest.mark.parametrize("ours", [[("a", 1)], [("a", 2), ("b", 3)], []])
def test_answers_that_differ_end_the_run(ours):
    with pytest.raises(RuntimeError, match="wanted the answer of SQLite"):
        _check_equal("a question", ours, [("a", 2)])


def test_no_answer_is_none_on_either_side():
    with pytest.raises(RuntimeError, match="found"):
        _check_equal("a question", [], [])
