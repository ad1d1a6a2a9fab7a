"""How the process does that collects and answers: what it did, how far behind it is, whether it is ready."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracestore.collector.events import (
    Collected,
    CollectFailed,
    Event,
    Idle,
    Packed,
    PackFailed,
    Pruned,
    PruneFailed,
    Torn,
)
from tracestore.errors import TraceStoreError, message_of
from tracestore.maintenance.summary import PruneSummary
from tracestore.serve.answering import json_answer
from tracestore.serve.failures import RETRY_AFTER_S
from tracestore.units import format_size_bytes
from tracestore.views.values import utc_text

if TYPE_CHECKING:
    from tracestore.store import TraceStore

READY_LAG_BYTES = 1 << 30
READY_FREE_BYTES = 64 << 20
DISK_WITHIN_S = 1.0
"""A disk that hangs must not make whoever watches this process think that it does."""
_DISK = ThreadPoolExecutor(1, "disk")
"""A thread of its own: where slow answers have all the others, the disk is none the worse for it."""
STATS_KEPT_S = 10.0
"""Counting a large store takes a scan; who asks again so soon gets the same figures."""


def free_bytes(path: Path) -> int:
    """Return the bytes that a process without privileges may still write on the disk of a path."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


class Status:
    """What a run of the collector did so far; call it with each event, from the collector's thread.

    Any thread may read it. Times are seconds since 1970, as ``now_s`` says them.
    """

    def __init__(self, *, now_s: Callable[[], float] = time.time, free: Callable[[Path], int] = free_bytes) -> None:
        self._now_s = now_s
        self._free = free
        self.started_s = now_s()
        self.inserted = self.duplicates = self.rejected = 0
        self._lag_bytes = 0
        self.collected_s: float | None = None
        """When the last batch went into the store."""
        self.has_looked = False
        """Whether the collector has been once round the journal, or on its way there into the store."""
        self.failure: str | None = None
        """Why the collector cannot go on; None while it can."""
        self.pruned = PruneSummary()
        """What all prunes of this run did."""
        self.prunes = self.failed_prunes = 0
        self.last_prune: dict[str, Any] | None = None
        self.last_pack: dict[str, Any] | None = None
        self._torn: dict[str, int] = {}
        self._stats: tuple[float, dict[str, Any]] | None = None
        self._counting = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Collected):
            self.inserted, self.duplicates = event.total_inserted, event.total_duplicates
            self.rejected, self._lag_bytes = event.total_rejected, event.waiting_bytes
            self.collected_s, self._torn = self._now_s(), {}
        elif isinstance(event, Idle):
            self._lag_bytes = 0
        elif isinstance(event, CollectFailed):
            self.failure, self._lag_bytes = message_of(event.error), event.waiting_bytes
        elif isinstance(event, Torn):
            self._torn = self._torn | {event.path: event.torn_bytes}
        elif isinstance(event, Pruned):
            self.prunes, self.pruned = self.prunes + 1, self.pruned + event.summary
            self.last_prune = self._noted(asdict(event.summary))
        elif isinstance(event, PruneFailed):
            self.failed_prunes += 1
            self.last_prune = self._noted(_failed(event.error))
        elif isinstance(event, Packed):
            self.last_pack = self._noted(asdict(event.report))
        elif isinstance(event, PackFailed):
            self.last_pack = self._noted(_failed(event.error))
        if isinstance(event, Collected | Idle):
            self.has_looked, self.failure = True, None

    def lag_bytes(self) -> int:
        """Return the journal bytes that the last look found and that are not in the store yet."""
        return self._lag_bytes

    @property
    def torn_bytes(self) -> int:
        """Bytes of unfinished lines, as reported since the last batch."""
        return sum(self._torn.values())

    @property
    def uptime_s(self) -> float:
        """Seconds since the start; never below zero, where the clock was set back."""
        return max(0.0, self._now_s() - self.started_s)

    def disk_free_bytes(self, store: "TraceStore") -> int | None:
        """Return what is free on the disk of a store; None where the disk does not say."""
        try:
            return self._free(store.path)
        except OSError:
            return None

    def stats(self, store: "TraceStore") -> dict[str, Any]:
        """Return `TraceStore.stats`, at most ten seconds old; whoever asks meanwhile waits for one count."""
        with self._counting:
            now_s = self._now_s()
            if self._stats is None or not 0 <= now_s - self._stats[0] < STATS_KEPT_S:
                self._stats = now_s, store.stats()
            return self._stats[1]

    def not_ready(self, lag_bytes: int, free: int | None) -> list[str]:
        """Return why requests should go elsewhere, or wait; nothing when it is ready."""
        size = format_size_bytes
        return [
            reason
            for reason, holds in (
                ("the collector has not looked at the journal yet", not self.has_looked),
                (f"the collector cannot go on, and tries again: {self.failure}", self.failure is not None),
                (f"the collector is {size(lag_bytes)} behind, {size(READY_LAG_BYTES)} or more",
                 lag_bytes >= READY_LAG_BYTES),
                ("the disk does not say how much is free", free is None),
                (f"the disk has {size(free or 0)} free, not more than {size(READY_FREE_BYTES)}",
                 free is not None and free <= READY_FREE_BYTES),
            )
            if holds
        ]  # fmt: skip

    def _noted(self, members: dict[str, Any]) -> dict[str, Any]:
        return {"at": _text(self._now_s())} | members


def release() -> str | None:
    """Return the version of this package; None where it is run from its sources."""
    try:
        return version("tracestore")
    except PackageNotFoundError:
        return None


async def answer_health(request: Request) -> Response:
    """How the process does; 200 as long as it lives."""
    state = request.app.state
    status: Status = state.status
    members = {
        "version": release(),
        "pid": os.getpid(),
        "started_at": _text(status.started_s),
        "uptime_s": round(status.uptime_s, 3),
        "lag_bytes": state.lag_bytes(),
        "torn_bytes": status.torn_bytes,
        "disk_free_bytes": await _free(state),
        "collected": {
            "inserted": status.inserted,
            "duplicates": status.duplicates,
            "rejected": status.rejected,
            "last_at": None if status.collected_s is None else _text(status.collected_s),
        },
        "received": state.received.to_json(),
        "last_prune": status.last_prune,
        "last_pack": status.last_pack,
    }
    return json_answer(members)


async def answer_ready(request: Request) -> Response:
    """Whether the store is open, collected into and not far behind: 200, or 503 with the reasons."""
    state = request.app.state
    reasons = state.status.not_ready(state.lag_bytes(), await _free(state))
    if reasons:
        return json_answer({"ready": False, "reasons": reasons}, 503, {"Retry-After": str(RETRY_AFTER_S)})
    return json_answer({"ready": True, "reasons": []})


ROUTES = [Route("/v1/health", answer_health), Route("/v1/ready", answer_ready)]


async def _free(state: State) -> int | None:
    """Return what is free on the disk of the store; None where it does not say, or not soon."""
    try:
        async with asyncio.timeout(DISK_WITHIN_S):
            asking = asyncio.get_running_loop().run_in_executor(_DISK, state.status.disk_free_bytes, state.store)
            free: int | None = await asking
            return free
    except TimeoutError:
        return None


def _failed(error: TraceStoreError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": message_of(error)}


def _text(seconds: float) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None), timespec="milliseconds")
