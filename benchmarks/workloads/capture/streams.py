"""Streamed provider calls with and without capture: time, and the bytes that are held meanwhile."""

import json
import multiprocessing
import socketserver
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from benchmarks.harness import Figure, Options, at_most, ratios, settle
from tracestore.capture import CaptureTransport, Recorder

CHUNKS = 2_000
EVENT = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
"""Of a chunk; with one word it has 150 bytes on the wire."""
PACE_S = 0.00025
"""Between two chunks: ten times as fast as providers are."""
LARGE_CHUNK_BYTES = 4_000
"""Where memory is counted: so large that what Python adds to a chunk does not matter."""
MB = 1e6


class _Times(NamedTuple):
    """Of one call."""

    wall_ms: float
    cpu_ms: float
    """Of the thread that calls."""


_Sides: TypeAlias = Callable[[str, Recorder, ExitStack], dict[str, Callable[[], None]]]


def run(options: Options) -> list[Figure]:
    """Stream the same answer with capture and without, by turns, to clients that do more and less with it."""
    if missing := [name for name in ("httpx2", "openai") if find_spec(name) is None]:
        print(f"capture: streamed calls need {' and '.join(missing)}; left out", file=sys.stderr)
        return []
    kinds: tuple[tuple[str, _Sides, int, float | None], ...] = (
        ("OpenAI's client, flat out", _openai, options.pick(10, 40), 1.03),
        ("httpx2, a chunk in 0.25 ms", partial(_httpx2, "paced"), options.pick(5, 10), 1.03),
        ("httpx2, flat out", partial(_httpx2, "fast"), options.pick(30, 150), None),
    )
    figures = list[Figure]()
    with _serving() as url, ExitStack() as opened:
        recorder = opened.enter_context(Recorder(options.directory("streams") / "journal", extension_id="bench"))
        for name, clients, calls, limit in kinds:
            sides = clients(url, recorder, opened)
            times = [_round(sides, recorder, calls) for _ in range(options.rounds + 1)][1:]
            plain, captured = ([each[side] for each in times] for side in ("plain", "captured"))
            note = f"{CHUNKS:,} chunks of 150 bytes, {calls} calls a round"
            bar = None if limit is None else at_most(limit)
            figures += [
                Figure(f"streamed call, {name}", "ms", [each.wall_ms for each in plain], note=note),
                Figure(f"added by capture, {name}", "ms", _added_ms(captured, plain), note="processor time"),
                Figure(f"captured over not, {name}", "x", _wall_ratios(captured, plain), bar, against="no capture"),
            ]
        return figures + _memory(url, options.directory("memory") / "journal")


def _httpx2(kind: str, url: str, recorder: Recorder, opened: ExitStack) -> dict[str, Callable[[], None]]:
    import httpx2

    def read(client: Any) -> None:
        with client.stream("POST", f"{url}/{kind}", json={"model": "gpt-5", "stream": True}) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    json.loads(line.removeprefix("data: "))

    plain = opened.enter_context(httpx2.Client(transport=httpx2.HTTPTransport()))
    captured = opened.enter_context(httpx2.Client(transport=CaptureTransport(recorder)))
    return {"plain": partial(read, plain), "captured": partial(read, captured)}


def _openai(url: str, recorder: Recorder, opened: ExitStack) -> dict[str, Callable[[], None]]:
    from openai import DefaultHttpxClient, OpenAI

    def read(client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "Why?"}]
        for _ in client.chat.completions.create(model="gpt-5", messages=messages, stream=True):
            pass

    clients = {
        "plain": DefaultHttpxClient(),
        "captured": DefaultHttpxClient(transport=CaptureTransport(recorder)),
    }
    sides = dict[str, Callable[[], None]]()
    for name, http_client in clients.items():
        client = opened.enter_context(OpenAI(base_url=url, api_key="none", http_client=http_client))
        sides[name] = partial(read, client)
    return sides


def _round(sides: Mapping[str, Callable[[], None]], recorder: Recorder, calls: int) -> dict[str, _Times]:
    """Call each side by turns; returns the median of each."""
    times: dict[str, list[_Times]] = {name: [] for name in sides}
    settle()
    for number in range(calls):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start, cpu = time.perf_counter(), time.thread_time()
            sides[name]()
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - start
            times[name].append(_Times(wall * 1000, cpu * 1000))
            recorder.flush()  # so that no call pays for writing down the one before
    return {name: _Times(*map(statistics.median, zip(*found, strict=True))) for name, found in times.items()}


def _wall_ratios(captured: Sequence[_Times], plain: Sequence[_Times]) -> list[float]:
    return ratios([each.wall_ms for each in captured], [each.wall_ms for each in plain])


def _added_ms(captured: Sequence[_Times], plain: Sequence[_Times]) -> list[float]:
    return [more.cpu_ms - less.cpu_ms for more, less in zip(captured, plain, strict=True)]


def _memory(url: str, journal: Path) -> list[Figure]:
    """Read an answer of several megabytes and keep nothing of it; count what is allocated before its end, and at it."""
    import httpx2

    body_bytes = CHUNKS * LARGE_CHUNK_BYTES
    peaks = dict[str, tuple[float, float]]()
    with Recorder(journal, extension_id="bench") as recorder:
        for name, transport in (("plain", httpx2.HTTPTransport()), ("captured", CaptureTransport(recorder))):
            with httpx2.Client(transport=transport) as client:
                for _ in range(2):  # the first imports, compiles and connects
                    peaks[name] = _peak_bytes(client, url, body_bytes)
                    recorder.flush()
    held, at_end = ((c - p) / body_bytes for c, p in zip(peaks["captured"], peaks["plain"], strict=True))
    note = f"{body_bytes / MB:.0f} MB in {CHUNKS:,} chunks; more than without capture"
    return [
        Figure("bodies held while it streams", "x", [held], at_most(1.1), note),
        Figure("bodies held at its end, for a moment", "x", [at_end], note="decoded, masked, written as a line"),
    ]


def _peak_bytes(client: Any, url: str, body_bytes: int) -> tuple[float, float]:
    tracemalloc.start()
    try:
        with client.stream("POST", f"{url}/large", json={"model": "gpt-5"}) as response:
            read_bytes = 0
            before_end = 0
            for chunk in response.iter_bytes():
                read_bytes += len(chunk)
                if read_bytes == body_bytes:
                    before_end = tracemalloc.get_traced_memory()[1]
        return before_end, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def _serving() -> Iterator[str]:
    """Serve on loopback from a process of its own; gives the address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.kill()
        process.join()


def _serve(parent: Connection) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Streaming) as server:
        server.daemon_threads = True
        parent.send(server.server_address[1])
        server.serve_forever()


class _Streaming(socketserver.StreamRequestHandler):
    """Answers each request with events, chunk by chunk, as fast as they are read or at a pace."""

    disable_nagle_algorithm = True
    wbufsize = 0

    def handle(self) -> None:
        while request := self.rfile.readline():
            length = 0
            while (line := self.rfile.readline().lower()) not in (b"\r\n", b""):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.rfile.read(length)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.wfile.write(head)
            for chunk in _chunks(is_large=b"/large" in request):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if b"/paced" in request:
                    time.sleep(PACE_S)
            self.wfile.write(b"0\r\n\r\n")


def _chunks(*, is_large: bool) -> Iterator[bytes]:
    for number in range(CHUNKS):
        event = EVENT | {"choices": [{"index": 0, "delta": {"content": f" word {number:06}"}}]}
        data = f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
        if is_large:
            yield data.ljust(LARGE_CHUNK_BYTES)
        else:
            yield data if number < CHUNKS - 1 else b"data: [DONE]\n\n"
