"""Asking a store while it is collected into: small queries beside ingest, many readers, the start of a large one."""

import json
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.corpora.journal import write_lines
from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.harness import Figure, Options, at_most, ratios
from benchmarks.serving import Serving
from tracestore import TraceStore
from tracestore.collector import Collector

READERS = 16
QUERIES = 200
"""Of a side; the 95th percentile of fewer is one of the slowest."""
PART_LINES = 2_000
SMALL_QUERY = "SELECT name, status FROM spans WHERE turn_id = '{turn}' LIMIT 10"
READS = [
    ("POST", "/v1/sql", "SELECT count(*) AS n FROM records"),
    ("POST", "/v1/sql", "SELECT model, sum(input_tokens) FROM requests GROUP BY ALL"),
    ("GET", "/v1/turns?limit=5", None),
    ("GET", "/v1/view/{turn}", None),
    ("GET", "/v1/turns/{turn}?bodies=true", None),
    ("GET", "/v1/stats", None),
]


def run(options: Options) -> list[Figure]:
    """Time a query alone and beside ingest, let readers and a writer loose on one store, start a large one."""
    idle_ms, busy_ms = zip(*(_beside(options) for _ in range(options.slow_rounds)), strict=True)
    load = [_load(options) for _ in range(options.slow_rounds)]
    ready_s, bare_s = zip(*(_start(options) for _ in range(options.slow_rounds)), strict=True)
    records = options.pick(100_000, 1_000_000)
    return [
        Figure("small query over HTTP, idle, p95", "ms", list(idle_ms)),
        Figure("small query over HTTP, ingest flat out, p95", "ms", list(busy_ms)),
        Figure("beside ingest over idle, p95", "x", ratios(busy_ms, idle_ms), at_most(5), against="idle"),
        Figure("answers to 16 readers, no error", "/s", [each["answers"] for each in load]),
        Figure("records written meanwhile", "/s", [each["records"] for each in load]),
        Figure("records missing afterwards", "records", [each["missing"] for each in load], at_most(0)),
        Figure(f"start to ready with {records:,} records", "s", list(ready_s), at_most(1)),
        Figure("the same with none", "s", list(bare_s)),
    ]


def _beside(options: Options) -> tuple[float, float]:
    """Return the 95th percentile of a small query, alone and beside ingest."""
    directory = options.directory("live")
    waiting = write_lines(directory / "waiting.ndjson", ToolAgent(records=options.pick(150_000, 400_000)).lines())
    serving = Serving(directory / "store")
    try:
        _append(serving, waiting, lines=20_000)
        _until(lambda: serving.health()["collected"]["inserted"] >= 20_000)
        turn = _turns(serving)[0]
        query = SMALL_QUERY.replace("{turn}", turn)
        idle = _times_ms(serving, query, lambda: False)
        over = threading.Event()
        writer = threading.Thread(target=lambda: (_append(serving, waiting, skip=20_000), over.set()))
        writer.start()
        busy = _times_ms(serving, query, lambda: over.is_set() and not serving.health()["lag_bytes"])
        writer.join()
    finally:
        serving.stop()
    return _p95(idle), _p95(busy)


def _load(options: Options) -> dict[str, float]:
    """Ask with sixteen readers while one writer appends, for a time; an error ends the run."""
    seconds = options.pick(5.0, 60.0)
    directory = options.directory("load")
    source = write_lines(directory / "source.ndjson", ToolAgent(records=options.pick(100_000, 1_000_000)).lines())
    serving = Serving(directory / "store")
    answers, errors, written = [0], list[str](), [0]
    try:
        _append(serving, source, lines=PART_LINES)
        _until(lambda: serving.health()["collected"]["inserted"] >= PART_LINES)
        turns = _turns(serving)
        deadline = time.monotonic() + seconds

        def read(number: int) -> None:
            connection = serving.connect()
            for count in range(10**9):
                if time.monotonic() > deadline:
                    return
                method, path, sql = READS[(number + count) % len(READS)]
                path = path.replace("{turn}", turns[count % len(turns)])
                status, body = _ask(connection, method, path, sql)
                answers[0] += 1
                if status != 200:
                    errors.append(f"{path}: {status} {body[:200]!r}")

        readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
        for reader in readers:
            reader.start()
        written[0] = PART_LINES + _append(serving, source, skip=PART_LINES, until=lambda: time.monotonic() > deadline)
        for reader in readers:
            reader.join()
    finally:
        serving.stop()
    with TraceStore(directory / "store", read_only=True) as store:
        there = store.stats()["records"]
    if errors:
        raise RuntimeError(f"wanted answers to {READERS} readers, found {len(errors)} errors: {errors[0]}")
    rates = {"answers": answers[0] / seconds, "records": written[0] / seconds}
    return rates | {"missing": float(written[0] - there)}


def _start(options: Options) -> tuple[float, float]:
    """Return how long a large store takes from the start of its process to being ready, and an empty one."""
    directory = options.directory("start")
    journal = write_lines(directory / "a.ndjson", ToolAgent(records=options.pick(100_000, 1_000_000)).lines())
    with TraceStore(directory / "large") as store:
        collector = Collector(store, str(journal), lambda event: None)
        collector.drain()
        collector.close()
    TraceStore(directory / "empty").close()
    return _ready_s(directory / "large"), _ready_s(directory / "empty")


def _ready_s(store: Path) -> float:
    begun = time.perf_counter()
    serving = Serving(store)
    try:
        _until(lambda: _ask(serving.connect(), "GET", "/v1/ready", None)[0] == 200, every_s=0.005)
        return time.perf_counter() - begun
    finally:
        serving.stop()


def _times_ms(serving: Serving, query: str, is_over: Callable[[], bool]) -> list[float]:
    connection = serving.connect()
    times: list[float] = []
    while len(times) < QUERIES and not (len(times) % 20 == 19 and is_over()):
        begun = time.perf_counter()
        status, body = _ask(connection, "POST", "/v1/sql", query)
        times.append((time.perf_counter() - begun) * 1000)
        if status != 200:
            raise RuntimeError(f"wanted an answer, found {status}: {body[:200]!r}")
    return times


def _append(
    serving: Serving, source: Path, *, skip: int = 0, lines: int = 10**9, until: Callable[[], bool] = lambda: False
) -> int:
    """Append lines of a file to the store's journal, as an application does; returns how many."""
    written = 0
    with source.open("rb") as lines_of, (serving.store / "journal" / "app.ndjson").open("ab", 0) as journal:
        part: list[bytes] = []
        for number, line in enumerate(lines_of):
            if number < skip:
                continue
            if number >= skip + lines or until():
                break
            part.append(line)
            if len(part) == PART_LINES:
                written += len(part)
                journal.write(b"".join(part))
                part.clear()
        journal.write(b"".join(part))
    return written + len(part)


def _turns(serving: Serving) -> list[str]:
    _, body = _ask(serving.connect(), "GET", "/v1/turns?limit=20", None)
    return [turn["id"] for turn in json.loads(body)]


def _ask(connection: HTTPConnection, method: str, path: str, sql: str | None) -> tuple[int, bytes]:
    headers: dict[str, Any] = {} if sql is None else {"Content-Type": "text/plain"}
    connection.request(method, path, sql, headers)
    response = connection.getresponse()
    return response.status, response.read()


def _p95(times_ms: list[float]) -> float:
    return sorted(times_ms)[int(len(times_ms) * 0.95)]


def _until(is_true: Callable[[], bool], *, every_s: float = 0.05, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise RuntimeError("waited in vain")
        time.sleep(every_s)
