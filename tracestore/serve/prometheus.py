"""What a monitoring system reads: counters and sizes in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracestore.errors import TraceStoreError
from tracestore.serve.answering import in_thread

if TYPE_CHECKING:
    from tracestore.serve.health import Status
    from tracestore.serve.receiver import Received
    from tracestore.store import TraceStore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Family: TypeAlias = tuple[str, str, str, Mapping[str, float]]
"""Name, type, what it is, and a number for each set of labels; the labels as they are written."""


async def answer_metrics(request: Request) -> Response:
    """Counters and sizes, for Prometheus."""
    state = request.app.state

    def measure() -> str:
        families = [*_of_collector(state.status, state.lag_bytes()), *_of_receiver(state.received)]
        return exposition([*families, *_of_store(state.status, state.store)])

    # Given as a header: Starlette would write the charset a second time.
    return Response(await in_thread(measure), headers={"Content-Type": CONTENT_TYPE})


ROUTES = [Route("/metrics", answer_metrics)]


def exposition(families: Iterable[Family]) -> str:
    """Write families of metrics as Prometheus reads them."""
    lines: list[str] = []
    for name, type_, about, samples in families:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {type_}"]
        lines += [f"{name}{labels} {value}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"


def _of_collector(status: "Status", lag_bytes: int) -> Iterator[Family]:
    results = {"inserted": status.inserted, "duplicate": status.duplicates, "rejected": status.rejected}
    yield "tracestore_records_total", "counter", "Journal lines collected, by what became of them.", {
        f'{{result="{result}"}}': count for result, count in results.items()
    }
    yield "tracestore_lag_bytes", "gauge", "Journal bytes that are not in the store yet.", {"": lag_bytes}
    yield "tracestore_torn_bytes", "gauge", "Bytes of unfinished journal lines.", {"": status.torn_bytes}
    yield "tracestore_start_time_seconds", "gauge", "When this process started.", {"": status.started_s}
    yield "tracestore_prunes_total", "counter", "Prunes, by how they ended.", {
        '{result="done"}': status.prunes,
        '{result="failed"}': status.failed_prunes,
    }
    pruned = status.pruned
    yield "tracestore_pruned_records_total", "counter", "Records that expired.", {"": pruned.records_deleted}
    yield "tracestore_pruned_bodies_total", "counter", "Bodies that prunes removed, by why.", {
        '{reason="expired"}': pruned.bodies_deleted - pruned.bodies_evicted,
        '{reason="evicted"}': pruned.bodies_evicted,
    }
    # A pack that is written anew takes more until the old one goes, so the sum can fall: no counter.
    yield "tracestore_pruned_bytes", "gauge", "Bytes given back to the disk by prunes of this run.", {
        "": pruned.bytes_reclaimed
    }


def _of_receiver(received: "Received") -> Iterator[Family]:
    yield "tracestore_otlp_accepted_total", "counter", "Spans, logs and metric points acknowledged, by signal.", {
        f'{{signal="{signal}"}}': count for signal, count in sorted(received.accepted.items())
    }
    yield "tracestore_otlp_rejected_total", "counter", "Spans, logs and metric points refused, by signal.", {
        f'{{signal="{signal}"}}': count for signal, count in sorted(received.rejected.items())
    }
    yield "tracestore_otlp_failed_requests_total", "counter", "OTLP requests that were not answered with 200.", {
        '{result="refused"}': received.refused_requests,
        '{result="postponed"}': received.postponed_requests,
    }


def _of_store(status: "Status", store: "TraceStore") -> Iterator[Family]:
    """Give the sizes of the store; nothing of what a damaged one does not say, for the others matter then."""
    free = status.disk_free_bytes(store)
    if free is not None:
        yield "tracestore_disk_free_bytes", "gauge", "Free bytes on the disk of the store.", {"": free}
    try:
        stats = status.stats(store)
    except TraceStoreError:
        return
    for name, key, about in (
        ("tracestore_records", "records", "Records in the store."),
        ("tracestore_blob_bytes", "blob_bytes_on_disk", "Disk blocks that bodies take."),
        ("tracestore_body_bytes", "body_bytes", "Bytes of bodies, each as often as it was sent."),
        ("tracestore_unique_body_bytes", "unique_body_bytes", "Bytes of bodies, each once."),
        ("tracestore_database_bytes", "database_bytes", "Bytes of the database file and its log."),
        ("tracestore_evicted_bodies", "evicted_bodies", "Bodies that the byte cap took."),
        ("tracestore_lost_bodies", "lost_bodies", "Bodies that are lost."),
    ):
        yield name, "gauge", about, {"": stats[key]}
