"""Products that people use today, doing the same work on the same journal.

A peer is a release on PyPI and a module of this package that feeds it. The module runs as a script in a virtual
environment of the peer's own (`environment`), so it imports the standard library, the peer, and of this
project only `calls` and `feeding`. It is given provider calls with everything that was sent and received, in the way
the peer's own users would hand them over, and keeps what it makes in ``DIRECTORY/store``::

    python -m benchmarks.peers.NAME feed JOURNAL DIRECTORY       {"wall_s", "calls", "peak_rss_bytes", "version"}
    python -m benchmarks.peers.NAME delete CUTOFF_MS DIRECTORY   {"wall_s", "deleted", "peak_rss_bytes", "version"}

Nothing is sent to the network: telemetry is off, servers listen on 127.0.0.1.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One product, and what a reader has to know before comparing it."""

    name: str
    """Of its module here and of its environment."""
    title: str
    """As a table shows it."""
    requirement: str
    """What is installed: one release."""
    durability: str
    """What is safe when it says that it is done."""
    unlike: str
    """What in the comparison of bytes is not like for like."""
    can_delete: bool = False
    """Whether it has a way to delete what is older than a time."""


PEERS = (
    Peer(
        "phoenix",
        "Phoenix",
        "arize-phoenix==20.26.1",
        durability="answers 200 before anything is stored, SQLite synchronous=OFF; timed until all are in its database",
        unlike="a request twice: as input.value and as flattened messages, as its instrumentations send it; no logs",
        can_delete=True,
    ),
    Peer(
        "mlflow",
        "MLflow",
        "mlflow==3.17.2",
        durability="a queue in memory, SQLite synchronous=FULL behind it; timed until the queue is empty",
        unlike="inputs and outputs of spans as JSON text; no logs",
        can_delete=True,
    ),
    Peer(
        "llm",
        "llm",
        "llm==0.36",
        durability="SQLite synchronous=FULL, one transaction a call",
        unlike="messages alone: no raw request or response, no tool definitions, no spans; nothing verbatim",
    ),
    Peer(
        "inspect",
        "Inspect .eval",
        "inspect-ai==0.3.285",
        durability="one file written whole at the end, no fsync",
        unlike="one file, written at once for the whole journal; no append, no delete; JSON values, not bytes",
    ),
)  # fmt: skip
