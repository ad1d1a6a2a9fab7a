"""What children of the state machine do until they die: at a step, at the latest at the end."""

import os
import signal
from pathlib import Path

from tests.faults import acks, steps, workload
from tests.faults.expected import Record
from tracestore import RetentionPolicy, TraceStore

PACKED_FROM = 4
"""So many new bodies at once become a pack."""


def insert_and_die(
    home: Path, batches: list[list[Record]], now_ns: int, step: str, when: steps.When, nth: int
) -> None:
    """Insert batches, each acknowledged, and die at a step."""
    steps.kill_at(step, when, nth)
    ack = acks.appending_to(home / "acks")
    with workload.scaled_down(PACKED_FROM), TraceStore(home / "store", now_ns=lambda: now_ns) as store:
        for batch in batches:
            store.insert_records(batch)
            ack({"op": "inserted"})
        store.stats()
        os.kill(os.getpid(), signal.SIGKILL)


def prune_and_die(
    home: Path, max_age_ms: int, cap_bytes: int, now_ns: int, step: str, when: steps.When, nth: int
) -> None:
    """Prune by age and by size, and die at a step."""
    steps.kill_at(step, when, nth)
    ack = acks.appending_to(home / "acks")
    with workload.scaled_down(PACKED_FROM), TraceStore(home / "store", now_ns=lambda: now_ns) as store:
        store.prune(RetentionPolicy(max_age=max_age_ms, max_total_body_bytes=cap_bytes), force=True)
        ack({"op": "pruned"})
        os.kill(os.getpid(), signal.SIGKILL)


def pack_and_die(home: Path, grace_ms: int, unpacks: bool, now_ns: int, step: str, when: steps.When, nth: int) -> None:
    """Pack, or unpack, and die at a step."""
    steps.kill_at(step, when, nth)
    with workload.scaled_down(PACKED_FROM), TraceStore(home / "store", now_ns=lambda: now_ns) as store:
        (store.unpack if unpacks else store.pack)(grace_ms=grace_ms)
        os.kill(os.getpid(), signal.SIGKILL)
