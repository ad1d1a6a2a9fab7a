"""What the corpora share: when they begin, how what overlaps comes into one order, how lines are written."""

import json
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from itertools import count, islice
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

WEEK_DAYS = 7.0
DAY_MS = 86_400_000
START_MS = 1_772_323_200_000

Record: TypeAlias = dict[str, Any]
"""A record in the journal's JSON shape."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A journal to be, of stories that begin evenly over its days and overlap; a subclass says what a story is.

    A story's bytes depend on the seed and its number alone. Those that run at a time are in memory.
    """

    story_records: ClassVar[float]
    """Records of a story, about."""

    records: int
    seed: int = 1
    start_ms: int = START_MS
    days: float = WEEK_DAYS

    def lines(self) -> Iterator[str]:
        """Yield the lines in order of time, without their newlines."""
        spacing_ms = self.days * DAY_MS * self.story_records / self.records
        begins = (self.start_ms + int(number * spacing_ms) for number in count())
        stories = ((ms, self._story(random.Random(f"{self.seed} {number}"), ms)) for number, ms in enumerate(begins))
        for record in islice(in_order(stories), self.records):
            yield to_json(record)

    def write(self, path: Path) -> Path:
        """Write the journal; returns its path."""
        return write_lines(path, self.lines())

    @abstractmethod
    def _story(self, rng: random.Random, ms: int) -> Iterator[Record]:
        """Yield the records of one story that begins at a time, in order of time."""


class Clock:
    """Stamps the records of one story, each at least a millisecond after the one before."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def wait_until(self, ms: int) -> None:
        """Let time pass until then, none if it is later already."""
        self.ms = max(self.ms, ms)

    def record(self, kind: str, head: Record, **members: object) -> Record:
        """Return a record of now."""
        self.ms += 1
        return {"kind": kind, "timestamp": self.ms, **head, **members}


def in_order(stories: Iterable[tuple[int, Iterator[Record]]]) -> Iterator[Record]:
    """Bring stories, which come in the order of their beginnings (ms), into one order of time; they may never end."""
    running: list[tuple[float, int, Record, Iterator[Record]]] = []
    for number, (begin_ms, story) in enumerate(stories):
        yield from _until(begin_ms, running)
        for record in islice(story, 1):
            heappush(running, (record["timestamp"], number, record, story))
    yield from _until(float("inf"), running)


def _until(ms: float, running: list[tuple[float, int, Record, Iterator[Record]]]) -> Iterator[Record]:
    while running and running[0][0] < ms:
        _, number, record, story = running[0]
        yield record
        following = next(story, None)
        if following is None:
            heappop(running)
        else:
            heapreplace(running, (following["timestamp"], number, following, story))


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write a journal of ASCII lines as they come; returns its path."""
    with path.open("w", encoding="ascii", buffering=1 << 20) as file:
        file.writelines(line + "\n" for line in lines)
    return path


def to_json(value: object) -> str:
    """Write JSON without spaces, in ASCII."""
    return _encode(value)


def hexadecimal(rng: random.Random, bits: int) -> str:
    """Draw an identifier of so many bits."""
    return f"{rng.getrandbits(bits):0{bits // 4}x}"
