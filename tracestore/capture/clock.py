"""What differs from run to run: the time and random ids, both given from outside."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

NewId: TypeAlias = Callable[[int], str]
"""Makes an id of so many bytes, in hexadecimal."""

_NS_PER_US = 1000
_US_PER_MS = 1000


def random_hex(size_bytes: int) -> str:
    """Return so many random bytes as hexadecimal digits; never the same ones in the child of a fork."""
    return os.urandom(size_bytes).hex()


def ms_of(duration_ns: int) -> float:
    """Return nanoseconds as milliseconds, to the microsecond."""
    return duration_ns // _NS_PER_US / _US_PER_MS


class Clock(NamedTuple):
    """What time it is, in nanoseconds since 1970, and a count of nanoseconds that never goes back."""

    now_ns: Callable[[], int] = time.time_ns
    elapsed_ns: Callable[[], int] = time.perf_counter_ns

    def timestamp_ms(self) -> float:
        """Return milliseconds since 1970, to the microsecond, which is what a double holds."""
        return ms_of(self.now_ns())

    def now_ms(self) -> int:
        """Return whole milliseconds since 1970."""
        return self.now_ns() // (_NS_PER_US * _US_PER_MS)
