"""What `tracestore serve` acknowledged is there after `kill -9` right behind the answer.

Here a few times; `python -m benchmarks otlp --scale full` does it in 20 runs.
"""

import pytest

from tracestore import TraceStore

pytest.importorskip("opentelemetry.proto")
serving = pytest.importorskip("benchmarks.serving")


@pytest.mark.parametrize(("requests", "spans"), [(200, 1), (25, 8)])
def test_two_hundred_acknowledged_spans_outlive_a_kill(tmp_path, requests, spans):
    assert serving.acknowledged_after_kill(tmp_path / "store", requests, spans) == (200, 200)


def test_a_client_that_sends_everything_again_after_a_kill_makes_no_second_row(tmp_path):
    """Some of it was collected before the kill, some only stood in the journal, and all of it comes twice."""
    path = tmp_path / "store"
    assert serving.acknowledged_after_kill(path, 40, 2) == (80, 80)
    server = serving.Serving(path)
    connection = server.connect()
    for first in range(0, 80, 2):
        assert serving.post(connection, serving.traces(range(first, first + 2), "x" * 200)) == 200
    connection.close()
    server.stop()
    assert serving.stored(path) == set(map(serving.span_id, range(80)))
    with TraceStore(path, read_only=True) as store:
        assert store.sql("SELECT count(*) FROM records").rows == [(160,)]
