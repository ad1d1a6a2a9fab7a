"""OTLP over loopback into `tracestore serve`: sustained spans of 20 KB, re-sent ones; kill -9 behind the last 200."""

import itertools
import os
import random
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.corpora.texts import prose
from benchmarks.harness import Figure, Options, at_least, at_most, ratios, settle
from benchmarks.serving import Serving, acknowledged_after_kill, post, span_id, stored, traces

CONTENT_BYTES = 20_000
SPANS = 16
"""Of one request: 330 KB, what an exporter's batch of a busy application has."""
CONNECTIONS = 4
STEADY_MB_S = 25.0
"""A quarter above the bar, so that what is measured is not only that clients send that fast."""
RESENT = 10
"""Every so many requests one is sent twice, as by a client whose answer was lost."""
BASELINE_REQUESTS = 300
KILLED_SPANS = 200
CATCH_UP_S = 60.0
NOTE = "the client runs on the same two cores and builds its requests meanwhile"


@dataclass(frozen=True, slots=True)
class _Round:
    acknowledged_mb_s: float
    collected_mb_s: float
    behind_s: float
    most_lag_mb: float
    missing: int
    doubled: int
    baseline_mb_s: float


def run(options: Options) -> list[Figure]:
    """Send for some seconds, wait until all is in the store, look whether it is there; then the kills."""
    seconds = options.pick(5.0, 20.0)
    flat_out = [_round(options, seconds, None) for _ in range(options.slow_rounds)]
    steady = [_round(options, seconds, STEADY_MB_S) for _ in range(options.slow_rounds)]
    collected = [each.collected_mb_s for each in flat_out]
    baseline = [each.baseline_mb_s for each in flat_out]
    every = [*flat_out, *steady]
    return [
        Figure("acknowledged, flat out", "MB/s", [each.acknowledged_mb_s for each in flat_out], at_least(20), NOTE),
        Figure("collected, flat out", "MB/s", collected, at_least(20), "from the first request to the last row"),
        Figure("caught up after the last request", "s", [each.behind_s for each in flat_out]),
        Figure("most lag, flat out", "MB", [each.most_lag_mb for each in flat_out], note="acknowledged, not collected"),
        Figure("acknowledged, steady", "MB/s", [each.acknowledged_mb_s for each in steady], at_least(20)),
        Figure("most lag, steady", "MB", [each.most_lag_mb for each in steady], at_most(2 * STEADY_MB_S)),
        Figure("append and fsync of each request", "MB/s", baseline, note="the same bytes into a file, one writer"),
        Figure("collected over append and fsync", "x", ratios(collected, baseline), against="append and fsync"),
        Figure("acknowledged spans that are missing", "spans", [float(each.missing) for each in every], at_most(0)),
        Figure("records twice, or of half a span", "records", [float(each.doubled) for each in every], at_most(0)),
        _kills(options),
    ]


def _kills(options: Options) -> Figure:
    found = []
    for _ in range(options.pick(2, 20)):
        acknowledged, there = acknowledged_after_kill(options.directory("killed") / "store", KILLED_SPANS)
        found.append(float(there - (KILLED_SPANS - acknowledged)))
    note = f"of {KILLED_SPANS}, one a request, in the worst of {len(found)} runs; killed right behind the last 200"
    return Figure("acknowledged spans after kill -9", "spans", [min(found)], at_least(KILLED_SPANS), note)


def _round(options: Options, seconds: float, pace_mb_s: float | None) -> _Round:
    """Send for so long, as fast as it goes or at a pace."""
    directory = options.directory("otlp")
    rng = random.Random(1)
    contents = [prose(rng, CONTENT_BYTES) for _ in range(64)]
    baseline = _baseline(directory / "plain", contents)
    settle()
    serving = Serving(directory / "store")
    start = time.perf_counter()
    load = _Load(serving, contents, pace_mb_s)
    load.run(seconds)
    end = time.perf_counter()
    while _collected(serving) < load.records and time.perf_counter() < end + CATCH_UP_S:
        time.sleep(0.02)
    caught_up = time.perf_counter()
    serving.stop()
    there = stored(serving.store)
    wanted = set(map(span_id, load.acknowledged))
    size_mb = load.size_bytes / 1e6
    return _Round(
        acknowledged_mb_s=size_mb / (end - start),
        collected_mb_s=size_mb / (caught_up - start),
        behind_s=caught_up - end,
        most_lag_mb=max(load.lags_mb),
        missing=len(wanted - there),
        doubled=_records(serving.store) - 2 * len(there),
        baseline_mb_s=baseline,
    )


class _Load:
    """Clients on connections of their own that send until a deadline; and what was acknowledged."""

    def __init__(self, serving: Serving, contents: list[str], pace_mb_s: float | None) -> None:
        self.acknowledged: set[int] = set()
        """Numbers of spans."""
        self.resent = 0
        """Spans that were acknowledged a second time."""
        self.size_bytes = 0
        """Of acknowledged requests, those sent again not counted."""
        self.lags_mb = [0.0]
        """What was acknowledged and not yet collected, every half second."""
        self._serving = serving
        self._contents = contents
        self._pace_mb_s = pace_mb_s
        self._numbers = itertools.count()
        self._held = threading.Lock()

    @property
    def records(self) -> int:
        """What the collector has to go through, twice what was sent twice."""
        return 2 * (len(self.acknowledged) + self.resent)

    def run(self, seconds: float) -> None:
        """Send for so long."""
        start = time.perf_counter()
        clients = [threading.Thread(target=self._send, args=(start, start + seconds)) for _ in range(CONNECTIONS)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            for client in clients:
                client.join(0.5 / CONNECTIONS)
            behind = 1 - _collected(self._serving) / max(1, self.records)
            self.lags_mb.append(max(0.0, behind) * self.size_bytes / 1e6)

    def _send(self, start: float, deadline: float) -> None:
        connection = self._serving.connect()
        while time.perf_counter() < deadline:
            number = next(self._numbers)
            spans = range(number * SPANS, (number + 1) * SPANS)
            payload = traces(spans, self._contents[number % len(self._contents)])
            if self._pace_mb_s is not None:
                due = start + number * len(payload) / 1e6 / self._pace_mb_s
                time.sleep(max(0.0, due - time.perf_counter()))
            self._deliver(connection, payload)
            is_again = number % RESENT == 0
            if is_again:
                self._deliver(connection, payload)
            with self._held:
                self.acknowledged.update(spans)
                self.size_bytes += len(payload)
                self.resent += SPANS if is_again else 0
        connection.close()

    def _deliver(self, connection: HTTPConnection, payload: bytes) -> None:
        """Send until it is acknowledged, as an exporter does."""
        while (status := post(connection, payload)) == 503:
            time.sleep(0.1)
        if status != 200:
            raise RuntimeError(f"wanted 200, found {status}")


def _collected(serving: Serving) -> int:
    collected = serving.health()["collected"]
    return int(collected["inserted"] + collected["duplicates"])


def _records(store: Path) -> int:
    from tracestore import TraceStore

    with TraceStore(store, read_only=True) as opened:
        return int(opened.sql("SELECT count(*) FROM records").rows[0][0])


def _baseline(path: Path, contents: list[str]) -> float:
    """Append requests to a file, each with a sync; returns MB/s."""
    payloads = [traces(range(n * SPANS, (n + 1) * SPANS), content) for n, content in enumerate(contents)]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    settle()
    start = time.perf_counter()
    size_bytes = 0
    for number in range(BASELINE_REQUESTS):
        size_bytes += os.write(fd, payloads[number % len(payloads)])
        os.fdatasync(fd)
    seconds = time.perf_counter() - start
    os.close(fd)
    return size_bytes / 1e6 / seconds
