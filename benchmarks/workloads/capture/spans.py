"""What a span costs its caller: against a log handler that writes the same lines, and against serialising its body."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.corpora.coding_agent import SMALL_CONVERSATIONS, CodingAgent
from benchmarks.harness import Figure, Options, at_most, interleave, ratios
from tracestore.capture import Recorder

ATTRIBUTES = {"model": "claude-sonnet", "tool": "search", "inputTokens": 1234, "cached": True, "score": 0.25}
BODY_BYTES = range(150_000, 250_000)
US = 1e6


class Cost(NamedTuple):
    """Of one span, by side."""

    caller_us: float
    """Between call and return, by the wall."""
    cpu_us: float
    """Of the whole process, until all is written."""


def run(options: Options) -> list[Figure]:
    """Open and close spans, without a body and with one."""
    return [*_without_body(options), *_with_body(options)]


def _without_body(options: Options) -> list[Figure]:
    count = options.pick(10_000, 50_000)
    queued, direct = (_recorder(options, is_direct=is_direct) for is_direct in (False, True))
    members = _lines_of_one_span(options)
    lines = [json.dumps(each) for each in members]
    logger = _logger(options.directory("spans") / "log")
    sides: dict[str, Callable[[], object]] = {
        "span": lambda: queued.span("step", ATTRIBUTES).end(),
        "span, is_direct": lambda: direct.span("step", ATTRIBUTES).end(),
        "json.dumps and FileHandler": lambda: [logger.info(json.dumps(each)) for each in members],
        "FileHandler alone": lambda: [logger.info(line) for line in lines],
    }
    results = interleave(
        options.rounds, {name: partial(_cost, [call] * count, queued.flush) for name, call in sides.items()}
    )
    _close(queued)
    _close(direct)
    dumped, alone = ([cost.caller_us for cost in results[name]] for name in list(sides)[2:])
    note = "five attributes, two lines"
    figures = [Figure(f"{name}, caller", "us", [cost.caller_us for cost in results[name]], note=note) for name in sides]
    for name in ("span", "span, is_direct"):
        caller = [cost.caller_us for cost in results[name]]
        figures += [
            Figure(f"{name}, caller", "x", ratios(caller, dumped), at_most(2), against="json.dumps and FileHandler"),
            Figure(f"{name}, caller, over text", "x", ratios(caller, alone), note="text that was finished before"),
        ]
    cpu = [[cost.cpu_us for cost in results[name]] for name in ("span", "json.dumps and FileHandler")]
    return [*figures, Figure("span, processor time", "x", ratios(*cpu), note="with the thread that writes")]


def _with_body(options: Options) -> list[Figure]:
    bodies = list(islice(_bodies(), options.pick(40, 200)))
    recorder = _recorder(options)
    opened, closed = _lines_of_one_span(options)
    sides: dict[str, Callable[[str], object]] = {
        "span with a body": lambda body: recorder.span("step", ATTRIBUTES, body).end(),
        "json.dumps": lambda body: (json.dumps(opened | {"body": body}), json.dumps(closed)),
        "msgspec": lambda body: (msgspec.json.encode(opened | {"body": body}), msgspec.json.encode(closed)),
    }
    results = interleave(
        options.rounds,
        {
            name: partial(_cost, [partial(call, body) for body in bodies], recorder.flush)
            for name, call in sides.items()
        },
    )
    _close(recorder)
    caller = {name: [cost.caller_us for cost in costs] for name, costs in results.items()}
    mean_kb = sum(map(len, bodies)) / len(bodies) / 1000
    note = f"requests of a coding agent, {mean_kb:.0f} KB each"
    span, dumped, encoded = caller.values()
    return [
        *(Figure(f"{name}, caller", "us", values, note=note) for name, values in caller.items()),
        Figure("span with a body over json.dumps", "x", ratios(span, dumped), at_most(1.3), against="json.dumps"),
        Figure("span with a body over msgspec", "x", ratios(span, encoded), note="it masks and keeps nothing"),
    ]


def _cost(calls: Sequence[Callable[[], object]], finish: Callable[[], object]) -> Cost:
    cpu = time.process_time()
    start = time.perf_counter()
    for call in calls:
        call()
    caller = time.perf_counter() - start
    finish()
    return Cost(caller / len(calls) * US, (time.process_time() - cpu) / len(calls) * US)


def _recorder(options: Options, *, is_direct: bool = False) -> Recorder:
    return Recorder(options.directory("spans") / "journal", extension_id="bench", is_direct=is_direct)


def _lines_of_one_span(options: Options) -> list[dict[str, Any]]:
    """Return the two records of a span, as they stand in the journal."""
    journal = options.directory("spans") / "journal"
    with Recorder(journal, extension_id="bench") as recorder:
        recorder.span("step", ATTRIBUTES).end()
    (segment,) = journal.iterdir()
    return [json.loads(line) for line in segment.read_bytes().splitlines()]


def _logger(path: Path) -> logging.Logger:
    logger = logging.Logger("bench", logging.INFO)
    logger.addHandler(logging.FileHandler(path))
    return logger


def _close(recorder: Recorder) -> None:
    recorder.close()
    if recorder.dropped:  # what is not kept costs less
        raise RuntimeError(f"wanted every record, found dropped ones: {recorder.dropped}")


def _bodies() -> Iterator[str]:
    for line in CodingAgent(conversations=SMALL_CONVERSATIONS).lines():
        body = json.loads(line).get("body", "")
        if len(body) in BODY_BYTES:
            yield body
