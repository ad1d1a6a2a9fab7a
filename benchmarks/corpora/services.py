"""Services that write logs: a few spans, many records below them, no provider call and no body.

A story is a request that passes the gateway and some services behind it, each with log records of its own::

    http.request > SERVICE.call       log records of the gateway and the services, turnId is the trace

or, as often, what a service does by itself: log records without a span and a turn. Errors come in bursts: each service
has minutes of some hours in which it is down, and then most of what it says is a warning or an error.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

from benchmarks.corpora.journal import Clock, Record, Traffic, hexadecimal

GATEWAY = "gateway"
SERVICES = ("auth", "billing", "search", "mailer", "scheduler", "profile")

_HOUR_MS = 3_600_000
_DOWN_SHARE = 0.12
"""Of the hours of a service, those with a burst in them."""
_DOWN_MS = (300_000, 1_800_000)
_SAID_DOWN = 0.7
"""Of what a service says while it is down, the share of trouble."""
_LOGS = (4, 24)
_ROUTES = ("/v1/search", "/v1/login", "/v1/invoices", "/v1/profile", "/v1/messages", "/healthz")


class _Event(NamedTuple):
    """Something that a service says; it always has the same attributes."""

    level: str
    msg: str
    attributes: tuple[str, ...] = ()


_USUAL = (
    _Event("debug", "cache looked up", ("key", "hit", "durationMs")),
    _Event("debug", "connection taken from the pool", ("free", "host")),
    _Event("debug", "flag evaluated", ("flag", "hit", "userId")),
    _Event("debug", "query planned", ("rows", "durationMs", "shard", "host")),
    _Event("info", "request accepted", ("route", "userId", "region", "bytes")),
    _Event("info", "event published", ("topic", "bytes", "durationMs")),
    _Event("info", "row written", ("rows", "shard", "durationMs")),
    _Event("info", "token refreshed", ("userId", "region")),
    _Event("info", "job finished", ("rows", "durationMs", "host", "attempt")),
    _Event("info", "alive"),
)
_TROUBLE = (
    _Event("warn", "query is slow", ("durationMs", "rows", "shard", "host")),
    _Event("warn", "retrying", ("attempt", "host", "reason")),
    _Event("warn", "queue is long", ("rows", "topic")),
    _Event("error", "connection refused", ("host", "attempt", "reason")),
    _Event("error", "deadline exceeded", ("route", "durationMs", "userId", "region")),
    _Event("error", "request failed", ("route", "httpStatus", "reason", "userId")),
)
_TROUBLE_SHARE = 0.008

_VALUES: Mapping[str, Callable[[random.Random], object]] = {
    "attempt": lambda rng: rng.randrange(1, 6),
    "bytes": lambda rng: int(rng.lognormvariate(7, 1.5)),
    "durationMs": lambda rng: round(rng.lognormvariate(2, 1.3), 3),
    "flag": lambda rng: f"flag-{rng.randrange(60)}",
    "free": lambda rng: rng.randrange(64),
    "hit": lambda rng: rng.random() < 0.8,
    "host": lambda rng: f"10.0.{rng.randrange(4)}.{rng.randrange(250)}",
    "httpStatus": lambda rng: rng.choice((500, 502, 503, 504)),
    "key": lambda rng: f"user:{rng.getrandbits(20):05x}:profile",
    "method": lambda rng: rng.choice(("GET", "GET", "POST")),
    "reason": lambda rng: rng.choice(("timeout", "reset by peer", "no route", "tls", None)),
    "region": lambda rng: rng.choice(("eu-west", "eu-north", "us-east")),
    "route": lambda rng: rng.choice(_ROUTES),
    "rows": lambda rng: int(rng.lognormvariate(3, 1.5)),
    "shard": lambda rng: rng.randrange(16),
    "topic": lambda rng: rng.choice(("orders", "mail", "audit")),
    "userId": lambda rng: f"u-{rng.getrandbits(24):06x}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Traffic):
    """A journal to be; `lines` makes it."""

    story_records: ClassVar[float] = 22.0

    def _story(self, rng: random.Random, ms: int) -> Iterator[Record]:
        story = _Story(self.seed, rng, ms)
        return story.request() if rng.random() < 0.5 else story.alone()


class _Story(Clock):
    """Yields the records of a request, or of something that a service does by itself."""

    def __init__(self, seed: int, rng: random.Random, ms: int) -> None:
        super().__init__(ms)
        self._seed = seed
        self._rng = rng
        self._is_failed = False

    def alone(self) -> Iterator[Record]:
        """Yield what a service says with no request at hand."""
        yield from self._logs({}, self._rng.choice(SERVICES))

    def request(self) -> Iterator[Record]:
        """Yield a request through the gateway."""
        rng, begin_ms = self._rng, self.ms
        turn = {"turnId": hexadecimal(rng, 128)}
        span = {"extensionId": GATEWAY, **turn, "spanId": hexadecimal(rng, 64), "name": "http.request"}
        asked = {name: self._value(name) for name in ("route", "method", "userId")}
        yield self.record("span-open", span, attributes=asked)
        yield from self._logs(turn | {"spanId": span["spanId"]}, GATEWAY)
        for service in rng.sample(SERVICES, rng.randrange(3)):
            yield from self._call(turn | {"parentSpanId": span["spanId"]}, service)
        answered = {"httpStatus": self._value("httpStatus") if self._is_failed else 200, "bytes": self._value("bytes")}
        yield self._close(span, begin_ms, attributes=answered)

    def _call(self, head: Record, service: str) -> Iterator[Record]:
        rng, begin_ms = self._rng, self.ms
        span = {"extensionId": service, **head, "spanId": hexadecimal(rng, 64), "name": f"{service}.call"}
        yield self.record("span-open", span)
        yield from self._logs(head | {"spanId": span["spanId"]}, service)
        self._is_failed = self._is_failed or (self._is_down(service) and rng.random() < _SAID_DOWN)
        yield self._close(span, begin_ms)

    def _close(self, span: Record, begin_ms: int, **members: object) -> Record:
        status = "error" if self._is_failed else "ok"
        return self.record("span-close", span, durationMs=self.ms - begin_ms, status=status, **members)

    def _logs(self, head: Record, service: str) -> Iterator[Record]:
        rng = self._rng
        trouble_share = _SAID_DOWN if self._is_down(service) else _TROUBLE_SHARE
        for _ in range(rng.randrange(*_LOGS)):
            event = rng.choice(_TROUBLE if rng.random() < trouble_share else _USUAL)
            said = {"level": event.level, "msg": event.msg}
            if event.attributes:
                said["attributes"] = {name: self._value(name) for name in event.attributes}
            self.ms += int(rng.expovariate(1 / 15))
            yield self.record("log", {"extensionId": service, **head}, **said)

    def _value(self, name: str) -> object:
        return _VALUES[name](self._rng)

    def _is_down(self, service: str) -> bool:
        begin_ms, end_ms = _down(self._seed, service, self.ms // _HOUR_MS)
        return begin_ms <= self.ms < end_ms


@lru_cache(maxsize=256)
def _down(seed: int, service: str, hour: int) -> tuple[int, int]:
    """Return from when to when a service is down in an hour; an empty time where it is not."""
    rng = random.Random(f"{seed} {service} {hour}")
    if rng.random() >= _DOWN_SHARE:
        return (0, 0)
    begin_ms = hour * _HOUR_MS + rng.randrange(_HOUR_MS)
    return (begin_ms, begin_ms + rng.randrange(*_DOWN_MS))
