"""MLflow tracing on SQLite: live spans with the request as inputs and the response as outputs."""

import time
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LiveSpan, SpanType

from benchmarks.peers.calls import parsed, steps
from benchmarks.peers.feeding import main

_NS = 1_000_000
_CALLS_A_FLUSH = 50
"""Its queue drops what does not fit; an application that waits for its model never fills it."""
_TRACES_A_DELETE = 100


def feed(journal: Path, store: Path) -> dict[str, float]:
    """Record every span, and wait until the queue behind them is empty; making the tables is not timed."""
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    mlflow.set_experiment("benchmarks")
    start = time.perf_counter()
    running: dict[str, LiveSpan] = {}
    calls = 0
    for step in steps(journal):
        if step.end_ms is None:
            parent = running.get(step.parent_id or "")
            running[step.span_id] = mlflow.start_span_no_context(
                step.name,
                span_type=SpanType.CHAT_MODEL if step.is_call else SpanType.CHAIN,
                parent_span=parent,
                inputs=parsed(step.request) if step.is_call else None,
                attributes=dict(step.attributes),
                metadata={"mlflow.trace.session": step.conversation_id} if parent is None else None,
                start_time_ns=int(step.start_ms * _NS),
            )
        else:
            span = running.pop(step.span_id)
            outputs = parsed(step.response) if step.is_call else None
            span.end(outputs=outputs, attributes=dict(step.attributes), end_time_ns=int(step.end_ms * _NS))
            calls += step.is_call
            if step.is_call and calls % _CALLS_A_FLUSH == 0:
                mlflow.flush_trace_async_logging()
    mlflow.flush_trace_async_logging()
    return {"calls": calls, "wall_s": time.perf_counter() - start}


def delete(cutoff_ms: int, store: Path) -> dict[str, float]:
    """Delete the traces that started before a time, by the client's own call."""
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("benchmarks")
    start = time.perf_counter()
    deleted = 0
    older = {"max_timestamp_millis": cutoff_ms - 1, "max_traces": _TRACES_A_DELETE}
    while gone := client.delete_traces(experiment.experiment_id, **older):
        deleted += gone
    return {"deleted": deleted, "wall_s": time.perf_counter() - start}


if __name__ == "__main__":
    main("mlflow", feed, delete)
