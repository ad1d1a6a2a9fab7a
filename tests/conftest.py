"""Stores, a clock that is told the time, and builders of records and journal lines."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracestore import TraceStore
from tracestore.collector import Collector

REPOSITORY = Path(__file__).resolve().parent.parent
NOW_MS = 1_772_413_967_075
DAY_MS = 86_400_000


class PromptStore(TraceStore):
    """Makes rows of what is inserted at once, for tests that look behind the store's back."""

    def insert_records(self, records: Any) -> Any:
        summary = super().insert_records(records)
        self._settle()
        return summary


class Clock:
    """Says the time that it was told last."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms * 1_000_000

    def forward(self, *, days: float = 0, ms: int = 0) -> None:
        self.now_ms += int(days * DAY_MS) + ms


class Make:
    """Builds records as dicts in the journal's JSON shape, each with what its kind requires."""

    def log(self, at_ms: int = NOW_MS, msg: str = "hello", **members: Any) -> dict[str, Any]:
        return {"kind": "log", "timestamp": at_ms, "extensionId": "app", "level": "info", "msg": msg} | members

    def opened(self, span_id: str, at_ms: int = NOW_MS, name: str = "step", **members: Any) -> dict[str, Any]:
        required = {"kind": "span-open", "timestamp": at_ms, "extensionId": "app", "spanId": span_id, "name": name}
        return required | members

    def closed(self, span_id: str, at_ms: int = NOW_MS, name: str = "step", **members: Any) -> dict[str, Any]:
        required = {"kind": "span-close", "timestamp": at_ms, "extensionId": "app", "spanId": span_id, "name": name}
        return required | {"durationMs": 100, "status": "ok"} | members

    def turn(self, turn_id: str, at_ms: int = NOW_MS, **bodies: str | bytes) -> list[dict[str, Any]]:
        """A turn of one span with a log in it; `request` and `response` are the bodies of the span."""
        about = {"turnId": turn_id, "conversationId": f"c-{turn_id}"}
        request = {"body": bodies["request"]} if "request" in bodies else {}
        response = {"body": bodies["response"]} if "response" in bodies else {}
        return [
            self.opened(f"s-{turn_id}", at_ms, **about, **request),
            self.log(at_ms + 10, f"in {turn_id}", parentSpanId=f"s-{turn_id}", **about),
            self.closed(f"s-{turn_id}", at_ms + 100, **about, **response),
        ]

    def line(self, record: dict[str, Any]) -> bytes:
        """A record as another program writes it: ASCII, a newline at the end."""
        return json.dumps(record).encode() + b"\n"

    def lines(self, count: int, start: int = 0, **members: Any) -> bytes:
        """That many different log lines."""
        return b"".join(self.line(self.log(NOW_MS + n, f"line {n}", **members)) for n in range(start, start + count))

    def body(self, number: int, size_bytes: int = 6000) -> str:
        """A body of its own for each number, which compresses hardly at all."""
        return os.urandom(size_bytes // 2).hex() + f"#{number}"


class Collecting:
    """One collector on one journal, and everything it reported."""

    def __init__(self, store: TraceStore, journal: Path, **options: Any) -> None:
        self.events: list[Any] = []
        self.collector = Collector(store, str(journal), self.events.append, **options)

    def drain(self) -> "Collecting":
        self.collector.drain()
        return self

    def run_until(self, is_done: Callable[[], bool], seconds: float = 20) -> None:
        """Run the collector in a thread of its own until something is true."""
        stop = threading.Event()
        thread = threading.Thread(target=self.collector.run, args=(stop,))
        thread.start()
        waited = threading.Event()
        for _ in range(int(seconds / 0.01)):
            if is_done() or not thread.is_alive():
                break
            waited.wait(0.01)
        stop.set()
        thread.join(seconds)
        assert not thread.is_alive()

    def of(self, kind: type) -> list[Any]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def close(self) -> None:
        self.collector.close()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_MS)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., TraceStore]]:
    """`open_store()` opens the store of this test, again and again; all are closed at the end."""
    opened: list[TraceStore] = []

    def open_one(name: str = "store", **options: Any) -> TraceStore:
        opened.append(PromptStore(tmp_path / name, **({"now_ns": clock} | options)))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., TraceStore]) -> TraceStore:
    return open_store()


@pytest.fixture
def memory_store(clock: Clock) -> Iterator[TraceStore]:
    with PromptStore.memory(now_ns=clock) as store:
        yield store


@pytest.fixture
def collecting() -> Iterator[Callable[..., Collecting]]:
    """`collecting(store, journal)` starts a collector."""
    started: list[Collecting] = []

    def start(store: TraceStore, journal: Path, **options: Any) -> Collecting:
        started.append(Collecting(store, journal, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python("-c", code)` runs another process of this interpreter over this checkout."""

    def run(*arguments: object, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def now_ms() -> int:
    return NOW_MS
